// The note cursor of a piano roll, for readers who do not use a pointer, and notes in words.

import { pitchName, positionText } from "./geometry.mjs";
import { drumName } from "./drum_names.mjs";
import { noteBox } from "./marks.mjs";

/** Moves from note to note with the keys , and . and says where it is. */
export class NoteCursor {
  /** @param {object} roll the view of a piano roll */
  constructor(roll) {
    this.roll = roll;
    this.index = -1;
  }

  /** Return whether the cursor is at a note. */
  get isSet() {
    return this.index >= 0 && this.index < this.roll.score.notes.count;
  }

  /** Return a note in words, such as "C4 (60), velocity 80, bar 1, beat 1, Violin". */
  describe(i) {
    const { notes, bars, beats, surprise } = this.roll.score;
    const pitch = notes.pitch[i];
    const name = notes.isDrum[i] ? drumName(pitch) : pitchName(pitch);
    const where = positionText(notes.onset[i], bars, beats);
    const part = this.roll.model.get("parts")[notes.part[i]];
    const nats = surprise.length ? `, ${surprise[i].toFixed(1)} nats` : "";
    return `${name} (${pitch}), velocity ${notes.velocity[i]}, ${where}, ${part}${nats}`;
  }

  /** Move by one note that is not hidden. */
  move(step) {
    const { roll } = this;
    const { notes } = roll.score;
    let next = this.index < 0 && step < 0 ? notes.count : this.index;
    do next += step;
    while (next >= 0 && next < notes.count && roll.isHidden(notes.part[next]));
    if (next < 0 || next >= notes.count) return;
    this.index = next;
    const onset = notes.onset[next];
    if (onset < roll.time.first || onset >= roll.time.last) {
      roll.time = roll.time.moved(onset - roll.time.first, roll.end);
    }
    roll.showStatus(this.describe(next));
  }

  draw(pen, colors) {
    const box = this.isSet ? noteBox(this.roll.score.notes, this.index, this.roll.view) : null;
    if (box === null) return;
    pen.strokeStyle = colors.text;
    pen.lineWidth = 2;
    pen.strokeRect(box[0] - 1, box[1] - 1, box[2] + 2, box[3] + 2);
  }

  /** Put an edge of the selection at the note. */
  select(isEnd) {
    if (!this.isSet) return;
    const { notes } = this.roll.score;
    const onset = notes.onset[this.index];
    const edge = isEnd ? onset + notes.duration[this.index] : onset;
    const chosen = this.roll.model.get("selection");
    const [from, to] = chosen.length ? chosen : [0, this.roll.end];
    this.roll.select(isEnd ? [Math.min(from, onset), edge] : [edge, Math.max(to, edge + 1)]);
  }
}
