// Lines of Python with a button that copies them.

import { guardKeys } from "./keys.mjs";

/** Copy text; resolves to whether that worked. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages that are not served by https or from this computer have no clipboard.
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const isCopied = document.execCommand("copy");
    field.remove();
    return isCopied;
  }
}

export default {
  render({ model, el }) {
    el.classList.add("rwkv-code");
    const code = document.createElement("pre");
    const button = document.createElement("button");
    const status = document.createElement("span");
    status.setAttribute("role", "status");
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      status.textContent = (await copyText(model.get("code"))) ? "copied" : "select the text to copy it";
    });
    const show = () => {
      code.textContent = model.get("code");
      status.textContent = "";
    };
    model.on("change:code", show);
    const unguard = guardKeys(button);
    el.append(code, button, status);
    show();
    return () => {
      unguard();
      model.off("change:code", show);
    };
  },
};
