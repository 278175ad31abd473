// Draws the piano roll on a canvas: rows, lines, notes, keys, ruler, seam, selection.

import { isBlackKey, labelEvery, pitchName, visibleNotes } from "./geometry.mjs";
import { PART_COLORS, noteColor } from "./theme.mjs";

export const KEY_WIDTH = 46;
export const RULER_HEIGHT = 26;
export const SEAM_LABEL_HEIGHT = 16;

/**
 * @param {CanvasRenderingContext2D} pen already scaled to CSS pixels
 * @param {object} score notes, bars, beats, signatures, seam
 * @param {object} view width, height, time (TimeScale), pitch (PitchScale), colors, selection
 * @returns {number} number of notes drawn
 */
export function drawRoll(pen, score, view) {
  const { width, height, colors } = view;
  pen.fillStyle = colors.background;
  pen.fillRect(0, 0, width, height);
  pen.save();
  pen.beginPath();
  pen.rect(KEY_WIDTH, 0, width - KEY_WIDTH, height);
  pen.clip();
  drawRows(pen, view);
  drawTint(pen, score, view);
  drawLines(pen, score, view);
  const drawn = drawNotes(pen, score, view);
  drawRuler(pen, score, view);
  drawSeam(pen, score, view);
  drawSelection(pen, view);
  pen.restore();
  drawKeys(pen, view);
  return drawn;
}

function drawRows(pen, { width, pitch, colors }) {
  pen.fillStyle = colors.blackRow;
  for (let row = pitch.lowest; row <= pitch.highest; row += 1) {
    if (isBlackKey(row)) pen.fillRect(KEY_WIDTH, pitch.toY(row), width, pitch.rowHeight);
  }
}

function drawTint(pen, score, { time, width, height, colors }) {
  if (score.seam === null) return;
  const x = Math.max(KEY_WIDTH, time.toX(score.seam));
  pen.fillStyle = colors.tint;
  pen.fillRect(x, RULER_HEIGHT, width - x, height - RULER_HEIGHT);
}

function verticalLine(pen, x, top, bottom) {
  const crisp = Math.round(x) + 0.5;
  pen.beginPath();
  pen.moveTo(crisp, top);
  pen.lineTo(crisp, bottom);
  pen.stroke();
}

function drawLines(pen, score, { time, height, colors }) {
  const quarterWidth = score.ticksPerQuarter * time.pixelsPerTick;
  pen.lineWidth = 1;
  if (quarterWidth >= 8) {
    pen.strokeStyle = colors.beat;
    for (const tick of score.beats) {
      if (tick >= time.first && tick <= time.last) {
        verticalLine(pen, time.toX(tick), RULER_HEIGHT, height);
      }
    }
  }
  pen.strokeStyle = colors.bar;
  for (const tick of score.bars) {
    if (tick >= time.first && tick <= time.last) {
      verticalLine(pen, time.toX(tick), RULER_HEIGHT - 8, height);
    }
  }
}

function drawNotes(pen, { notes }, { time, pitch, colors }) {
  const [first, stop] = visibleNotes(notes, time.first, time.last);
  const gap = pitch.rowHeight > 5 ? 1 : 0;
  // Right edge of what is drawn in each row: narrow notes on the same pixel are drawn once.
  const covered = new Float32Array(128).fill(-1);
  let drawn = 0;
  let color = "";
  for (let i = first; i < stop; i += 1) {
    const end = time.toX(notes.onset[i] + notes.duration[i]);
    if (end < KEY_WIDTH) continue;
    drawn += 1;
    const key = notes.pitch[i];
    if (end < covered[key] + 0.5) continue;
    const x = time.toX(notes.onset[i]);
    const right = x + Math.max(1.5, end - x - 1);
    if (right - x < 2) covered[key] = right;
    const wanted = noteColor(notes.part[i], notes.velocity[i], colors.dark);
    if (wanted !== color) {
      color = wanted;
      pen.fillStyle = color; // the canvas parses the text each time
    }
    const y = pitch.toY(key);
    if (notes.isDrum[i]) drawDiamond(pen, x, y, pitch.rowHeight);
    else pen.fillRect(x, y + gap / 2, right - x, pitch.rowHeight - gap);
    if (notes.part[i] >= PART_COLORS.length && pitch.rowHeight > 5 && right - x > 4) {
      pen.fillStyle = colors.background; // a stripe tells it from the part with the same hue
      pen.fillRect(x + 1, y + pitch.rowHeight / 2 - 1, right - x - 2, 2);
      color = "";
    }
  }
  return drawn;
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

function drawRuler(pen, score, { time, width, colors }) {
  pen.fillStyle = colors.background;
  pen.fillRect(KEY_WIDTH, 0, width - KEY_WIDTH, RULER_HEIGHT - 8);
  pen.fillStyle = colors.text;
  pen.font = "11px sans-serif";
  pen.textBaseline = "top";
  pen.textAlign = "left";
  const bars = score.bars;
  const perBar = bars.length > 1 ? (bars[1] - bars[0]) * time.pixelsPerTick : width;
  const every = labelEvery(perBar);
  for (let bar = 0; bar < bars.length - 1; bar += every) {
    const x = time.toX(bars[bar]);
    if (x >= KEY_WIDTH - 1 && x < width - 12) pen.fillText(`${bar + 1}`, x + 4, 5);
  }
  pen.fillStyle = colors.faint;
  pen.font = "italic 10px sans-serif";
  for (const [tick, text] of score.signatures) {
    const x = time.toX(tick);
    if (x >= KEY_WIDTH - 1 && x < width - 24) pen.fillText(text, x + 20, 6);
  }
}

function drawSeam(pen, score, { time, width, height, colors }) {
  if (score.seam === null) return;
  const x = time.toX(score.seam);
  if (x < KEY_WIDTH || x > width) return;
  pen.strokeStyle = colors.seam;
  pen.lineWidth = 1.5;
  pen.setLineDash([5, 4]);
  verticalLine(pen, x, 0, height);
  pen.setLineDash([]);
  pen.font = "bold 10px sans-serif";
  pen.textBaseline = "bottom";
  const label = (text, align, at) => {
    const wide = pen.measureText(text).width;
    const left = align === "right" ? at - wide : at;
    if (left < KEY_WIDTH || left + wide > width) return;
    pen.globalAlpha = 0.8;
    pen.fillStyle = colors.background;
    pen.fillRect(left - 2, height - SEAM_LABEL_HEIGHT + 1, wide + 4, 13);
    pen.globalAlpha = 1;
    pen.fillStyle = colors.seam;
    pen.textAlign = "left";
    pen.fillText(text, left, height - 3);
  };
  label("prompt", "right", x - 6);
  label("continuation", "left", x + 6);
}

function drawSelection(pen, { time, height, colors, selection }) {
  if (!selection) return;
  const left = time.toX(selection[0]);
  const right = time.toX(selection[1]);
  pen.fillStyle = colors.selection;
  pen.fillRect(left, RULER_HEIGHT - 8, right - left, height);
  pen.strokeStyle = colors.edge;
  pen.lineWidth = 1.5;
  verticalLine(pen, left, RULER_HEIGHT - 8, height);
  verticalLine(pen, right, RULER_HEIGHT - 8, height);
}

function drawKeys(pen, { height, pitch, colors }) {
  pen.fillStyle = colors.background;
  pen.fillRect(0, 0, KEY_WIDTH, height);
  for (let row = pitch.lowest; row <= pitch.highest; row += 1) {
    const y = pitch.toY(row);
    pen.fillStyle = colors.whiteKey;
    pen.fillRect(0, y, KEY_WIDTH - 3, pitch.rowHeight);
    if (isBlackKey(row)) {
      pen.fillStyle = colors.blackKey;
      pen.fillRect(0, y, (KEY_WIDTH - 3) * 0.55, pitch.rowHeight);
    }
  }
  pen.fillStyle = colors.keyText;
  pen.font = `${Math.min(10, Math.max(8, pitch.rowHeight))}px sans-serif`;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (let row = pitch.lowest; row <= pitch.highest; row += 1) {
    if (row % 12 === 0) {
      pen.fillText(pitchName(row), KEY_WIDTH - 6, pitch.toY(row) + pitch.rowHeight / 2);
    }
  }
}
