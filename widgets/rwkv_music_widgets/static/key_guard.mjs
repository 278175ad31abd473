// Invisible widget that guards the keys of the container in which it is placed.

import { guardKeys } from "./keys.mjs";

const MAX_ATTEMPTS = 300;

export default {
  render({ el }) {
    el.style.display = "none";
    let request = null;
    let release = () => {};
    const attach = (attempts) => {
      // The container is attached to the page after its children are rendered.
      const container = el.closest(".rwkv-widget");
      if (container) release = guardKeys(container);
      else if (attempts) request = requestAnimationFrame(() => attach(attempts - 1));
    };
    attach(MAX_ATTEMPTS);
    return () => {
      cancelAnimationFrame(request);
      release();
    };
  },
};
