// Keeps key presses inside a widget from triggering JupyterLab's shortcuts.

const TEXT_INPUTS = "input:not([type=range]):not([type=checkbox]):not([type=button]), textarea";

/** Return whether a key press belongs to the widget: no modifier that makes it a shortcut. */
export function isPlainKey(event) {
  const hasModifier = event.ctrlKey || event.metaKey || event.altKey;
  const isRunCell = event.key === "Enter" && event.shiftKey;
  return !hasModifier && !isRunCell && event.key !== "Escape" && event.key !== "Tab";
}

/**
 * Stop plain key presses at an element. JupyterLab ignores keys typed into text fields by itself,
 * but with the focus on a button or a canvas it would run its shortcuts: "m" turns the cell into
 * Markdown and "d d" deletes it.
 *
 * @returns {() => void} a function that removes the listener
 */
export function guardKeys(element) {
  const stop = (event) => {
    if (isPlainKey(event) && !event.target.matches(TEXT_INPUTS)) event.stopPropagation();
  };
  element.addEventListener("keydown", stop);
  return () => element.removeEventListener("keydown", stop);
}
