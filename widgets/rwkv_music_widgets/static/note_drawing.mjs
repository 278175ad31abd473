// Draws the notes of the piano roll: as rectangles, or as pixels where there are many.

import { visibleNotes } from "./geometry.mjs";
import { PART_COLORS, noteColor, noteRgb, surpriseColor } from "./theme.mjs";

export const KEY_WIDTH = 46;
const MANY_NOTES = 4000;
const MUTED_ALPHA = 0.3;

/**
 * @param {CanvasRenderingContext2D} pen already scaled to CSS pixels
 * @param {object} score notes, and surprise: nats of each note, or nothing
 * @param {object} view width, height, time, rows, colors, ratio, hidden and muted (sets of parts)
 * @returns {number} number of notes drawn
 */
export function drawNotes(pen, { notes, surprise }, view) {
  const [first, stop] = visibleNotes(notes, view.time.first, view.time.last);
  const hasSurprise = surprise.length === notes.count;
  if (stop - first > MANY_NOTES && !hasSurprise) return drawPixels(pen, notes, view, first, stop);
  return drawRectangles(pen, notes, hasSurprise ? surprise : null, view, first, stop);
}

function drawRectangles(pen, notes, surprise, view, first, stop) {
  const { time, rows, colors, hidden, muted } = view;
  const gap = rows.rowHeight > 5 ? 1 : 0;
  let drawn = 0;
  let color = "";
  for (let i = first; i < stop; i += 1) {
    const part = notes.part[i];
    const end = time.toX(notes.onset[i] + notes.duration[i]);
    if (end < KEY_WIDTH || hidden.has(part)) continue;
    drawn += 1;
    const x = time.toX(notes.onset[i]);
    const right = x + Math.max(1.5, end - x - 1);
    const wanted = surprise
      ? surpriseColor(surprise[i], colors.dark)
      : noteColor(part, notes.velocity[i], colors.dark);
    if (wanted !== color) {
      color = wanted;
      pen.fillStyle = color; // the canvas parses the text each time
    }
    pen.globalAlpha = muted.has(part) ? MUTED_ALPHA : 1;
    const y = rows.toY(notes.pitch[i], notes.isDrum[i]);
    if (notes.isDrum[i]) drawDiamond(pen, x, y, rows.rowHeight);
    else pen.fillRect(x, y + gap / 2, right - x, rows.rowHeight - gap);
    const isRepeated = part >= PART_COLORS.length; // a stripe tells it from the part of its hue
    if ((isRepeated || hasUnison(notes, i)) && rows.rowHeight > 5 && right - x > 4) {
      pen.fillStyle = colors.background;
      const stripe = isRepeated ? 2 : 1;
      pen.fillRect(x + 1, y + rows.rowHeight / 2 - stripe / 2, right - x - 2, stripe);
      color = "";
    }
  }
  pen.globalAlpha = 1;
  return drawn;
}

/** Return whether another part has the same pitch at the same onset, drawn before this note. */
function hasUnison(notes, i) {
  for (let j = i - 1; j >= 0 && notes.onset[j] === notes.onset[i]; j -= 1) {
    if (notes.pitch[j] === notes.pitch[i] && notes.part[j] !== notes.part[i]) {
      return notes.isDrum[j] === notes.isDrum[i];
    }
  }
  return false;
}

function drawDiamond(pen, x, y, size) {
  const half = Math.max(2, size / 2);
  pen.beginPath();
  pen.moveTo(x, y + size / 2 - half);
  pen.lineTo(x + half, y + size / 2);
  pen.lineTo(x, y + size / 2 + half);
  pen.lineTo(x - half, y + size / 2);
  pen.fill();
}

let scratch = null;

/** Write notes into an image: one pass over the notes, however many there are. */
function drawPixels(pen, notes, view, first, stop) {
  const { time, rows, colors, hidden, muted, ratio, width, height } = view;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  scratch ??= document.createElement("canvas");
  if (scratch.width !== wide || scratch.height !== high) {
    scratch.width = wide;
    scratch.height = high;
  }
  const brush = scratch.getContext("2d");
  const image = brush.createImageData(wide, high);
  const pixels = new Uint32Array(image.data.buffer);
  const scale = time.pixelsPerTick * ratio;
  const offset = time.toX(0) * ratio;
  const left = Math.ceil(KEY_WIDTH * ratio);
  const thick = Math.max(1, Math.round((rows.rowHeight - (rows.rowHeight > 5 ? 1 : 0)) * ratio));
  const tops = pitchRows(rows, ratio);
  const palette = new Uint32Array(256 * 128);
  let drawn = 0;
  for (let i = first; i < stop; i += 1) {
    const part = notes.part[i];
    const begin = Math.max(left, Math.floor(offset + notes.onset[i] * scale));
    const length = notes.isDrum[i] ? thick : notes.duration[i] * scale;
    const end = Math.min(wide, Math.ceil(offset + notes.onset[i] * scale + length));
    if (end <= left || hidden.has(part)) continue;
    drawn += 1;
    const at = part * 128 + notes.velocity[i];
    palette[at] ||= packedColor(part, notes.velocity[i], colors.dark, muted.has(part));
    const color = palette[at];
    const top = tops[notes.pitch[i] + 128 * notes.isDrum[i]];
    const bottom = Math.min(high, top + thick);
    for (let y = Math.max(0, top); y < bottom; y += 1) {
      const start = y * wide + begin;
      const last = y * wide + Math.max(begin + 1, end - 1);
      for (let pixel = start; pixel < last; pixel += 1) pixels[pixel] = color;
    }
  }
  brush.putImageData(image, 0, 0);
  pen.drawImage(scratch, 0, 0, width, height);
  return drawn;
}

function pitchRows(rows, ratio) {
  const tops = new Int32Array(256);
  for (let pitch = 0; pitch < 128; pitch += 1) {
    tops[pitch] = Math.round(rows.toY(pitch) * ratio);
    tops[pitch + 128] = Math.round(rows.toY(pitch, true) * ratio);
  }
  return tops;
}

/** Return a colour as the bytes red, green, blue, alpha in a little-endian number. */
function packedColor(part, velocity, dark, isMuted) {
  const [red, green, blue] = noteRgb(part, velocity, dark).map((value) => Math.round(255 * value));
  const alpha = isMuted ? Math.round(255 * MUTED_ALPHA) : 255;
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
