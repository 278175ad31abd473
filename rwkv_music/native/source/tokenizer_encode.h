// Notes and pedals of a score -> events -> token ids.
//
// Every function checks the values that it uses as indices, and returns -1 where one is out of
// range; Python then takes the numpy path, which names the problem. The results are those of the
// numpy path, bit for bit.
#pragma once

#include <algorithm>
#include <cstring>
#include <utility>

#include "tokenizer_keys.h"

namespace rwkv_music {

// The columns of all notes, part by part.
struct NoteColumns {
  const int32_t *time, *duration;
  const int8_t *pitch, *velocity;
  const int64_t *part_bits, *ends;  // [parts]: type and part in a key; where the notes end
  int64_t parts, ticks;
};

// Writes the key of every note, and the last onset and offset. Returns the number of notes, or -1
// if a value is below 0.
inline int64_t note_keys(
    const EncodingTables& t, const NoteColumns& notes, int64_t* keys, int64_t* last) {
  const int64_t ticks = notes.ticks, steps = t.steps_per_quarter;
  const Grid to_grid(ticks, steps);
  const Divider by_ticks(ticks);
  int64_t note = 0, last_onset = 0, last_offset = 0;
  for (int64_t part = 0; part < notes.parts; ++part) {
    const int64_t part_bits = notes.part_bits[part];
    for (; note < notes.ends[part]; ++note) {
      const int64_t time = notes.time[note], duration = notes.duration[note];
      const int64_t pitch = notes.pitch[note], velocity = notes.velocity[note];
      if ((time | duration | pitch | velocity) < 0) return -1;
      const int64_t onset = to_grid(time);
      int64_t length = to_grid(time + duration) - onset;
      const int64_t half_steps = by_ticks(2 * duration * steps + ticks * (t.exact_steps + 1) - 1);
      length = length > t.exact_steps ? half_steps : length;
      length = length < t.lengths ? length : t.lengths - 1;
      const int64_t token = t.duration[length], index = token - t.first_duration;
      if (index < 0 || index >= t.durations) return -1;
      keys[note] =
          onset << kTimeShift | part_bits | pitch << kPitchShift | t.velocity[velocity] | token;
      const int64_t offset = onset + t.steps[index];
      last_onset = onset > last_onset ? onset : last_onset;
      last_offset = offset > last_offset ? offset : last_offset;
    }
  }
  last[0] = last_onset;
  last[1] = last_offset;
  return note;
}

// Controller messages, part by part.
struct ControlColumns {
  const uint8_t *number, *value;
  const int32_t* time;
  const int64_t *part_bits, *ends;  // [parts]
  int64_t parts, ticks, steps;
};

// Writes the key of every switch of the sustain pedal. A lift stands a step behind its press; of
// more than three switches in one step an even number is left out. Returns the number of switches,
// or -1 if times are below 0 or not in order.
inline int64_t pedal_keys(const ControlColumns& controls, int64_t* keys) {
  const Grid to_grid(controls.ticks, controls.steps);
  int64_t count = 0, message = 0;
  for (int64_t part = 0; part < controls.parts; ++part) {
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
    for (; message < controls.ends[part]; ++message) {
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
  }
  return count;
}

// Sorts keys, none of them below 0: by time in steps of 12 bits, then the few of each moment.
inline void sort_keys(int64_t* keys, int64_t count, int64_t* scratch) {
  constexpr int kDigit = 12, kDigits = 2;
  constexpr int64_t kMask = (1 << kDigit) - 1;
  int64_t *from = keys, *to = scratch;
  for (int digit = 0; digit < kDigits; ++digit) {
    const int shift = kTimeShift + digit * kDigit;
    int64_t places[kMask + 1] = {};
    for (int64_t i = 0; i < count; ++i) ++places[from[i] >> shift & kMask];
    for (int64_t value = 0, place = 0; value <= kMask; ++value) {
      const int64_t number = places[value];
      places[value] = place;
      place += number;
    }
    for (int64_t i = 0; i < count; ++i) to[places[from[i] >> shift & kMask]++] = from[i];
    std::swap(from, to);
  }
  static_assert(kDigits % 2 == 0 && kDigits * kDigit == 63 - kTimeShift);
  for (int64_t begin = 0, end; begin < count; begin = end) {
    for (end = begin + 1; end < count && keys[end] >> kTimeShift == keys[begin] >> kTimeShift;) ++end;
    std::sort(keys + begin, keys + end);
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
