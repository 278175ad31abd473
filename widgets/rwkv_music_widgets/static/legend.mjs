// The parts of a piano roll: their colours and names, and buttons to hide, mute and hear them alone.

import { noteColor, themeColors } from "./theme.mjs";

/** Return the muted parts after "solo" is pressed on one of `count` parts. */
export function afterSolo(muted, part, count) {
  const others = Array.from({ length: count }, (_, index) => index).filter((each) => each !== part);
  const isSolo = !muted.includes(part) && others.every((each) => muted.includes(each));
  return isSolo && count > 1 ? [] : others;
}

/** Return a list with a value added, or removed if it was there. */
export function toggled(list, value) {
  return list.includes(value)
    ? list.filter((each) => each !== value)
    : [...list, value].sort((one, other) => one - other);
}

/** Return the name of a part: a button that selects it where the roll can be edited. */
function partName(model, name, part, change) {
  if (!model.get("can_edit")) return document.createTextNode(name);
  const selected = model.get("selected_parts");
  const press = () => change("selected_parts", toggled(selected, part));
  const button = toggleButton(name, `Select ${name}`, selected.includes(part), press);
  button.className = "rwkv-roll-part";
  return button;
}

function toggleButton(text, label, isPressed, press) {
  const button = document.createElement("button");
  button.textContent = text;
  button.title = label;
  button.setAttribute("aria-label", label);
  button.setAttribute("aria-pressed", String(isPressed));
  button.addEventListener("click", press);
  return button;
}

/** Fill an element with the parts of a model. */
export function drawLegend(element, model) {
  const names = model.get("parts");
  const [hidden, muted] = [model.get("hidden_parts"), model.get("muted_parts")];
  const change = (trait, value) => {
    model.set(trait, value);
    model.save_changes();
  };
  element.replaceChildren(
    ...names.map((name, part) => {
      const entry = document.createElement("span");
      const swatch = document.createElement("i");
      swatch.style.background = noteColor(part, 100, themeColors().dark);
      entry.append(swatch, partName(model, name, part, change));
      if (names.length > 1 && model.get("can_mute") !== false) {
        const isAlone = muted.length === names.length - 1 && !muted.includes(part);
        entry.append(
          toggleButton("M", `Mute ${name}`, muted.includes(part), () =>
            change("muted_parts", toggled(muted, part))),
          toggleButton("S", `Hear ${name} alone`, isAlone, () =>
            change("muted_parts", afterSolo(muted, part, names.length))),
        );
      }
      if (names.length > 1) {
        entry.append(toggleButton("H", `Hide ${name}`, hidden.includes(part), () =>
          change("hidden_parts", toggled(hidden, part))));
      }
      if (model.get("can_edit")) {
        const locked = model.get("locked_parts");
        entry.append(toggleButton("L", `Lock ${name}`, locked.includes(part), () =>
          change("locked_parts", toggled(locked, part))));
      }
      return entry;
    }),
  );
}
