// Draws marks over the notes: the selected region, locked notes, and another version of the score.

import { visibleNotes } from "./geometry.mjs";
import { KEY_WIDTH } from "./note_drawing.mjs";
import { isInRegion, lockTest } from "./region.mjs";
import { noteColor } from "./theme.mjs";

const LOCK_SIZE = 4;

/** Return the rectangle of a note: x, y, width, height; null if it is left of the view. */
export function noteBox(notes, i, { time, rows }) {
  const [x, end] = [time.toX(notes.onset[i]), time.toX(notes.onset[i] + notes.duration[i])];
  if (end < KEY_WIDTH) return null;
  const y = rows.toY(notes.pitch[i], notes.isDrum[i]);
  return [x, y, Math.max(3, end - x - 1), rows.rowHeight];
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {object} notes of the score
 * @param {object} view as for `drawRoll`, with selectedParts, lockedNotes, lockedParts, other and
 *   difference
 * @returns {{region: number, locked: number}} how many notes in view are marked as what
 */
export function drawMarks(pen, notes, view) {
  const { time, selection, colors } = view;
  const isLocked = lockTest(notes, view.lockedNotes, view.lockedParts);
  const [first, stop] = visibleNotes(notes, time.first, time.last);
  const marked = { region: 0, locked: 0 };
  pen.save();
  pen.beginPath();
  pen.rect(KEY_WIDTH, 0, view.width, view.height);
  pen.clip();
  pen.lineWidth = 1.5;
  for (let i = first; i < stop; i += 1) {
    const box = view.hidden.has(notes.part[i]) ? null : noteBox(notes, i, view);
    if (box === null) continue;
    if (isLocked(i)) {
      drawLock(pen, box, colors);
      marked.locked += 1;
    } else if (selection && isInRegion(notes, i, selection, view.selectedParts)) {
      pen.strokeStyle = colors.edge;
      pen.strokeRect(box[0] - 0.5, box[1] - 0.5, box[2] + 1, box[3] + 1);
      marked.region += 1;
    }
  }
  if (view.other) drawDifference(pen, notes, view);
  pen.restore();
  return marked;
}

function drawLock(pen, [x, y, width, height], colors) {
  pen.strokeStyle = colors.text;
  pen.strokeRect(x - 0.5, y - 0.5, width + 1, height + 1);
  pen.fillStyle = colors.background;
  pen.fillRect(x + 1, y + height / 2 - LOCK_SIZE / 2, Math.min(LOCK_SIZE, width - 1), LOCK_SIZE);
  pen.fillStyle = colors.text;
  pen.fillRect(x + 2, y + height / 2 - 1, 2, 2);
}

/** Cross out what the other version does not have, and outline in dashes what it has instead. */
function drawDifference(pen, notes, view) {
  const { difference, other, colors } = view;
  pen.lineWidth = 1.5;
  pen.strokeStyle = colors.background;
  for (const i of difference.missing) {
    const box = view.hidden.has(notes.part[i]) ? null : noteBox(notes, i, view);
    if (box === null || box[0] > view.width) continue;
    pen.globalAlpha = 0.6;
    pen.fillStyle = colors.background;
    pen.fillRect(...box);
    pen.globalAlpha = 1;
  }
  pen.setLineDash([3, 2]);
  for (const i of difference.added) {
    const box = view.hidden.has(other.part[i]) ? null : noteBox(other, i, view);
    if (box === null || box[0] > view.width) continue;
    pen.strokeStyle = noteColor(other.part[i], 100, colors.dark);
    pen.strokeRect(box[0] + 0.5, box[1] + 0.5, box[2] - 1, Math.max(2, box[3] - 1));
  }
  pen.setLineDash([]);
}
