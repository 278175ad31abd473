// Colours of notes: visible in both themes, and different from part to part.

import assert from "node:assert/strict";
import { test } from "node:test";

import { PART_COLORS, contrast, hslToRgb, luminance, noteColor } from "../../widgets/rwkv_music_widgets/static/theme.mjs";

const BACKGROUNDS = { false: [1, 1, 1], true: [0x15 / 255, 0x18 / 255, 0x1c / 255] };

function rgbOf(color) {
  const numbers = color.match(/[\d.]+/g).map(Number);
  return hslToRgb(...numbers);
}

test("the luminance and contrast are those of WCAG 2", () => {
  assert.equal(contrast(luminance([1, 1, 1]), luminance([0, 0, 0])), 21);
  assert.ok(Math.abs(luminance([1, 0, 0]) - 0.2126) < 1e-9);
  assert.deepEqual(hslToRgb(120, 100, 50).map(Math.round), [0, 1, 0]);
});

test("every note of every part has a contrast of at least 3 in both themes", () => {
  for (const dark of [false, true]) {
    const background = luminance(BACKGROUNDS[dark]);
    for (let part = 0; part < PART_COLORS.length; part += 1) {
      for (const velocity of [1, 20, 64, 100, 127]) {
        const ratio = contrast(luminance(rgbOf(noteColor(part, velocity, dark))), background);
        assert.ok(ratio >= 3, `part ${part}, velocity ${velocity}, dark ${dark}: ${ratio}`);
      }
    }
  }
});

test("a louder note has more contrast", () => {
  for (const dark of [false, true]) {
    const background = luminance(BACKGROUNDS[dark]);
    const ratios = [10, 60, 110].map((velocity) =>
      contrast(luminance(rgbOf(noteColor(3, velocity, dark))), background));
    assert.ok(ratios[0] < ratios[1] && ratios[1] < ratios[2]);
  }
});

const VISIONS = {
  normal: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  // Machado, Oliveira and Fernandes 2009, severity 1, in linear RGB.
  deuteranopia: [
    [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998],
  ],
};

function linear(value) {
  return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
}

/** CIELAB of linear RGB, with the white point D65. */
function lab([red, green, blue]) {
  const x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047;
  const y = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  const z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883;
  const [fx, fy, fz] = [x, y, z].map((v) => (v > 0.008856 ? Math.cbrt(v) : 7.787 * v + 16 / 116));
  return [116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)];
}

test("twelve parts can be told apart, by colour-blind readers too", () => {
  for (const dark of [false, true]) {
    for (const [name, matrix] of Object.entries(VISIONS)) {
      const smallest = name === "normal" ? 25 : 11;
      const colors = PART_COLORS.map((_, part) => {
        const rgb = rgbOf(noteColor(part, 90, dark)).map(linear);
        return lab(matrix.map((row) => Math.max(0, row.reduce((sum, f, i) => sum + f * rgb[i], 0))));
      });
      for (let a = 0; a < colors.length; a += 1) {
        for (let b = a + 1; b < colors.length; b += 1) {
          const distance = Math.hypot(...colors[a].map((value, i) => value - colors[b][i]));
          assert.ok(distance > smallest, `${name}, dark ${dark}, parts ${a} and ${b}: ${distance}`);
        }
      }
    }
  }
});
