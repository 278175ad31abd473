// Notes and pedals of a score -> events -> token ids.
//
// Every function checks the values that it uses as indices, and returns -1 where one is out of
// range; Python then takes the numpy path, which names the problem. The results are those of the
// numpy path, bit for bit.
#pragma once

#include <algorithm>

#include "tokenizer_keys.h"

namespace rwkv_music {

// The columns of all notes, part by part.
struct NoteColumns {
  const int32_t *time, *duration;
  const int8_t *pitch, *velocity;
  const int64_t *part_bits, *counts;  // [parts]: type and part in a key; number of notes
  int64_t parts, ticks;
};

// Notes of one block on the grid.
struct NoteBlock {
  static constexpr int64_t kSize = 256;
  int32_t onset[kSize], length[kSize];  // in grid steps; index into `duration` of the tables
};

// Returns a quotient of numbers below 2^43, which double precision rounds down right, or a limit.
// Compilers vectorize this division, but not one of integers.
inline int32_t quotient(double dividend, double divisor, double limit) {
  const double result = dividend / divisor;
  return static_cast<int32_t>(result < limit ? result : limit);
}

// Rounds the notes from `first` on to the grid. Returns the last onset, or -1 if a value is below 0
// or an onset beyond `kLastTime`.
inline int64_t round_notes(
    const EncodingTables& t, const NoteColumns& notes, int64_t first, int64_t count,
    NoteBlock& block) {
  const int32_t *time = notes.time + first, *duration = notes.duration + first;
  const int8_t *pitch = notes.pitch + first, *velocity = notes.velocity + first;
  const double ticks = static_cast<double>(notes.ticks);
  const double scale = static_cast<double>(2 * t.steps_per_quarter);
  const double half_offset = static_cast<double>(notes.ticks * (t.exact_steps + 1) - 1);
  const double too_late = kLastTime + 1, far = 1 << 30;
  const int32_t exact = static_cast<int32_t>(t.exact_steps);
  const int32_t longest = static_cast<int32_t>(t.lengths - 1);
  int32_t signs = 0, last = 0;
  for (int64_t i = 0; i < count; ++i) signs |= time[i] | duration[i] | pitch[i] | velocity[i];
  if (signs < 0) return -1;
  for (int64_t i = 0; i < count; ++i) {
    const double begin = time[i], extent = duration[i];
    const int32_t onset = quotient(begin * scale + ticks, 2 * ticks, too_late);
    const int32_t offset = quotient((begin + extent) * scale + ticks, 2 * ticks, far);
    const int32_t half_steps = quotient(extent * scale + half_offset, ticks, far);
    const int32_t length = offset - onset > exact ? half_steps : offset - onset;
    last = onset > last ? onset : last;
    block.onset[i] = onset;
    block.length[i] = length < longest ? length : longest;
  }
  return last > kLastTime ? -1 : last;
}

// Writes the key of every note, and raises the last onset and the last offset. Returns the number of
// notes, or -1 if a value is below 0 or an onset beyond `kLastTime`.
inline int64_t note_keys(
    const EncodingTables& t, const NoteColumns& notes, int64_t* keys, int64_t& last_onset,
    int64_t& last_offset) {
  NoteBlock block;
  int64_t note = 0;
  for (int64_t part = 0; part < notes.parts; ++part) {
    const int64_t part_bits = notes.part_bits[part], end = note + notes.counts[part];
    while (note < end) {
      const int64_t count = std::min(NoteBlock::kSize, end - note);
      const int64_t latest = round_notes(t, notes, note, count, block);
      if (latest < 0) return -1;
      last_onset = std::max(last_onset, latest);
      for (int64_t i = 0; i < count; ++i, ++note) {
        const int64_t onset = block.onset[i], token = t.duration[block.length[i]];
        const int64_t index = token - t.first_duration;
        if (index < 0 || index >= t.durations) return -1;
        keys[note] = onset << kTimeShift | part_bits |
                     static_cast<int64_t>(notes.pitch[note]) << kPitchShift |
                     t.velocity[notes.velocity[note]] | token;
        last_offset = std::max(last_offset, onset + t.steps[index]);
      }
    }
  }
  return note;
}

// Controller messages, part by part.
struct ControlColumns {
  const uint8_t *number, *value;
  const int32_t* time;
  const int64_t *part_bits, *counts;  // [parts]
  int64_t parts, ticks;
};

// Writes the key of every switch of the sustain pedal, and raises the time of the last one. A lift
// stands a step behind its press; of more than three switches in one step an even number is left
// out. Returns the number of switches, or -1 if times are below 0 or not in order.
inline int64_t pedal_keys(
    const EncodingTables& t, const ControlColumns& controls, int64_t* keys, int64_t& last) {
  const Grid to_grid(controls.ticks, t.steps_per_quarter);
  int64_t count = 0, message = 0;
  for (int64_t part = 0; part < controls.parts; ++part) {
    const int64_t end = message + controls.counts[part];
    int64_t latest = -1, moment = -1, placed = -1, switches = 0;
    bool was_down = false, is_down = false;
    const auto write_moment = [&] {
      const int64_t kept = switches < 2 + switches % 2 ? switches : 2 + switches % 2;
      for (int64_t i = 0; i < kept; ++i) {
        const bool is_lift = was_down == (i % 2 == 0);
        placed = moment > placed + is_lift ? moment : placed + is_lift;
        keys[count++] = placed << kTimeShift | (is_lift ? kPedalUp : kPedalDown) << kTypeShift |
                        controls.part_bits[part];
      }
      was_down = is_down;
      switches = 0;
    };
    for (; message < end; ++message) {
      if (controls.number[message] != kSustainPedal) continue;
      const int64_t tick = controls.time[message];
      if (tick < 0 || tick < latest) return -1;
      latest = tick;
      const bool down = controls.value[message] >= kPedalDownValue;
      if (down == is_down) continue;
      const int64_t now = to_grid(tick);
      if (now != moment) write_moment();
      moment = now;
      is_down = down;
      ++switches;
    }
    write_moment();
    last = std::max(last, placed);
  }
  return count;
}

// Writes the keys of all notes, then those of all pedals, and the times of the last event and of the
// last offset. Returns the number of keys, or -1 if a value is out of range or pedals not in order.
inline int64_t sound_keys(
    const EncodingTables& t, const NoteColumns& notes, const ControlColumns& controls, int64_t* keys,
    int64_t* last) {
  int64_t last_event = 0, last_offset = 0;
  const int64_t count = note_keys(t, notes, keys, last_event, last_offset);
  if (count < 0) return -1;
  const int64_t switches = pedal_keys(t, controls, keys + count, last_event);
  last[0] = last_event;
  last[1] = last_offset;
  return switches < 0 ? -1 : count + switches;
}

// Sorts keys, none of them below 0. Each goes to one of about as many buckets as there are keys, in
// order of the buckets; then neighbours are exchanged. Buckets that hold many keys are sorted first.
inline void sort_keys(int64_t* keys, int64_t count, int64_t* scratch) {
  constexpr int kMaxBits = 14;
  constexpr int64_t kCrowd = 32;
  int64_t largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = keys[i] > largest ? keys[i] : largest;
  int bits = 1, shift = 0;
  while (bits < kMaxBits && (int64_t{1} << bits) < count) ++bits;
  while (largest >> shift >> bits) ++shift;
  uint32_t places[1 << kMaxBits];
  const int64_t buckets = (largest >> shift) + 1;
  std::fill(places, places + buckets, 0);
  for (int64_t i = 0; i < count; ++i) ++places[keys[i] >> shift];
  uint32_t place = 0;
  for (int64_t bucket = 0; bucket < buckets; ++bucket) {
    const uint32_t size = places[bucket];
    places[bucket] = place;
    place += size;
  }
  for (int64_t i = 0; i < count; ++i) scratch[places[keys[i] >> shift]++] = keys[i];
  uint32_t begin = 0;
  for (int64_t bucket = 0; bucket < buckets; ++bucket) {
    const uint32_t end = places[bucket];  // as the bucket is full
    if (end - begin > kCrowd) std::sort(scratch + begin, scratch + end);
    begin = end;
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t key = scratch[i];
    int64_t to = i;
    for (; to > 0 && keys[to - 1] > key; --to) keys[to] = keys[to - 1];
    keys[to] = key;
  }
}

// Writes sorted events as tokens, at most six for each. Returns the number of tokens, or -1 if a
// key has a type or a position that no event of a score has.
inline int64_t write_events(
    const EncodingTables& t, const int64_t* keys, int64_t count, uint16_t* out) {
  uint16_t* const begin = out;
  if (count && (keys[0] >> kTypeShift & kTypeMask) != kBar) return -1;
  int64_t bar_start = 0, part_now = -1;
  uint16_t beat_now = t.beat[0], subbeat_now = t.subbeat[0];
  for (int64_t i = 0; i < count; ++i) {
    const int64_t key = keys[i], type = key >> kTypeShift & kTypeMask, time = key >> kTimeShift;
    if (time < 0 || type >= kNumTypes) return -1;
    if (type == kBar) {
      bar_start = time;
      beat_now = t.beat[0];
      subbeat_now = t.subbeat[0];
    } else {
      const int64_t position = time - bar_start;
      if (position < 0 || position >= t.bar_steps) return -1;
      const uint16_t beat = t.beat[position], subbeat = t.subbeat[position];
      if (beat != beat_now) *out++ = beat_now = beat;
      if (subbeat != subbeat_now) *out++ = subbeat_now = subbeat;
    }
    if (type >= kPedalUp) {
      const int64_t part = key >> kPartShift & kPartMask;
      if (part != part_now) *out++ = static_cast<uint16_t>(t.first_part + part);
      part_now = part;
    }
    // Which of the three tokens there are is hard to predict: each is written, and kept if it is
    // not 0.
    *out = t.first[key >> kPitchShift & kFirstMask];
    out += *out != 0;
    *out = static_cast<uint16_t>(key >> kTokenBits & kTokenMask);
    out += *out != 0;
    *out = static_cast<uint16_t>(key & kTokenMask);
    out += *out != 0;
  }
  return out - begin;
}

}  // namespace rwkv_music
