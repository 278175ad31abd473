// Short names of the General MIDI drums, for the kit lane of the piano roll.

const DRUM_NAMES = {
  35: "Kick 2", 36: "Kick", 37: "Stick", 38: "Snare", 39: "Clap", 40: "Snare 2", 41: "Tom 1",
  42: "Hi-hat", 43: "Tom 2", 44: "Pedal hat", 45: "Tom 3", 46: "Open hat", 47: "Tom 4",
  48: "Tom 5", 49: "Crash", 50: "Tom 6", 51: "Ride", 52: "China", 53: "Bell", 54: "Tambourine",
  55: "Splash", 56: "Cowbell", 57: "Crash 2", 58: "Vibraslap", 59: "Ride 2", 60: "Bongo hi",
  61: "Bongo lo", 62: "Conga mute", 63: "Conga hi", 64: "Conga lo", 65: "Timbale hi",
  66: "Timbale lo", 67: "Agogo hi", 68: "Agogo lo", 69: "Cabasa", 70: "Maracas", 71: "Whistle",
  72: "Whistle 2", 73: "Guiro", 74: "Guiro 2", 75: "Claves", 76: "Block hi", 77: "Block lo",
  78: "Cuica", 79: "Cuica 2", 80: "Triangle", 81: "Triangle 2",
};

/** Return the name of a drum, or its number where General MIDI has none. */
export function drumName(key) {
  return DRUM_NAMES[key] ?? `Drum ${key}`;
}
