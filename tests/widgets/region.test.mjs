// Run by node: node --test tests/widgets/region.test.mjs
import assert from "node:assert/strict";
import test from "node:test";

import { differences } from "../../widgets/rwkv_music_widgets/static/difference.mjs";
import {
  extendedByBar, isInRegion, lockTest, regionText, selectedBars, toggledLock,
} from "../../widgets/rwkv_music_widgets/static/region.mjs";

const BARS = [0, 400, 800, 1100]; // 4/4, 4/4, 3/4

function notesOf(rows) {
  return {
    count: rows.length,
    part: rows.map((row) => row[0]),
    onset: rows.map((row) => row[1]),
    pitch: rows.map((row) => row[2]),
    duration: rows.map((row) => row[3]),
  };
}

test("a selection touches whole bars", () => {
  assert.equal(selectedBars([], BARS), null);
  assert.deepEqual(selectedBars([0, 400], BARS), [1, 1]);
  assert.deepEqual(selectedBars([399, 401], BARS), [1, 2]);
  assert.deepEqual(selectedBars([900, 1100], BARS), [3, 3]);
});

test("keys select a bar and then more of them, at least one and not beyond the end", () => {
  assert.deepEqual(extendedByBar([], BARS, 450, 1), [400, 800]);
  assert.deepEqual(extendedByBar([400, 800], BARS, 0, 1), [400, 1100]);
  assert.deepEqual(extendedByBar([400, 1100], BARS, 0, 1), [400, 1100]);
  assert.deepEqual(extendedByBar([400, 800], BARS, 0, -1), [400, 800]);
  assert.deepEqual(extendedByBar([100, 500], BARS, 0, 1), [0, 1100]);
});

test("notes belong to the region by onset and part", () => {
  const notes = notesOf([[0, 399, 60, 10], [1, 400, 60, 10], [0, 799, 60, 10], [0, 800, 60, 10]]);
  const inside = (parts) => [0, 1, 2, 3].filter((i) => isInRegion(notes, i, [400, 800], parts));
  assert.deepEqual(inside([]), [1, 2]);
  assert.deepEqual(inside([0]), [2]);
});

test("the region is said in words", () => {
  const names = ["Melody", "Bass"];
  assert.equal(regionText([], BARS, names, []), "all bars, all parts");
  assert.equal(regionText([400, 800], BARS, names, [1]), "bar 2, Bass");
  assert.equal(regionText([0, 800], BARS, names, [0, 1]), "bars 1 to 2, Melody, Bass");
});

test("a note is locked, unlocked, and locked with its part", () => {
  const locked = toggledLock([[0, 0, 60]], [1, 5, 62]);
  assert.deepEqual(locked, [[0, 0, 60], [1, 5, 62]]);
  assert.deepEqual(toggledLock(locked, [0, 0, 60]), [[1, 5, 62]]);
  const notes = notesOf([[0, 0, 60, 1], [1, 5, 62, 1], [2, 5, 62, 1]]);
  const isLocked = lockTest(notes, [[1, 5, 62]], [2]);
  assert.deepEqual([0, 1, 2].map(isLocked), [false, true, true]);
});

test("differences are the notes of one version that the other does not have", () => {
  const one = notesOf([[0, 0, 60, 10], [0, 10, 62, 10], [1, 0, 40, 40]]);
  const other = notesOf([[0, 0, 60, 10], [0, 10, 62, 20], [1, 0, 40, 40], [1, 40, 41, 4]]);
  assert.deepEqual(differences(one, other), { missing: [1], added: [1, 3] });
  assert.deepEqual(differences(one, one), { missing: [], added: [] });
});
