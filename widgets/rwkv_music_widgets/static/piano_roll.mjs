// Piano roll widget: connects the model to the canvas, the pointer and the keyboard.

import { KEY_WIDTH, RULER_HEIGHT, SEAM_LABEL_HEIGHT, drawRoll } from "./drawing.mjs";
import {
  PitchScale, TempoMap, TimeScale, lowerBound, pitchName, positionText, snap, unpackNotes, unpackTicks,
  visibleNotes,
} from "./geometry.mjs";
import { guardKeys } from "./keys.mjs";
import { attachSound, sharedSound } from "./sound.mjs";
import { noteColor, onThemeChange, themeColors } from "./theme.mjs";

const SHORTEST_QUARTERS = 2;
const DRAG_PIXELS = 4;

class PianoRollView {
  constructor(model, el) {
    this.model = model;
    this.build(el);
    this.cleanups = [onThemeChange(() => this.draw())];
    const resize = new ResizeObserver(() => this.draw());
    resize.observe(this.frame);
    this.cleanups.push(() => resize.disconnect());
    this.listen();
    this.readScore();
  }

  build(el) {
    el.classList.add("rwkv-roll");
    this.frame = document.createElement("div");
    this.frame.className = "rwkv-roll-frame";
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.playhead = document.createElement("div");
    this.playhead.className = "rwkv-roll-playhead";
    this.playhead.hidden = true;
    this.legend = document.createElement("div");
    this.legend.className = "rwkv-roll-legend";
    this.status = document.createElement("div");
    this.status.className = "rwkv-roll-status";
    this.status.setAttribute("role", "status");
    this.frame.append(this.canvas, this.playhead);
    el.append(this.legend, this.frame, this.status);
  }

  on(target, event, handle, options) {
    target.addEventListener(event, handle, options);
    this.cleanups.push(() => target.removeEventListener(event, handle, options));
  }

  listen() {
    const model = this.model;
    const score = () => this.readScore();
    const play = () => this.followPlayback();
    const select = () => this.draw();
    model.on("change:notes", score);
    model.on("change:playback", play);
    model.on("change:selection", select);
    this.cleanups.push(() => {
      model.off("change:notes", score);
      model.off("change:playback", play);
      model.off("change:selection", select);
    });
    this.on(this.canvas, "wheel", (event) => this.wheel(event), { passive: false });
    this.on(this.canvas, "pointerdown", (event) => this.press(event));
    this.on(this.canvas, "pointermove", (event) => this.move(event));
    this.on(this.canvas, "pointerup", (event) => this.release(event));
    this.on(this.canvas, "pointerleave", () => this.showStatus(""));
    this.on(this.canvas, "dblclick", () => this.fit());
    this.on(this.canvas, "keydown", (event) => this.key(event));
    this.cleanups.push(guardKeys(this.canvas));
  }

  readScore() {
    const model = this.model;
    const seam = model.get("continuation_start");
    this.score = {
      notes: unpackNotes(model.get("notes")),
      bars: unpackTicks(model.get("bars")),
      beats: unpackTicks(model.get("beats")),
      signatures: model.get("signatures"),
      ticksPerQuarter: model.get("ticks_per_quarter"),
      seam: seam < 0 ? null : seam,
    };
    this.end = Math.max(1, this.score.bars[this.score.bars.length - 1] ?? 1);
    this.tempo = new TempoMap(model.get("tempos"));
    this.canvas.setAttribute("aria-label", model.get("summary"));
    this.drawLegend();
    this.fit();
    this.followPlayback();
  }

  drawLegend() {
    this.legend.replaceChildren(
      ...this.model.get("parts").map((name, part) => {
        const entry = document.createElement("span");
        const swatch = document.createElement("i");
        swatch.style.background = noteColor(part, 100, themeColors().dark);
        entry.append(swatch, name);
        return entry;
      }),
    );
  }

  fit() {
    this.time = new TimeScale(0, this.end, KEY_WIDTH, Math.max(KEY_WIDTH + 1, this.width() - 6));
    this.drawNow();
  }

  width() {
    // JupyterLab removes cells outside the viewport from the page; they have no width then.
    this.lastWidth = this.frame.clientWidth || this.lastWidth || 700;
    return this.lastWidth;
  }

  /** Draw before the next frame; several changes within a frame are drawn once. */
  draw() {
    this.drawRequest ??= requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    cancelAnimationFrame(this.drawRequest);
    this.drawRequest = null;
    if (!this.score) return;
    const width = this.width();
    const height = this.model.get("height");
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.height = `${height}px`;
    this.time = new TimeScale(this.time.first, this.time.last, KEY_WIDTH, width - 6);
    const { lowest, highest, count } = this.score.notes;
    const [low, high] = count ? [lowest, highest] : [55, 65];
    // The labels at the seam are below all notes.
    const bottom = this.score.seam === null ? height : height - SEAM_LABEL_HEIGHT;
    this.pitch = new PitchScale(Math.max(0, low - 2), Math.min(127, high + 2), RULER_HEIGHT, bottom);
    const colors = themeColors();
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const chosen = this.dragged ?? this.model.get("selection");
    const selection = chosen && chosen.length === 2 ? chosen : null;
    const view = { width, height, time: this.time, pitch: this.pitch, colors, selection };
    const drawn = drawRoll(pen, this.score, view);
    this.playhead.style.background = colors.playhead;
    this.playhead.style.height = `${height}px`;
    Object.assign(this.canvas.dataset, {
      notes: drawn,
      total: count,
      seam: this.score.seam ?? "",
      theme: colors.dark ? "dark" : "light",
    });
    if (this.theme !== colors.dark) {
      this.theme = colors.dark;
      this.drawLegend();
    }
  }

  // Pointer and keyboard.

  position(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  wheel(event) {
    // The wheel alone scrolls the notebook.
    if (!(event.ctrlKey || event.metaKey || event.shiftKey)) return;
    event.preventDefault();
    const amount = event.deltaY || event.deltaX;
    if (event.shiftKey) {
      this.time = this.time.moved((amount / 600) * (this.time.last - this.time.first), this.end);
    } else {
      this.zoom(amount < 0 ? 1.25 : 0.8, this.position(event)[0]);
    }
    this.draw();
  }

  zoom(factor, x) {
    const shortest = SHORTEST_QUARTERS * this.score.ticksPerQuarter;
    this.time = this.time.zoomed(factor, x, this.end, shortest);
  }

  press(event) {
    if (event.button !== 0) return;
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const [x, y] = this.position(event);
    this.pressedAt = x;
    this.isOnRuler = y < RULER_HEIGHT;
  }

  move(event) {
    const [x, y] = this.position(event);
    if (this.pressedAt === undefined) {
      this.hover(x, y);
      return;
    }
    if (this.dragged === undefined && Math.abs(x - this.pressedAt) < DRAG_PIXELS) return;
    const lines = event.altKey ? [] : [...this.score.beats, this.end];
    const ends = [this.pressedAt, x].map((pixel) => this.time.toTick(pixel));
    const [from, to] = ends.map((each) => snap(Math.min(Math.max(0, each), this.end), lines));
    this.dragged = [Math.min(from, to), Math.max(from, to)];
    this.draw();
  }

  release() {
    const wasDrag = this.dragged !== undefined;
    const chosen = wasDrag && this.dragged[0] < this.dragged[1] ? this.dragged : [];
    const tick = this.time.toTick(this.pressedAt);
    this.pressedAt = undefined;
    this.dragged = undefined;
    if (!wasDrag && this.isOnRuler) this.playFrom(tick);
    else this.select(chosen);
  }

  /** Ask Python to play from the beat before a tick. */
  playFrom(tick) {
    const { beats } = this.score;
    const beat = beats[Math.max(0, lowerBound(beats, tick + 1) - 1)] ?? 0;
    this.model.send({ type: "play from", tick: beat });
  }

  select(chosen) {
    this.model.set("selection", chosen);
    this.model.save_changes();
    this.draw();
    if (chosen.length) {
      const { bars, beats } = this.score;
      this.showStatus(`selected from ${positionText(chosen[0], bars, beats)} to ${positionText(chosen[1], bars, beats)}`);
    }
  }

  hover(x, y) {
    const tick = this.time.toTick(x);
    const pitch = this.pitch.toPitch(y);
    const { notes, bars, beats } = this.score;
    const [first, stop] = visibleNotes(notes, tick, tick);
    for (let i = stop - 1; i >= first; i -= 1) {
      if (notes.pitch[i] === pitch && tick < notes.onset[i] + notes.duration[i]) {
        const part = this.model.get("parts")[notes.part[i]];
        const where = positionText(notes.onset[i], bars, beats);
        this.showStatus(`${pitchName(pitch)} (${pitch}), velocity ${notes.velocity[i]}, ${where}, ${part}`);
        return;
      }
    }
    this.showStatus("");
  }

  showStatus(text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  key(event) {
    const step = (this.time.last - this.time.first) / 8;
    const middle = (this.time.left + this.time.right) / 2;
    const actions = {
      ArrowLeft: () => (this.time = this.time.moved(-step, this.end)),
      ArrowRight: () => (this.time = this.time.moved(step, this.end)),
      Home: () => (this.time = this.time.moved(-this.end, this.end)),
      End: () => (this.time = this.time.moved(this.end, this.end)),
      "+": () => this.zoom(1.25, middle),
      "=": () => this.zoom(1.25, middle),
      "-": () => this.zoom(0.8, middle),
      0: () => this.fit(),
      " ": () => this.model.send({ type: "toggle playback" }),
    };
    const act = actions[event.key];
    if (!act || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    act();
    this.draw();
  }

  // Playback: Python sends the state, the position and the sound; the playhead follows the sound.

  followPlayback() {
    const playback = this.model.get("playback");
    cancelAnimationFrame(this.frameRequest);
    this.canvas.dataset.playing = String(playback.state === "playing");
    if (playback.state === "playing") this.followSound(playback);
    else if (playback.state === "stopped") this.playhead.hidden = true;
    else this.showPlayhead(this.heardTick(playback) ?? playback.current_tick);
  }

  /** Return the tick that is heard, null before the sound begins. */
  heardTick({ from_tick: from, speed, seconds: length, loop, sound }) {
    const player = sharedSound().players.get(this.model.get("sound_id"));
    const heard = sound ? player?.heardSeconds() : null;
    if (heard === null || heard === undefined) return null;
    const seconds = loop ? heard % length : heard;
    return this.tempo.toTick(this.tempo.toSeconds(from) + seconds * speed);
  }

  followSound(playback) {
    const { current_tick: from, sound, count, speed } = playback;
    const last = playback.stop_tick >= 0 ? playback.stop_tick : this.end;
    const began = performance.now();
    const offset = this.tempo.toSeconds(from);
    const elapsedTick = () =>
      this.tempo.toTick(offset + (speed * (performance.now() - began)) / 1000);
    const follow = () => {
      const tick = sound ? (this.heardTick(playback) ?? from) : elapsedTick();
      const hasEnded = sound ? this.model.get("ended_playback") === count : tick >= last;
      if (hasEnded) {
        this.playhead.hidden = true;
        this.canvas.dataset.playing = "false";
        if (!sound) {
          this.model.set("ended_playback", count);
          this.model.save_changes();
        }
        return;
      }
      this.showPlayhead(Math.min(tick, last));
      this.frameRequest = requestAnimationFrame(follow);
    };
    follow();
  }

  showPlayhead(tick) {
    if (tick > this.time.last || tick < this.time.first) {
      this.time = this.time.moved(tick - this.time.first, this.end);
      this.draw();
    }
    this.playhead.hidden = false;
    this.playhead.style.transform = `translateX(${this.time.toX(tick)}px)`;
  }

  destroy() {
    cancelAnimationFrame(this.frameRequest);
    cancelAnimationFrame(this.drawRequest);
    for (const cleanup of this.cleanups) cleanup();
  }
}

export default {
  initialize({ model }) {
    return attachSound(model);
  },
  render({ model, el }) {
    const view = new PianoRollView(model, el);
    return () => view.destroy();
  },
};
