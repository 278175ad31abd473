// Piano roll widget: connects the model to the canvas, the pointer and the keyboard.

import { RULER_HEIGHT, SEAM_LABEL_HEIGHT, drawRoll } from "./drawing.mjs";
import { differences } from "./difference.mjs";
import {
  RowScale, TempoMap, TimeScale, lowerBound, positionText, snap, unpackFloats, unpackNotes,
  unpackTicks, visibleNotes,
} from "./geometry.mjs";
import { guardKeys } from "./keys.mjs";
import { drawLegend, toggled } from "./legend.mjs";
import { drawMarks } from "./marks.mjs";
import { NoteCursor } from "./note_cursor.mjs";
import { KEY_WIDTH } from "./note_drawing.mjs";
import { Overview } from "./overview.mjs";
import { PlaybackFollower } from "./playback_follower.mjs";
import { extendedByBar, regionText, toggledLock } from "./region.mjs";
import { attachSound } from "./sound.mjs";
import { onThemeChange, themeColors } from "./theme.mjs";

const SHORTEST_QUARTERS = 2;
const DRAG_PIXELS = 4;

class PianoRollView {
  constructor(model, el) {
    this.model = model;
    this.lit = new Set();
    this.playback = new PlaybackFollower(this);
    this.cursor = new NoteCursor(this);
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
    this.overview = new Overview((share) => {
      const middle = (this.time.first + this.time.last) / 2;
      this.time = this.time.moved(share * this.end - middle, this.end);
      this.draw();
    });
    el.append(this.legend, this.frame, this.overview.canvas, this.status);
  }

  on(target, event, handle, options) {
    target.addEventListener(event, handle, options);
    this.cleanups.push(() => target.removeEventListener(event, handle, options));
  }

  listen() {
    const parts = () => {
      drawLegend(this.legend, this.model);
      this.draw();
    };
    const handlers = {
      "change:notes": () => this.readScore(),
      "change:playback": () => this.playback.follow(),
      "change:selection": () => this.draw(),
      "change:surprise": () => this.readScore(),
      "change:other": () => this.compare(),
      "change:locked_notes": () => this.draw(),
      "change:hidden_parts": parts,
      "change:muted_parts": parts,
      "change:selected_parts": parts,
      "change:locked_parts": parts,
    };
    for (const [event, handle] of Object.entries(handlers)) {
      this.model.on(event, handle);
      this.cleanups.push(() => this.model.off(event, handle));
    }
    this.cleanups.push(guardKeys(this.legend));
    this.on(this.canvas, "wheel", (event) => this.wheel(event), { passive: false });
    this.on(this.canvas, "pointerdown", (event) => this.press(event));
    this.on(this.canvas, "pointermove", (event) => this.move(event));
    this.on(this.canvas, "pointerup", (event) => this.release(event));
    this.on(this.canvas, "pointerleave", () => this.showStatus(""));
    this.on(this.frame, "pointerenter", () => this.model.send({ type: "hover", is_over: true }));
    this.on(this.frame, "pointerleave", () => this.model.send({ type: "hover", is_over: false }));
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
      tempo: new TempoMap(model.get("tempos")),
      ticksPerQuarter: model.get("ticks_per_quarter"),
      seam: seam < 0 ? null : seam,
      newEnd: model.get("new_end") < 0 ? null : model.get("new_end"),
      surprise: unpackFloats(model.get("surprise")),
    };
    this.end = Math.max(1, this.score.bars[this.score.bars.length - 1] ?? 1);
    this.tempo = this.score.tempo;
    this.canvas.setAttribute("aria-label", model.get("summary"));
    drawLegend(this.legend, model);
    this.overview.forget();
    this.cursor.index = -1;
    this.compare();
    this.fit();
    this.playback.follow();
  }

  /** Take the other version that is laid over the score, if there is one. */
  compare() {
    const packed = this.model.get("other");
    this.other = packed?.byteLength ? unpackNotes(packed) : null;
    this.difference = this.other && differences(this.score.notes, this.other);
    this.draw();
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
    // The labels at the seam are below all notes.
    const bottom = this.score.seam === null ? height : height - SEAM_LABEL_HEIGHT;
    this.rows = new RowScale(this.score.notes, RULER_HEIGHT, bottom);
    const colors = themeColors();
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const chosen = this.dragged ?? this.model.get("selection");
    const selection = chosen && chosen.length === 2 ? chosen : null;
    this.view = {
      width, height, ratio, time: this.time, rows: this.rows, colors, selection, lit: this.lit,
      hidden: new Set(this.model.get("hidden_parts")),
      muted: new Set(this.model.get("muted_parts")),
      selectedParts: this.model.get("selected_parts"),
      lockedNotes: this.model.get("locked_notes"),
      lockedParts: this.model.get("locked_parts"),
      other: this.other,
      difference: this.difference,
    };
    const drawn = drawRoll(pen, this.score, this.view);
    const marked = drawMarks(pen, this.score.notes, this.view);
    this.cursor.draw(pen, colors);
    this.overview.draw(this.score.notes, this.time, this.end, width, colors);
    this.playhead.style.background = colors.playhead;
    this.playhead.style.height = `${height}px`;
    Object.assign(this.canvas.dataset, {
      notes: drawn,
      total: this.score.notes.count,
      seam: this.score.seam ?? "",
      theme: colors.dark ? "dark" : "light",
      region: marked.region,
      locked: marked.locked,
      different: this.other ? this.difference.missing.length + this.difference.added.length : "",
    });
    if (this.theme !== colors.dark) {
      this.theme = colors.dark;
      drawLegend(this.legend, this.model);
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
    this.pressedNote = this.noteAt(x, y);
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
    else if (!wasDrag && this.pressedNote >= 0 && this.model.get("can_edit")) this.lock(this.pressedNote);
    else this.select(chosen);
  }

  /** Ask Python to play from the beat before a tick. */
  playFrom(tick) {
    const { beats } = this.score;
    const beat = beats[Math.max(0, lowerBound(beats, tick + 1) - 1)] ?? 0;
    this.model.send({ type: "play from", tick: beat });
  }

  select(chosen) {
    this.set("selection", chosen);
    this.draw();
    if (chosen.length && this.model.get("can_edit")) this.showRegion();
    else if (chosen.length) {
      const { bars, beats } = this.score;
      this.showStatus(`selected from ${positionText(chosen[0], bars, beats)} to ${positionText(chosen[1], bars, beats)}`);
    }
  }

  set(trait, value) {
    this.model.set(trait, value);
    this.model.save_changes();
  }

  showRegion() {
    const [selection, parts] = [this.model.get("selection"), this.model.get("selected_parts")];
    this.showStatus(`selected: ${regionText(selection, this.score.bars, this.model.get("parts"), parts)}`);
  }

  /** Add the bar at the note cursor or at the left edge to the selection, or change its last bar. */
  extend(step) {
    if (this.score.bars.length < 2) return;
    const tick = this.cursor.isSet ? this.score.notes.onset[this.cursor.index] : this.time.first;
    this.select(extendedByBar(this.model.get("selection"), this.score.bars, tick, step));
  }

  /** Add a part to the selection, or remove it. */
  selectPart(part) {
    if (part >= this.model.get("parts").length || !this.model.get("can_edit")) return;
    this.set("selected_parts", toggled(this.model.get("selected_parts"), part));
    drawLegend(this.legend, this.model);
    this.showRegion();
  }

  /** Lock a note, or unlock it. */
  lock(i) {
    if (i < 0 || !this.model.get("can_edit")) return;
    const { part, onset, pitch } = this.score.notes;
    this.set("locked_notes", toggledLock(this.model.get("locked_notes"), [part[i], onset[i], pitch[i]]));
    this.draw();
  }

  /** Return the index of the note at a pixel, -1 if there is none. */
  noteAt(x, y) {
    const tick = this.time.toTick(x);
    const row = this.rows.toRow(y);
    const { notes } = this.score;
    const [first, stop] = visibleNotes(notes, tick, tick);
    for (let i = stop - 1; row && i >= first; i -= 1) {
      const isHere = notes.pitch[i] === row.pitch && Boolean(notes.isDrum[i]) === row.isDrum;
      if (isHere && tick < notes.onset[i] + notes.duration[i] && !this.isHidden(notes.part[i])) return i;
    }
    return -1;
  }

  hover(x, y) {
    const i = this.noteAt(x, y);
    this.showStatus(i < 0 ? "" : this.cursor.describe(i));
  }

  isHidden(part) {
    return this.model.get("hidden_parts").includes(part);
  }

  showStatus(text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  key(event) {
    const step = (this.time.last - this.time.first) / 8;
    const middle = (this.time.left + this.time.right) / 2;
    const actions = {
      ArrowLeft: () => event.shiftKey ? this.extend(-1) : (this.time = this.time.moved(-step, this.end)),
      ArrowRight: () => event.shiftKey ? this.extend(1) : (this.time = this.time.moved(step, this.end)),
      Home: () => (this.time = this.time.moved(-this.end, this.end)),
      End: () => (this.time = this.time.moved(this.end, this.end)),
      "+": () => this.zoom(1.25, middle),
      "=": () => this.zoom(1.25, middle),
      "-": () => this.zoom(0.8, middle),
      0: () => this.fit(),
      ",": () => this.cursor.move(-1),
      ".": () => this.cursor.move(1),
      "[": () => this.cursor.select(false),
      "]": () => this.cursor.select(true),
      l: () => this.lock(this.cursor.index),
      x: () => this.model.send({ type: "switch" }),
      " ": () => this.model.send({ type: "toggle playback" }),
    };
    for (let part = 0; part < 9; part += 1) actions[part + 1] = () => this.selectPart(part);
    const act = actions[event.key];
    if (!act || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    act();
    this.draw();
  }

  destroy() {
    this.playback.stop();
    cancelAnimationFrame(this.drawRequest);
    for (const cleanup of this.cleanups) cleanup();
  }
}

export const pianoRoll = {
  initialize({ model }) {
    return attachSound(model);
  },
  render({ model, el }) {
    const view = new PianoRollView(model, el);
    return () => view.destroy();
  },
};

export default pianoRoll;
