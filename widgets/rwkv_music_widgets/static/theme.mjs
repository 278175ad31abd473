// Colours of the parts and of the notebook's theme.

/**
 * Hue, saturation and contrast band of twelve parts; later parts repeat them with a stripe.
 *
 * The colours were chosen by a greedy search for the largest distance in CIELAB, with normal vision,
 * deuteranopia and protanopia, in both themes. Colour-blind readers tell many of them apart by
 * lightness only, which is why there are two bands of contrast.
 */
export const PART_COLORS = [
  [212, 100, 1], [12, 100, 0], [284, 100, 0], [156, 100, 1], [332, 65, 0], [36, 35, 0],
  [124, 100, 0], [276, 65, 0], [324, 65, 1], [268, 35, 0], [180, 100, 0], [68, 100, 1],
];

const BACKGROUNDS = { light: "#ffffff", dark: "#15181c" };
/** Contrast of the softest and loudest notes with the background, by band; WCAG asks for 3. */
const CONTRASTS = { light: [[3.2, 5.0], [7.0, 11.0]], dark: [[3.4, 5.2], [7.5, 12.0]] };

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
    background: dark ? BACKGROUNDS.dark : BACKGROUNDS.light,
    blackRow: dark ? "#1d2126" : "#f3f4f6",
    beat: dark ? "#262b31" : "#e8eaed",
    bar: dark ? "#454d57" : "#b8bec6",
    text: dark ? "#d5dae0" : "#3c4248",
    faint: dark ? "#8b939c" : "#767d85",
    whiteKey: dark ? "#c9ced4" : "#fdfdfd",
    blackKey: dark ? "#33383f" : "#4a4f55",
    keyText: "#2a2e33",
    litKey: dark ? "#ff8a65" : "#e8590c",
    lane: dark ? "#1a2530" : "#eef4fa",
    drumText: dark ? "#b9c2cc" : "#4a5057",
    seam: dark ? "#f2b134" : "#b36b00",
    tint: dark ? "rgba(242,177,52,0.09)" : "rgba(230,159,0,0.10)",
    selection: dark ? "rgba(86,180,233,0.22)" : "rgba(0,114,178,0.14)",
    edge: dark ? "#7cc4f0" : "#0072b2",
    playhead: dark ? "#ff8a65" : "#d1350f",
  };
}

/** Return the relative luminance (WCAG 2) of red, green and blue from 0 to 1. */
export function luminance([red, green, blue]) {
  const linear = (value) =>
    value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
}

/** Return red, green and blue from 0 to 1 of a hue in degrees and percentages. */
export function hslToRgb(hue, saturation, lightness) {
  const s = saturation / 100;
  const l = lightness / 100;
  const channel = (offset) => {
    const k = (offset + hue / 30) % 12;
    return l - s * Math.min(l, 1 - l) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
  };
  return [channel(0), channel(8), channel(4)];
}

/** Return the contrast ratio (WCAG 2) of two luminances. */
export function contrast(first, second) {
  return (Math.max(first, second) + 0.05) / (Math.min(first, second) + 0.05);
}

function hexToRgb(text) {
  return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16) / 255);
}

/** Return the lightness at which a hue has a contrast with the background of the theme. */
function lightnessFor(hue, saturation, wanted, dark) {
  const background = luminance(hexToRgb(dark ? BACKGROUNDS.dark : BACKGROUNDS.light));
  let [low, high] = [0, 100];
  for (let step = 0; step < 20; step += 1) {
    const middle = (low + high) / 2;
    const ratio = contrast(luminance(hslToRgb(hue, saturation, middle)), background);
    // Lighter means more contrast on a dark background, and less on a light one.
    if ((ratio < wanted) === dark) low = middle;
    else high = middle;
  }
  return dark ? high : low;
}

const noteShades = new Map();

/** Return hue, saturation and lightness of a note: the part's hue, stronger for higher velocities. */
function noteShade(part, velocity, dark) {
  const key = (part % PART_COLORS.length) * 256 + velocity * 2 + (dark ? 1 : 0);
  let shade = noteShades.get(key);
  if (shade === undefined) {
    const [hue, saturation, band] = PART_COLORS[part % PART_COLORS.length];
    const [softest, loudest] = (dark ? CONTRASTS.dark : CONTRASTS.light)[band];
    const wanted = softest + (loudest - softest) * Math.min(1, velocity / 120);
    const lightness = lightnessFor(hue, saturation, wanted, dark);
    const text = `hsl(${hue} ${saturation}% ${lightness.toFixed(1)}%)`;
    shade = { text, rgb: hslToRgb(hue, saturation, lightness) };
    noteShades.set(key, shade);
  }
  return shade;
}

/**
 * Return a note's colour for CSS.
 *
 * @param {number} part index of the part
 * @param {number} velocity 1 to 127
 * @param {boolean} dark whether the theme is dark
 */
export function noteColor(part, velocity, dark) {
  return noteShade(part, velocity, dark).text;
}

/** Return red, green and blue, from 0 to 1, of a note's colour. */
export function noteRgb(part, velocity, dark) {
  return noteShade(part, velocity, dark).rgb;
}

/** Nats from which a note has the strongest colour of the surprise view. */
export const MOST_NATS = 15;

/** Return a note's colour in the surprise view: blue and pale for expected, red for surprising. */
export function surpriseColor(nats, dark) {
  const share = Math.round(20 * Math.min(1, Math.max(0, nats / MOST_NATS))) / 20;
  const hue = (210 + share * 150) % 360;
  const [softest, loudest] = (dark ? CONTRASTS.dark : CONTRASTS.light)[0];
  const wanted = softest + (loudest - softest) * share;
  return `hsl(${hue} ${Math.round(45 + 55 * share)}% ${lightnessFor(hue, 45 + 55 * share, wanted, dark).toFixed(1)}%)`;
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
