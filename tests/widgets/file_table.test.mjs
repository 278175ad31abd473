// Sorting and filtering of the table of files: node --test

import assert from "node:assert/strict";
import { test } from "node:test";

import { filteredRows, sortedRows } from "../../widgets/rwkv_music_widgets/static/file_table.mjs";

const row = (name, verdict, bars, remarks = []) =>
  ({ name, verdict, remarks, values: [verdict, name, bars] });
const rows = [row("b 10", "fine", 9), row("b 9", "skipped", null, ["why: Empty"]), row("a", "repaired", 30)];
const names = (found) => found.map((each) => each.name);

test("numbers are sorted as numbers, and the unknown comes last both ways", () => {
  assert.deepEqual(names(sortedRows(rows, 2, false)), ["b 10", "a", "b 9"]);
  assert.deepEqual(names(sortedRows(rows, 2, true)), ["a", "b 10", "b 9"]);
});

test("numbers in names are sorted as numbers", () => {
  assert.deepEqual(names(sortedRows(rows, 1, false)), ["a", "b 9", "b 10"]);
});

test("equal values keep their order", () => {
  const same = [row("x", "fine", 1), row("y", "fine", 1)];
  assert.deepEqual(names(sortedRows(same, 2, false)), ["x", "y"]);
  assert.deepEqual(names(sortedRows(same, 2, true)), ["x", "y"]);
});

test("rows are filtered by verdict and by a text in name or remarks", () => {
  assert.deepEqual(names(filteredRows(rows, "fine", "")), ["b 10"]);
  assert.deepEqual(names(filteredRows(rows, "", "empty")), ["b 9"]);
  assert.deepEqual(names(filteredRows(rows, "repaired", "b")), []);
  assert.equal(filteredRows(rows, "", "").length, 3);
});
