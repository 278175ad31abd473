// Pure geometry of the piano roll: ticks and pitches to pixels, snapping, labels. Uses no DOM.

/** Bytes per note in the packed trait: u32 onset, u32 duration, u8 pitch, velocity, part, flags. */
export const NOTE_BYTES = 12;

/**
 * Unpack notes sorted by onset.
 * @param {DataView} view
 */
export function unpackNotes(view) {
  const count = Math.floor(view.byteLength / NOTE_BYTES);
  const notes = {
    count,
    onset: new Uint32Array(count),
    duration: new Uint32Array(count),
    pitch: new Uint8Array(count),
    velocity: new Uint8Array(count),
    part: new Uint8Array(count),
    isDrum: new Uint8Array(count),
    longest: 0,
    lowest: 127,
    highest: 0,
    drumKeys: [],
  };
  const isDrumKey = new Uint8Array(128);
  for (let i = 0; i < count; i += 1) {
    const at = i * NOTE_BYTES;
    notes.onset[i] = view.getUint32(at, true);
    notes.duration[i] = view.getUint32(at + 4, true);
    notes.pitch[i] = view.getUint8(at + 8);
    notes.velocity[i] = view.getUint8(at + 9);
    notes.part[i] = view.getUint8(at + 10);
    notes.isDrum[i] = view.getUint8(at + 11);
    notes.longest = Math.max(notes.longest, notes.duration[i]);
    if (notes.isDrum[i]) {
      isDrumKey[notes.pitch[i]] = 1;
    } else {
      notes.lowest = Math.min(notes.lowest, notes.pitch[i]);
      notes.highest = Math.max(notes.highest, notes.pitch[i]);
    }
  }
  isDrumKey.forEach((isUsed, key) => isUsed && notes.drumKeys.push(key));
  return notes;
}

/** Return the 32-bit integers of a binary trait. */
export function unpackTicks(view) {
  const ticks = [];
  for (let at = 0; at + 4 <= view.byteLength; at += 4) ticks.push(view.getInt32(at, true));
  return ticks;
}

/** Return the 32-bit floats of a binary trait. */
export function unpackFloats(view) {
  const values = [];
  for (let at = 0; at + 4 <= (view?.byteLength ?? 0); at += 4) values.push(view.getFloat32(at, true));
  return values;
}

/** Return the first index whose value is at least `bound`, in a sorted list. */
export function lowerBound(sorted, bound) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < bound) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Return the index range [first, stop) of the notes that may overlap the ticks [from, to]. */
export function visibleNotes(notes, from, to) {
  return [lowerBound(notes.onset, from - notes.longest), lowerBound(notes.onset, to + 1)];
}

/** Maps ticks to pixels from `left` to `right`. Immutable: zooming returns a new scale. */
export class TimeScale {
  constructor(first, last, left, right) {
    this.first = first;
    this.last = Math.max(last, first + 1);
    this.left = left;
    this.right = Math.max(right, left + 1);
  }
  get pixelsPerTick() {
    return (this.right - this.left) / (this.last - this.first);
  }
  toX(tick) {
    return this.left + (tick - this.first) * this.pixelsPerTick;
  }
  toTick(x) {
    return this.first + (x - this.left) / this.pixelsPerTick;
  }
  /** Zoom around the pixel x, between `shortest` ticks and the whole piece. */
  zoomed(factor, x, end, shortest) {
    const length = Math.min(end, Math.max(shortest, (this.last - this.first) / factor));
    const anchor = this.toTick(x);
    const share = (x - this.left) / (this.right - this.left);
    return this.clampedTo(anchor - share * length, length, end);
  }
  /** Move by some ticks, staying within the piece. */
  moved(ticks, end) {
    return this.clampedTo(this.first + ticks, this.last - this.first, end);
  }
  clampedTo(first, length, end) {
    const start = Math.min(Math.max(0, first), Math.max(0, end - length));
    return new TimeScale(start, start + length, this.left, this.right);
  }
}

const LANE_GAP_ROWS = 0.5;

/** Maps notes to rows: pitches with high ones on top, and below them a lane with a row per drum. */
export class RowScale {
  /** @param {{lowest: number, highest: number, drumKeys: number[]}} notes */
  constructor({ lowest, highest, drumKeys }, top, bottom) {
    this.drumKeys = drumKeys;
    this.hasPitches = lowest <= highest || !drumKeys.length;
    [this.lowest, this.highest] = lowest <= highest ? [lowest, highest] : [55, 65];
    this.lowest = Math.max(0, this.lowest - 2);
    this.highest = Math.min(127, this.highest + 2);
    this.top = top;
    const pitches = this.hasPitches ? this.highest - this.lowest + 1 : 0;
    this.laneRow = pitches + (pitches && drumKeys.length ? LANE_GAP_ROWS : 0);
    this.rowHeight = (bottom - top) / (this.laneRow + drumKeys.length);
  }
  get laneY() {
    return this.top + this.laneRow * this.rowHeight;
  }
  toY(pitch, isDrum = false) {
    if (!isDrum) return this.top + (this.highest - pitch) * this.rowHeight;
    const fromBottom = lowerBound(this.drumKeys, pitch);
    return this.laneY + (this.drumKeys.length - 1 - fromBottom) * this.rowHeight;
  }
  /** Return the pitch at a pixel and whether it is in the drum lane; null between the two. */
  toRow(y) {
    if (y >= this.laneY && this.drumKeys.length) {
      const fromTop = Math.floor((y - this.laneY) / this.rowHeight);
      const pitch = this.drumKeys[this.drumKeys.length - 1 - fromTop];
      return pitch === undefined ? null : { pitch, isDrum: true };
    }
    const pitch = this.highest - Math.floor((y - this.top) / this.rowHeight);
    return this.hasPitches && pitch >= this.lowest ? { pitch, isDrum: false } : null;
  }
}

const SECOND_STEPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];

/** Return the distance of the labels of seconds that keeps them `room` pixels apart. */
export function secondsEvery(pixelsPerSecond, room = 60) {
  const fitting = SECOND_STEPS.find((step) => step * pixelsPerSecond >= room);
  return fitting ?? SECOND_STEPS[SECOND_STEPS.length - 1];
}

/** Return a time as "1:05", or "0:00.5" where seconds are divided. */
export function clockText(seconds) {
  const rest = seconds % 60;
  const text = Number.isInteger(rest) ? String(rest) : rest.toFixed(1);
  return `${Math.floor(seconds / 60)}:${rest < 10 ? "0" : ""}${text}`;
}

/** Return the pitches that sound at a tick, those of drums as negative numbers. */
export function soundingKeys(notes, tick, isHidden = () => false) {
  const keys = new Set();
  const [first, stop] = visibleNotes(notes, tick, tick);
  for (let i = first; i < stop; i += 1) {
    if (notes.onset[i] <= tick && tick < notes.onset[i] + notes.duration[i]) {
      if (!isHidden(notes.part[i])) keys.add(notes.isDrum[i] ? -notes.pitch[i] : notes.pitch[i]);
    }
  }
  return keys;
}

/** Label every n-th bar so that labels stand at least `room` pixels apart; n is a power of two. */
export function labelEvery(pixelsPerBar, room = 26) {
  let every = 1;
  while (pixelsPerBar * every < room && every < 4096) every *= 2;
  return every;
}

/** Return the line nearest to a tick. */
export function snap(tick, lines) {
  if (!lines.length) return Math.max(0, Math.round(tick));
  const after = lowerBound(lines, tick);
  if (after === 0) return lines[0];
  if (after === lines.length) return lines[lines.length - 1];
  return tick - lines[after - 1] <= lines[after] - tick ? lines[after - 1] : lines[after];
}

const NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];

/** Return the name of a pitch: "C4" for 60. */
export function pitchName(pitch) {
  return `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;
}

/** Return whether a pitch is a black key. */
export function isBlackKey(pitch) {
  return [1, 3, 6, 8, 10].includes(pitch % 12);
}

/** Return the position of a tick as "bar 3, beat 2.5". */
export function positionText(tick, bars, beats) {
  const bar = Math.max(0, lowerBound(bars, tick + 1) - 1);
  const first = lowerBound(beats, bars[bar] ?? 0);
  const beat = Math.max(first, lowerBound(beats, tick + 1) - 1);
  const length = (beats[beat + 1] ?? beats[beat] + (beats[1] ?? 1)) - beats[beat];
  const part = beat - first + 1 + (tick - beats[beat]) / length;
  return `bar ${bar + 1}, beat ${Number(part.toFixed(2))}`;
}

/** Converts ticks to seconds, from rows of [tick, seconds at that tick, seconds per tick]. */
export class TempoMap {
  constructor(rows) {
    this.rows = rows.length ? rows : [[0, 0, 1]];
  }
  toSeconds(tick) {
    let row = this.rows[0];
    for (const candidate of this.rows) if (candidate[0] <= tick) row = candidate;
    return row[1] + (tick - row[0]) * row[2];
  }
  toTick(seconds) {
    let row = this.rows[0];
    for (const candidate of this.rows) if (candidate[1] <= seconds) row = candidate;
    return row[0] + (seconds - row[1]) / row[2];
  }
}
