// Plays sound that the kernel has rendered. One piece sounds at a time on the whole page.

const AHEAD_SECONDS = 3.0; // timers of hidden pages tick once a second
const TICK_MILLISECONDS = 100;
const START_SECONDS = 0.03;
export const SAMPLE_RATE = 44_100;

/** Return what all rolls of the page share; every widget has a copy of this module of its own. */
export function sharedSound() {
  globalThis.rwkvMusicSound ??= { players: new Map(), context: null, audible: null };
  return globalThis.rwkvMusicSound;
}

/** Return the page's audio context. Browsers let it sound after the first click on the page. */
export function audioContext() {
  const shared = sharedSound();
  shared.context ??= new AudioContext({ sampleRate: SAMPLE_RATE });
  if (shared.context.state === "suspended" && shared.context.resume) {
    shared.context.resume().catch(() => {});
  }
  return shared.context;
}

/** Return the two channels, from -1 to 1, of interleaved 16-bit samples. */
export function separateChannels(view) {
  const frames = Math.floor(view.byteLength / 4);
  const channels = [new Float32Array(frames), new Float32Array(frames)];
  for (let frame = 0; frame < frames; frame += 1) {
    channels[0][frame] = view.getInt16(4 * frame, true) / 32768;
    channels[1][frame] = view.getInt16(4 * frame + 2, true) / 32768;
  }
  return channels;
}

/**
 * Plays one stream after another. A stream is a sequence of parts; the first part sounds as soon as
 * it arrives.
 */
export class StreamPlayer {
  /** @param {(stream: number) => void} ended called when a stream has been played to its end */
  constructor(ended) {
    this.ended = ended;
    this.volume = 1;
    this.reset();
  }

  reset() {
    this.stream = null;
    this.parts = [];
    this.received = 0; // seconds
    this.isComplete = false;
    this.isPlaying = false;
    this.position = 0; // seconds already played when paused
    this.startedAt = null;
    this.sources = [];
  }

  /**
   * Expect a stream, or continue one that is paused.
   * @param {number} stream its number
   * @param {number} seconds where it ends, without the time in which the last notes fade
   * @param {boolean} isLoop whether to begin again at the end
   */
  play(stream, seconds, isLoop) {
    const shared = sharedSound();
    if (shared.audible !== null && shared.audible !== this) shared.audible.stop();
    shared.audible = this;
    if (stream !== this.stream) {
      this.stop();
      this.stream = stream;
    }
    this.seconds = seconds;
    this.isLoop = isLoop;
    this.isPlaying = true;
    if (this.parts.length) this.start();
  }

  /** Add a part of a stream; parts of other streams are late and ignored. */
  add(stream, view, isLast) {
    if (stream !== this.stream) return;
    let buffer = null;
    if (view && view.byteLength >= 4) {
      const channels = separateChannels(view);
      buffer = audioContext().createBuffer(2, channels[0].length, SAMPLE_RATE);
      channels.forEach((channel, index) => buffer.copyToChannel(channel, index));
    }
    this.addBuffer(buffer, isLast);
  }

  /** Add a part as a buffer of the browser. */
  addBuffer(buffer, isLast) {
    if (buffer) {
      this.parts.push({ buffer, at: this.received, turn: 0 });
      this.received += buffer.duration;
    }
    this.isComplete ||= isLast;
    if (!this.isPlaying) return;
    if (this.startedAt === null) this.start();
    else this.schedule();
  }

  start() {
    const context = audioContext();
    this.gain = context.createGain();
    this.gain.gain.value = this.volume;
    this.gain.connect(context.destination);
    this.startedAt = context.currentTime + START_SECONDS - this.position;
    const turn = this.isLoop ? Math.floor(this.position / this.seconds) : 0;
    for (const part of this.parts) part.turn = turn;
    this.schedule();
    clearInterval(this.timer);
    this.timer = setInterval(() => this.schedule(), TICK_MILLISECONDS);
  }

  /** Hand the parts that sound within the next seconds to the browser. */
  schedule() {
    const context = audioContext();
    const now = context.currentTime;
    for (const part of this.parts) {
      let start = this.startOf(part);
      while (start < now + AHEAD_SECONDS && (this.isLoop || part.turn === 0)) {
        const skipped = Math.max(0, now - start);
        if (skipped < part.buffer.duration) this.sound(part.buffer, start + skipped, skipped);
        part.turn += 1;
        start = this.startOf(part);
      }
    }
    const last = this.seconds;
    if (!this.isLoop && this.isComplete && now - this.startedAt >= last) this.finish();
  }

  startOf(part) {
    return this.startedAt + part.at + part.turn * (this.isLoop ? this.seconds : 0);
  }

  sound(buffer, at, offset) {
    const source = audioContext().createBufferSource();
    source.buffer = buffer;
    source.connect(this.gain);
    source.start(at, offset);
    this.sources.push(source);
    source.onended = () => {
      this.sources = this.sources.filter((each) => each !== source);
    };
  }

  /** The playhead is at the end; the last notes go on fading. */
  finish() {
    clearInterval(this.timer);
    this.isPlaying = false;
    this.startedAt = null;
    this.position = 0;
    this.ended(this.stream);
  }

  /** Return the seconds of the stream that have been heard, null before it sounds. */
  heardSeconds() {
    if (this.startedAt === null) return this.position > 0 ? this.position : null;
    const context = audioContext();
    const heard = context.currentTime - (context.outputLatency || 0) - this.startedAt;
    return Math.max(this.position, heard);
  }

  pause() {
    this.position = this.heardSeconds() ?? 0;
    this.isPlaying = false;
    this.silence();
  }

  stop() {
    this.silence();
    this.reset();
  }

  silence() {
    clearInterval(this.timer);
    for (const source of this.sources) {
      source.onended = null;
      source.disconnect();
    }
    this.sources = [];
    this.gain?.disconnect();
    this.startedAt = null;
  }

  setVolume(volume) {
    this.volume = volume;
    if (this.gain) this.gain.gain.value = volume;
  }
}

/**
 * Connect a roll's model to a stream player that all views of the model share.
 * @returns {() => void} a function that disconnects it
 */
export function attachSound(model) {
  const shared = sharedSound();
  const player = new StreamPlayer((stream) => {
    if (model.get("playback").stream !== stream) return;
    model.set("ended_playback", model.get("playback").count);
    model.save_changes();
  });
  player.setVolume(model.get("volume"));
  shared.players.set(model.get("sound_id"), player);
  const receive = (message, buffers) => {
    if (message.type === "sound") player.add(message.stream, buffers?.[0], message.is_last);
  };
  const follow = () => {
    const { state, sound, stream, seconds, loop } = model.get("playback");
    if (state === "playing" && sound) player.play(stream, seconds, loop);
    else if (state === "paused") player.pause();
    else player.stop();
  };
  const setVolume = () => player.setVolume(model.get("volume"));
  const unlock = () => audioContext();
  document.addEventListener("pointerdown", unlock, { capture: true, once: true });
  model.on("msg:custom", receive);
  model.on("change:playback", follow);
  model.on("change:volume", setVolume);
  return () => {
    document.removeEventListener("pointerdown", unlock, { capture: true });
    model.off("msg:custom", receive);
    model.off("change:playback", follow);
    model.off("change:volume", setVolume);
    player.stop();
    if (shared.audible === player) shared.audible = null;
    shared.players.delete(model.get("sound_id"));
  };
}
