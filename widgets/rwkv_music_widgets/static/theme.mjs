// Colours of the parts and of the notebook's theme.

/** One hue per part, distinguishable for colour-blind readers (after Okabe and Ito). */
export const PART_HUES = [
  [202, 100, 38], [26, 100, 44], [164, 100, 33], [326, 46, 58],
  [202, 77, 58], [41, 100, 45], [332, 60, 40], [54, 46, 42],
];

/** Return whether the notebook's theme is dark; JupyterLab marks it on the body. */
export function isDark() {
  const said = document.body.dataset.jpThemeLight;
  if (said !== undefined) return said === "false";
  return window.matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Return the colours of the current theme. */
export function themeColors() {
  const dark = isDark();
  return {
    dark,
    background: dark ? "#15181c" : "#ffffff",
    blackRow: dark ? "#1d2126" : "#f3f4f6",
    beat: dark ? "#262b31" : "#e8eaed",
    bar: dark ? "#454d57" : "#b8bec6",
    text: dark ? "#d5dae0" : "#3c4248",
    faint: dark ? "#8b939c" : "#767d85",
    whiteKey: dark ? "#c9ced4" : "#fdfdfd",
    blackKey: dark ? "#33383f" : "#4a4f55",
    keyText: "#2a2e33",
    seam: dark ? "#f2b134" : "#b36b00",
    tint: dark ? "rgba(242,177,52,0.09)" : "rgba(230,159,0,0.10)",
    selection: dark ? "rgba(86,180,233,0.22)" : "rgba(0,114,178,0.14)",
    edge: dark ? "#7cc4f0" : "#0072b2",
    playhead: dark ? "#ff8a65" : "#d1350f",
  };
}

/** Return a note's colour: the part's hue, paler for low velocities, within a contrast bound. */
export function noteColor(part, velocity, dark) {
  const [hue, saturation, lightness] = PART_HUES[part % PART_HUES.length];
  const loud = Math.min(1, velocity / 110);
  const level = dark
    ? lightness * 0.75 + 14 + 16 * loud
    : lightness + (1 - loud) * (78 - lightness) * 0.75;
  return `hsl(${hue} ${saturation}% ${level.toFixed(0)}%)`;
}

/** Call `redraw` when the theme changes; return a function that stops it. */
export function onThemeChange(redraw) {
  const observer = new MutationObserver(redraw);
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  const media = window.matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", redraw);
  return () => {
    observer.disconnect();
    media.removeEventListener("change", redraw);
  };
}
