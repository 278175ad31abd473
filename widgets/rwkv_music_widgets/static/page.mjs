// A page without a kernel: piano rolls that play sound which is part of the page.

import { pianoRoll } from "./piano_roll.mjs";
import { audioContext, sharedSound } from "./sound.mjs";

function decoded(text) {
  return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0)).buffer;
}

/** Return a model as the piano roll expects it, with the traits of a piece. */
function staticModel(traits, receive) {
  const values = Object.fromEntries(Object.entries(traits).map(
    ([name, value]) => [name, value?.bytes === undefined ? value : new DataView(decoded(value.bytes))],
  ));
  const handlers = {};
  return {
    get: (name) => values[name],
    set(name, value) {
      values[name] = value;
      for (const handle of handlers[`change:${name}`] ?? []) handle();
    },
    on: (event, handle) => (handlers[event] ??= new Set()).add(handle),
    off: (event, handle) => handlers[event]?.delete(handle),
    save_changes() {},
    send: receive,
  };
}

class Piece {
  constructor(element, { traits, sound }) {
    this.sound = sound;
    this.stream = 0;
    this.model = staticModel(traits, (message) => this.receive(message));
    pianoRoll.initialize({ model: this.model });
    pianoRoll.render({ model: this.model, el: element.querySelector(".roll") });
    this.model.on("change:ended_playback", () => this.show("stopped"));
    this.button = element.querySelector("[data-action=play]");
    const actions = {
      play: () => this.toggle(),
      new: () => this.play(this.beatBeforeSeam()),
      stop: () => this.show("stopped"),
    };
    for (const button of element.querySelectorAll("[data-action]")) {
      button.addEventListener("click", () => actions[button.dataset.action]());
    }
  }

  get state() {
    return this.model.get("playback").state;
  }

  get tempos() {
    return this.model.get("tempos");
  }

  receive(message) {
    if (message.type === "toggle playback") this.toggle();
    if (message.type === "play from") this.play(message.tick);
  }

  toggle() {
    if (this.state === "playing") this.show("paused");
    else if (this.state === "paused") this.show("playing");
    else this.play(this.model.get("selection")[0] ?? 0);
  }

  beatBeforeSeam() {
    const quarter = this.model.get("ticks_per_quarter");
    return Math.max(0, this.model.get("continuation_start") - quarter);
  }

  async play(tick) {
    // Decoding waits for the first click, which lets the page sound.
    this.buffer ??= await audioContext().decodeAudioData(decoded(this.sound));
    this.stream += 1;
    this.show("playing");
    const player = sharedSound().players.get(this.model.get("sound_id"));
    player.position = this.secondsAt(tick);
    player.addBuffer(this.buffer, true);
  }

  secondsAt(tick) {
    const row = this.tempos.findLast(([first]) => first <= tick) ?? this.tempos[0];
    return row[1] + (tick - row[0]) * row[2];
  }

  show(state) {
    const count = this.model.get("playback").count + 1;
    const seconds = this.buffer ? this.model.get("seconds") : 0;
    this.model.set("playback", {
      ...this.model.get("playback"), state, count, seconds, stream: this.stream, sound: true,
    });
    this.button.textContent = state === "playing" ? "Pause" : "Play";
  }
}

const pieces = JSON.parse(document.getElementById("pieces").textContent);
document.querySelectorAll(".piece").forEach((element, index) => new Piece(element, pieces[index]));
