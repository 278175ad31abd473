// The selected region: bars by parts, and notes that are locked. Uses no DOM.

import { lowerBound } from "./geometry.mjs";

/** Return the index of the bar in which a tick lies. */
export function barAt(tick, bars) {
  return Math.min(Math.max(0, lowerBound(bars, tick + 1) - 1), Math.max(0, bars.length - 2));
}

/** Return the first and last bar of a selection, counted from 1; null if there is none. */
export function selectedBars(selection, bars) {
  if (selection.length !== 2) return null;
  return [barAt(selection[0], bars) + 1, barAt(selection[1] - 1, bars) + 1];
}

/** Return a selection of whole bars that has `step` bars more; the bar at a tick if there is none. */
export function extendedByBar(selection, bars, tick, step) {
  const chosen = selectedBars(selection, bars);
  if (chosen === null) {
    const bar = barAt(tick, bars);
    return [bars[bar], bars[bar + 1]];
  }
  const last = Math.min(Math.max(chosen[0], chosen[1] + step), bars.length - 1);
  return [bars[chosen[0] - 1], bars[last]];
}

/** Return whether a note begins in the region; all parts belong to it if none is chosen. */
export function isInRegion(notes, i, selection, parts) {
  const isInside = notes.onset[i] >= selection[0] && notes.onset[i] < selection[1];
  return isInside && (!parts.length || parts.includes(notes.part[i]));
}

/** Return the region in words, such as "bars 3 to 4, Melody". */
export function regionText(selection, bars, names, parts) {
  const chosen = selectedBars(selection, bars);
  const where = chosen === null ? "all bars" : `bar${chosen[0] === chosen[1] ? "" : "s"} ${[...new Set(chosen)].join(" to ")}`;
  return `${where}, ${parts.length ? parts.map((part) => names[part]).join(", ") : "all parts"}`;
}

/** Return locked notes, rows of part, onset and pitch, with one added, or removed if it was there. */
export function toggledLock(locked, note) {
  const isSame = (other) => other.every((value, index) => value === note[index]);
  return locked.some(isSame) ? locked.filter((other) => !isSame(other)) : [...locked, note];
}

/** Return a function that says whether the i-th note is locked, alone or with its part. */
export function lockTest(notes, lockedNotes, lockedParts) {
  const keys = new Set(lockedNotes.map(String));
  const parts = new Set(lockedParts);
  return (i) =>
    parts.has(notes.part[i]) || keys.has(`${notes.part[i]},${notes.onset[i]},${notes.pitch[i]}`);
}
