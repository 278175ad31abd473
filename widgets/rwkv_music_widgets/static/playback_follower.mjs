// Moves the playhead of a piano roll with the sound, and lights the keys that sound.

import { drawKeys } from "./drawing.mjs";
import { soundingKeys } from "./geometry.mjs";
import { sharedSound } from "./sound.mjs";

/** Follows the trait `playback` of a roll's model: Python sends the state, the range and the sound. */
export class PlaybackFollower {
  /** @param {object} roll the view of a piano roll */
  constructor(roll) {
    this.roll = roll;
  }

  follow() {
    const playback = this.roll.model.get("playback");
    cancelAnimationFrame(this.frameRequest);
    this.light(null);
    this.roll.canvas.dataset.playing = String(playback.state === "playing");
    if (playback.state === "playing") this.followSound(playback);
    else if (playback.state === "stopped") this.roll.playhead.hidden = true;
    else this.showPlayhead(this.heardTick(playback) ?? playback.current_tick);
  }

  /** Return the tick that is heard, null before the sound begins. */
  heardTick({ from_tick: from, speed, seconds: length, loop, sound }) {
    const player = sharedSound().players.get(this.roll.model.get("sound_id"));
    const heard = sound ? player?.heardSeconds() : null;
    if (heard === null || heard === undefined) return null;
    const seconds = loop ? heard % length : heard;
    return this.roll.tempo.toTick(this.roll.tempo.toSeconds(from) + seconds * speed);
  }

  followSound(playback) {
    const { current_tick: from, sound, count, speed } = playback;
    const last = playback.stop_tick >= 0 ? playback.stop_tick : this.roll.end;
    const began = performance.now();
    const offset = this.roll.tempo.toSeconds(from);
    const elapsedTick = () =>
      this.roll.tempo.toTick(offset + (speed * (performance.now() - began)) / 1000);
    const follow = () => {
      const tick = sound ? (this.heardTick(playback) ?? from) : elapsedTick();
      const hasEnded = sound ? this.roll.model.get("ended_playback") === count : tick >= last;
      if (hasEnded) {
        this.roll.playhead.hidden = true;
        this.light(null);
        this.roll.canvas.dataset.playing = "false";
        if (!sound) {
          this.roll.model.set("ended_playback", count);
          this.roll.model.save_changes();
        }
        return;
      }
      this.showPlayhead(Math.min(tick, last));
      this.light(tick);
      this.frameRequest = requestAnimationFrame(follow);
    };
    follow();
  }

  /** Light the keys that sound at a tick; none if it is null. */
  light(tick) {
    const { model, score, view, canvas } = this.roll;
    const isSilent = (part) => this.roll.isHidden(part) || model.get("muted_parts").includes(part);
    const lit = tick === null ? new Set() : soundingKeys(score.notes, tick, isSilent);
    const isSame = lit.size === this.roll.lit.size && [...lit].every((key) => this.roll.lit.has(key));
    if (isSame || !view) return;
    this.roll.lit = view.lit = lit;
    canvas.dataset.lit = [...lit].join(" ");
    drawKeys(canvas.getContext("2d"), view);
  }

  showPlayhead(tick) {
    if (tick > this.roll.time.last || tick < this.roll.time.first) {
      this.roll.time = this.roll.time.moved(tick - this.roll.time.first, this.roll.end);
      this.roll.draw();
    }
    this.roll.playhead.hidden = false;
    this.roll.playhead.style.transform = `translateX(${this.roll.time.toX(tick)}px)`;
  }

  /** Stop following. */
  stop() {
    cancelAnimationFrame(this.frameRequest);
  }
}
