// A small WebAudio synthesizer, used if the kernel's machine has no sound device.

import { TempoMap } from "./geometry.mjs";

const AHEAD_SECONDS = 0.6;
const TICK_MILLISECONDS = 120;

/** Plays packed notes between two ticks. */
export class BrowserSynth {
  constructor() {
    this.context = null;
    this.timer = null;
    this.sounding = [];
  }

  /** Start playing; `ended` is called after the last note. */
  play(notes, tempoRows, fromTick, stopTick, ended) {
    this.stop();
    const tempo = new TempoMap(tempoRows);
    this.context ??= new AudioContext();
    this.context.resume();
    this.master = this.context.createGain();
    this.master.gain.value = 0.5;
    const limiter = this.context.createDynamicsCompressor();
    this.master.connect(limiter).connect(this.context.destination);
    const began = this.context.currentTime + 0.06;
    const offset = tempo.toSeconds(fromTick);
    let next = 0;
    const end = tempo.toSeconds(stopTick) - offset;
    const schedule = () => {
      const horizon = this.context.currentTime - began + AHEAD_SECONDS;
      for (; next < notes.count; next += 1) {
        const onset = notes.onset[next];
        if (onset >= stopTick) break;
        if (onset < fromTick) continue;
        const start = tempo.toSeconds(onset) - offset;
        if (start > horizon) return;
        const stop = tempo.toSeconds(Math.min(onset + notes.duration[next], stopTick)) - offset;
        this.sound(notes, next, began + start, stop - start);
      }
      if (this.context.currentTime - began > end) {
        this.stop();
        ended();
      }
    };
    this.timer = setInterval(schedule, TICK_MILLISECONDS);
    schedule();
  }

  sound(notes, index, at, seconds) {
    const loud = (notes.velocity[index] / 127) * 0.22;
    const envelope = this.context.createGain();
    const release = 0.12;
    envelope.gain.setValueAtTime(0, at);
    envelope.gain.linearRampToValueAtTime(loud, at + 0.008);
    envelope.gain.setTargetAtTime(loud * 0.55, at + 0.008, 0.35);
    envelope.gain.setTargetAtTime(0, at + seconds, release / 3);
    envelope.connect(this.master);
    const source = notes.isDrum[index] ? this.noise() : this.tone(notes.pitch[index]);
    source.connect(envelope);
    source.start(at);
    source.stop(at + (notes.isDrum[index] ? 0.15 : seconds + 2 * release));
    this.sounding.push(source);
    source.onended = () => envelope.disconnect();
  }

  tone(pitch) {
    const oscillator = this.context.createOscillator();
    this.wave ??= this.context.createPeriodicWave(
      new Float32Array([0, 0, 0, 0, 0, 0]),
      new Float32Array([0, 1, 0.35, 0.2, 0.08, 0.05]),
    );
    oscillator.setPeriodicWave(this.wave);
    oscillator.frequency.value = 440 * 2 ** ((pitch - 69) / 12);
    return oscillator;
  }

  noise() {
    const source = this.context.createBufferSource();
    if (!this.burst) {
      this.burst = this.context.createBuffer(1, 8000, this.context.sampleRate);
      const samples = this.burst.getChannelData(0);
      for (let i = 0; i < samples.length; i += 1) samples[i] = 2 * Math.random() - 1;
    }
    source.buffer = this.burst;
    return source;
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    for (const source of this.sounding) source.disconnect();
    this.sounding = [];
  }

  close() {
    this.stop();
    this.context?.close();
    this.context = null;
  }
}
