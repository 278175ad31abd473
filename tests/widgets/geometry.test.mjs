// Run by node: node --test tests/widgets/geometry.test.mjs
import assert from "node:assert/strict";
import test from "node:test";

import { axisTicks, smoothed, unpackPoints, valueRange } from "../../widgets/rwkv_music_widgets/static/chart.mjs";
import {
  NOTE_BYTES, RowScale, TempoMap, TimeScale, clockText, isBlackKey, labelEvery, lowerBound,
  pitchName, positionText, secondsEvery, snap, soundingKeys, unpackNotes, unpackTicks, visibleNotes,
} from "../../widgets/rwkv_music_widgets/static/geometry.mjs";
import { afterSolo, toggled } from "../../widgets/rwkv_music_widgets/static/legend.mjs";

function packed(rows) {
  const view = new DataView(new ArrayBuffer(rows.length * NOTE_BYTES));
  rows.forEach(([onset, duration, pitch, velocity, part, isDrum], place) => {
    const at = place * NOTE_BYTES;
    view.setUint32(at, onset, true);
    view.setUint32(at + 4, duration, true);
    [pitch, velocity, part, isDrum].forEach((value, byte) => view.setUint8(at + 8 + byte, value));
  });
  return view;
}

test("packed notes come apart", () => {
  const notes = unpackNotes(packed([[0, 96, 60, 80, 0, 0], [96, 480, 72, 100, 3, 1]]));
  assert.equal(notes.count, 2);
  assert.deepEqual([...notes.onset], [0, 96]);
  assert.deepEqual([notes.longest, notes.lowest, notes.highest], [480, 60, 60]); // drums apart
  assert.deepEqual([notes.part[1], notes.isDrum[1], notes.velocity[1]], [3, 1, 100]);
});

test("two hundred thousand notes do not overflow the stack", () => {
  const notes = unpackNotes(new DataView(new ArrayBuffer(200_000 * NOTE_BYTES)));
  assert.equal(notes.count, 200_000);
});

test("visible notes include one that began long before", () => {
  const notes = unpackNotes(packed([[0, 1000, 60, 1, 0, 0], [500, 10, 61, 1, 0, 0], [990, 10, 62, 1, 0, 0]]));
  assert.deepEqual(visibleNotes(notes, 900, 950), [0, 2]);
});

test("ticks become pixels and come back", () => {
  const scale = new TimeScale(0, 960, 40, 520);
  assert.equal(scale.toX(480), 280);
  assert.equal(scale.toTick(280), 480);
});

test("zooming keeps the tick under the pointer and stays inside the piece", () => {
  const scale = new TimeScale(0, 960, 40, 520);
  const near = scale.zoomed(2, 280, 960, 100);
  assert.equal(near.toTick(280), 480);
  assert.equal(near.last - near.first, 480);
  const far = near.zoomed(0.01, 280, 960, 100);
  assert.deepEqual([far.first, far.last], [0, 960]);
  const closest = scale.zoomed(1000, 280, 960, 100);
  assert.equal(closest.last - closest.first, 100);
  assert.deepEqual([near.moved(9999, 960).last, near.moved(-9999, 960).first], [960, 0]);
});

test("high pitches are on top, with two rows above and below", () => {
  const scale = new RowScale({ lowest: 62, highest: 67, drumKeys: [] }, 20, 120);
  assert.equal(scale.rowHeight, 10);
  assert.equal(scale.toY(69), 20);
  assert.deepEqual(scale.toRow(25), { pitch: 69, isDrum: false });
  assert.deepEqual(scale.toRow(119), { pitch: 60, isDrum: false });
});

test("drums have a lane of their own below the pitches, the kick at its bottom", () => {
  const scale = new RowScale({ lowest: 62, highest: 66, drumKeys: [36, 38, 42] }, 0, 125);
  assert.equal(scale.rowHeight, 10); // 9 pitches, half a row, 3 drums
  assert.deepEqual([scale.toY(42, true), scale.toY(36, true)], [95, 115]);
  assert.deepEqual(scale.toRow(96), { pitch: 42, isDrum: true });
  assert.deepEqual(scale.toRow(124), { pitch: 36, isDrum: true });
  assert.equal(scale.toRow(92), null);
  const alone = new RowScale({ lowest: 127, highest: 0, drumKeys: [36, 38] }, 0, 20);
  assert.deepEqual([alone.rowHeight, alone.toY(38, true)], [10, 0]);
  assert.deepEqual(unpackNotes(packed([[0, 9, 38, 80, 0, 1], [9, 9, 36, 80, 0, 1]])).drumKeys, [36, 38]);
});

test("seconds are labelled at round distances", () => {
  assert.deepEqual([200, 60, 31, 5, 0.01].map((each) => secondsEvery(each)), [0.5, 1, 2, 15, 600]);
  assert.deepEqual([0, 5, 65, 2.5].map(clockText), ["0:00", "0:05", "1:05", "0:02.5"]);
});

test("the keys that sound at a tick are known, drums apart", () => {
  const notes = unpackNotes(packed([[0, 100, 60, 80, 0, 0], [50, 10, 36, 80, 1, 1], [60, 9, 62, 80, 2, 0]]));
  assert.deepEqual([...soundingKeys(notes, 55)], [60, -36]);
  assert.deepEqual([...soundingKeys(notes, 55, (part) => part === 0)], [-36]);
  assert.deepEqual([...soundingKeys(notes, 60)], [60, 62]);
});

test("solo mutes the others, and once more hears all", () => {
  assert.deepEqual(afterSolo([], 1, 3), [0, 2]);
  assert.deepEqual(afterSolo([0, 2], 1, 3), []);
  assert.deepEqual(afterSolo([0, 2], 0, 3), [1, 2]);
  assert.deepEqual([toggled([2], 0), toggled([0, 2], 2)], [[0, 2], [0]]);
});

test("labels thin out by powers of two", () => {
  assert.deepEqual([100, 26, 25, 10, 1].map((each) => labelEvery(each)), [1, 1, 2, 4, 32]);
});

test("a tick snaps to the nearest line", () => {
  const lines = [0, 96, 192];
  assert.deepEqual([-5, 40, 48, 49, 500].map((each) => snap(each, lines)), [0, 0, 0, 96, 192]);
  assert.equal(snap(41.6, []), 42);
});

test("places are told in bars and beats from one", () => {
  const bars = [0, 384, 768];
  const beats = [0, 96, 192, 288, 384, 480, 576, 672];
  assert.equal(positionText(0, bars, beats), "bar 1, beat 1");
  assert.equal(positionText(384 + 96 + 48, bars, beats), "bar 2, beat 2.5");
});

test("names, keys and lists", () => {
  assert.deepEqual([60, 61, 21].map(pitchName), ["C4", "C♯4", "A0"]);
  assert.deepEqual([60, 61].map(isBlackKey), [false, true]);
  assert.equal(lowerBound([1, 3, 3, 5], 3), 1);
  const view = new DataView(new Int32Array([0, 1920]).buffer);
  assert.deepEqual(unpackTicks(view), [0, 1920]);
});

test("seconds follow the tempos both ways", () => {
  const tempo = new TempoMap([[0, 0, 0.01], [100, 1, 0.02]]);
  assert.equal(tempo.toSeconds(50), 0.5);
  assert.equal(tempo.toSeconds(150), 2);
  assert.equal(tempo.toTick(2), 150);
});

test("the chart's axis has round steps and its range forgets the start", () => {
  assert.deepEqual(axisTicks(0, 1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  const train = Array.from({ length: 100 }, (_, step) => [step, step < 10 ? 7 : 1]);
  const [low, high] = valueRange(train, [], [["uniform", 7.6], ["5-gram", 0.9]]);
  assert.ok(low < 0.9 && high < 2);
  assert.deepEqual(valueRange([], [], []), [0, 1]);
});

test("the smoothed curve begins at the first value and follows", () => {
  assert.deepEqual(smoothed([2, 2, 2]), [2, 2, 2]);
  const [first, second] = smoothed([0, 10], 0.1);
  assert.deepEqual([first, second], [0, 1]);
  const view = new DataView(new Float32Array([1, 2.5, 2, 2.25]).buffer);
  assert.deepEqual(unpackPoints(view), [[1, 2.5], [2, 2.25]]);
});
