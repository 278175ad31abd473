// Draws the piano roll on a canvas: rows, lines, notes, keys, ruler, seam, selection.

import { drumName } from "./drum_names.mjs";
import { clockText, isBlackKey, labelEvery, pitchName, secondsEvery } from "./geometry.mjs";
import { KEY_WIDTH, drawNotes } from "./note_drawing.mjs";

export const RULER_HEIGHT = 36;
const LABEL_TOP = 16; // the line above has time signatures and seconds
const FREE_OF_SIGNATURES = 34;
export const SEAM_LABEL_HEIGHT = 16;

/**
 * @param {CanvasRenderingContext2D} pen already scaled to CSS pixels
 * @param {object} score notes, bars, beats, signatures, tempo, seam
 * @param {object} view width, height, ratio, time (TimeScale), rows (RowScale), colors, selection,
 *   hidden and muted (sets of parts), lit (keys that sound)
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

function drawRows(pen, { width, rows, colors }) {
  pen.fillStyle = colors.blackRow;
  for (let row = rows.lowest; rows.hasPitches && row <= rows.highest; row += 1) {
    if (isBlackKey(row)) pen.fillRect(KEY_WIDTH, rows.toY(row), width, rows.rowHeight);
  }
  pen.fillStyle = colors.lane;
  rows.drumKeys.forEach((key, index) => {
    if (index % 2 === 0) pen.fillRect(KEY_WIDTH, rows.toY(key, true), width, rows.rowHeight);
  });
}

function drawTint(pen, score, { time, width, height, colors }) {
  if (score.seam === null) return;
  const x = Math.max(KEY_WIDTH, time.toX(score.seam));
  const end = score.newEnd === null ? width : Math.max(x, time.toX(score.newEnd));
  pen.fillStyle = colors.tint;
  pen.fillRect(x, RULER_HEIGHT, end - x, height - RULER_HEIGHT);
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
    if (x >= KEY_WIDTH - 1 && x < width - 12) pen.fillText(`${bar + 1}`, x + 4, LABEL_TOP);
  }
  pen.font = "bold 10px sans-serif";
  const taken = [];
  for (const [tick, text] of score.signatures) {
    const x = time.toX(tick);
    if (x < KEY_WIDTH - 1 || x > width - 24) continue;
    if (taken.some((other) => Math.abs(other - x) < FREE_OF_SIGNATURES)) continue;
    pen.fillText(text, x + 4, 3);
    taken.push(x);
  }
  drawSeconds(pen, score, { time, width, colors }, taken);
}

function drawSeconds(pen, { tempo }, { time, width, colors }, taken) {
  const [start, end] = [tempo.toSeconds(time.first), tempo.toSeconds(time.last)];
  const step = secondsEvery((time.right - time.left) / Math.max(0.001, end - start));
  pen.fillStyle = colors.faint;
  pen.font = "9px sans-serif";
  for (let mark = Math.ceil(start / step) * step; mark <= end; mark += step) {
    const x = time.toX(tempo.toTick(mark));
    if (x > width - 28 || taken.some((other) => x > other - 30 && x < other + 30)) continue;
    pen.fillText(clockText(mark), x + 4, 4);
  }
}

function drawSeam(pen, score, { time, width, height, colors }) {
  if (score.seam === null) return;
  const x = time.toX(score.seam);
  const isFilled = score.newEnd !== null;
  pen.strokeStyle = colors.seam;
  pen.lineWidth = 1.5;
  pen.setLineDash([5, 4]);
  for (const line of isFilled ? [x, time.toX(score.newEnd)] : [x]) {
    if (line >= KEY_WIDTH && line <= width) verticalLine(pen, line, 0, height);
  }
  pen.setLineDash([]);
  if (x < KEY_WIDTH || x > width) return;
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
  if (!isFilled) label("prompt", "right", x - 6);
  label(isFilled ? "new" : "continuation", "left", x + 6);
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

/** Draw the keyboard and the names of the drums; keys that sound are lit. */
export function drawKeys(pen, { height, rows, colors, lit }) {
  pen.fillStyle = colors.background;
  pen.fillRect(0, 0, KEY_WIDTH, height);
  const size = rows.rowHeight;
  for (let row = rows.lowest; rows.hasPitches && row <= rows.highest; row += 1) {
    const y = rows.toY(row);
    pen.fillStyle = lit.has(row) ? colors.litKey : colors.whiteKey;
    pen.fillRect(0, y, KEY_WIDTH - 3, size);
    if (isBlackKey(row)) {
      pen.fillStyle = lit.has(row) ? colors.litKey : colors.blackKey;
      pen.fillRect(0, y, (KEY_WIDTH - 3) * 0.55, size);
    }
  }
  pen.fillStyle = colors.keyText;
  pen.font = `${Math.min(10, Math.max(8, size))}px sans-serif`;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (let row = rows.lowest; rows.hasPitches && row <= rows.highest; row += 1) {
    if (row % 12 === 0) pen.fillText(pitchName(row), KEY_WIDTH - 6, rows.toY(row) + size / 2);
  }
  drawDrumNames(pen, { rows, colors, lit });
}

function drawDrumNames(pen, { rows, colors, lit }) {
  const size = rows.rowHeight;
  pen.font = `${Math.min(9, Math.max(7, size))}px sans-serif`;
  const every = labelEvery(size, 7);
  rows.drumKeys.forEach((key, index) => {
    const y = rows.toY(key, true);
    if (lit.has(-key)) {
      pen.fillStyle = colors.litKey;
      pen.fillRect(0, y, KEY_WIDTH - 3, size);
    }
    pen.fillStyle = lit.has(-key) ? colors.keyText : colors.drumText;
    if (index % every === 0) pen.fillText(drumName(key), KEY_WIDTH - 5, y + size / 2, KEY_WIDTH - 6);
  });
}
