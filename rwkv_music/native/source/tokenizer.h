// The loops of the tokenizer: notes and pedals of a score -> events, events -> token ids, and back.
//
// An event is one 64-bit key as in rwkv_music/tokenizer/events.py. Every function checks the values
// that it uses as indices, and returns -1 where one is out of range; Python then takes the numpy
// path, which names the problem. The results are those of the numpy path, bit for bit.
#pragma once

#include <algorithm>
#include <cstring>
#include <utility>

#include "arguments.h"

namespace rwkv_music {

// The layout of a key: time 24 bits | type 3 | part 5 | pitch 7 | second token 12 | third token 12.
constexpr int kTokenBits = 12, kPitchShift = 2 * kTokenBits, kPartShift = kPitchShift + 7;
constexpr int kTypeShift = kPartShift + 5, kTimeShift = kTypeShift + 3;
constexpr int64_t kTokenMask = (1 << kTokenBits) - 1, kTypeMask = 7, kPartMask = 31;
constexpr int64_t kFirstMask = (int64_t{1} << (kTimeShift - kPitchShift)) - 1;
constexpr int64_t kLastTime = (int64_t{1} << (63 - kTimeShift)) - 1;
constexpr int64_t kMaxParts = 32, kNumTypes = 7, kTempoFractions = 256, kSustainPedal = 64;
constexpr int64_t kPedalDownValue = 64;  // PEDAL_DOWN_VALUE of rwkv_music/score/instruments.py
constexpr int64_t kTokenTypes = 32;  // a row of `followers`

enum EventType : int64_t { kCut, kBar, kTempo, kPedalUp, kPedalDown, kNote, kDrum };

// Those of rwkv_music/tokenizer/vocabulary.py.
enum TokenType : int64_t {
  kBosToken = 1, kEosToken = 2, kBarToken = 3, kTempoToken = 5, kTempoFractionToken = 6,
  kNumToken = 7, kDenToken = 8, kPartToken = 9, kProgToken = 10, kBeatToken = 11,
  kSubbeatToken = 12, kPitchToken = 13, kDrumToken = 14, kVelToken = 15, kDurToken = 16,
  kPedToken = 17
};

// What encoding looks up; see EncodingTables in rwkv_music/tokenizer/tables.py.
struct EncodingTables {
  const int64_t* velocity;  // [128]: velocity -> bits of a key
  const uint16_t* duration; // [lengths]: length -> DUR
  const int64_t* steps;     // [durations]: index of a DUR -> grid steps
  const uint16_t* first;    // [7 << 12]: type, part and pitch -> first token
  const uint16_t* beat;     // [bar_steps]: grid steps since the bar line -> BEAT
  const uint16_t* subbeat;  // [bar_steps]: the same -> SUBBEAT
  int64_t lengths, durations, bar_steps, first_duration, exact_steps, steps_per_quarter, first_part;
};

// What decoding looks up, by token id; see DecodingTables in rwkv_music/tokenizer/tables.py.
struct DecodingTables {
  const uint8_t* types;      // [size]
  const int64_t* values;     // [size]
  const int64_t* bits;       // [size]: what a token adds to the key of its event
  const uint8_t* followers;  // [32, 32]: whether a type may follow another
  const int32_t* durations;  // [size]
  const int8_t* velocities;  // [size]
  int64_t size, steps_per_quarter, slowest_tempo;
};

// Division of numbers from 0 to 2^52 by one divisor, several times as fast as the instruction.
class Divider {
 public:
  explicit Divider(int64_t divisor) : divisor_(divisor), inverse_(~uint64_t{0} / divisor) {}

  int64_t operator()(int64_t number) const {
    int64_t quotient =
        static_cast<int64_t>(static_cast<unsigned __int128>(number) * inverse_ >> 64);
    const int64_t rest = number - quotient * divisor_;
    quotient += rest >= divisor_;  // the product is off by one at most
    return quotient - (rest < 0);
  }

 private:
  int64_t divisor_;
  uint64_t inverse_;  // 2^64 / divisor, rounded down
};

// Rounds ticks to the nearest grid step; halfway goes up. Ticks are below 2^32, and steps a quarter
// below 2^10.
class Grid {
 public:
  Grid(int64_t ticks, int64_t steps) : ticks_(ticks), steps_(steps), divide_(2 * ticks) {}

  int64_t operator()(int64_t tick) const {
    return ticks_ == steps_ ? tick : divide_(2 * tick * steps_ + ticks_);
  }

 private:
  int64_t ticks_, steps_;
  Divider divide_;
};

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

// What a stream says before its first bar.
struct StreamSummary {
  int64_t tempo;  // in 1/256 quarters a minute; 0 if there is none
  int64_t numerator, denominator, programs, is_complete;
  uint8_t program[kMaxParts];
};

// Reads token ids, each type of which may follow the one before. Writes the key of each event in
// the order of the stream, and the index of its first own token, behind BEAT, SUBBEAT and PART.
// Returns the number of events, or -1 if the ids are not such a stream or last longer than a key
// can hold.
template <typename Id>
int64_t read_events(
    const DecodingTables& t, const Id* ids, int64_t count, int64_t* keys, int32_t* tokens,
    StreamSummary* out) {
  std::memset(out, 0, sizeof *out);
  out->numerator = out->denominator = 4;
  int64_t events = 0, bars = 0, start = 0, length = 0, beat = 0, subbeat = 0;
  int64_t part = -1, before = -1;
  int64_t numerator = 0, denominator = 0, stated = 0;  // `stated` as bits of a BAR's key
  const auto type_at = [&](int64_t i) -> int64_t {  // -1 behind the end
    if (i >= count) return -1;
    const int64_t id = static_cast<int64_t>(ids[i]);
    return id >= 0 && id < t.size ? t.types[id] : -1;
  };
  const auto add = [&](int64_t key, int64_t token) {
    keys[events] = (start + beat + subbeat) << kTimeShift | key;
    tokens[events++] = static_cast<int32_t>(token);
    return start + beat + subbeat <= kLastTime;
  };
  const auto state_signature = [&](int64_t i) {
    numerator = t.values[ids[i]];
    denominator = t.values[ids[i + 1]];
    stated = t.bits[ids[i]] | t.bits[ids[i + 1]];
  };
  for (int64_t i = 0; i < count; ++i) {
    const int64_t id = static_cast<int64_t>(ids[i]);
    if (id < 0 || id >= t.size) return -1;
    const int64_t type = t.types[id], value = t.values[id];
    if (type >= kTokenTypes || (i == 0 ? type != kBosToken : !t.followers[before * kTokenTypes + type]))
      return -1;
    before = type;
    // Most tokens are these; assigning is cheaper than a jump that cannot be predicted.
    beat = type == kBeatToken ? value : beat;
    subbeat = type == kSubbeatToken ? value : subbeat;
    if (type == kPartToken && part < 0)  // what came before the first choice is of that part too
      for (int64_t e = 0; e < events; ++e)
        if ((keys[e] >> kTypeShift & kTypeMask) >= kPedalUp) keys[e] |= value << kPartShift;
    part = type == kPartToken ? value : part;
    switch (type) {
      case kBeatToken:
      case kSubbeatToken: {
        const int64_t next = type_at(i + 1);
        if ((next == kBarToken || i + 1 == count) && !add(int64_t{kCut} << kTypeShift, i)) return -1;
        break;
      }
      case kProgToken:
        if (!bars && out->programs < kMaxParts)
          out->program[out->programs++] = static_cast<uint8_t>(value);
        break;
      case kPitchToken:
      case kDrumToken: {
        // Only VEL may follow, and then only DUR; the stream may end before.
        if (i + 1 < count && type_at(i + 1) != kVelToken) return -1;
        if (i + 2 < count && type_at(i + 2) != kDurToken) return -1;
        if (i + 2 < count) {
          const int64_t key = t.bits[id] | t.bits[ids[i + 1]] | t.bits[ids[i + 2]] |
                              (part < 0 ? 0 : part << kPartShift);
          if (!add(key, i)) return -1;
        }
        before = i + 2 < count ? kDurToken : kVelToken;
        i += 2;
        break;
      }
      case kPedToken: {
        const int64_t key = t.bits[id] | (part < 0 ? 0 : part << kPartShift);
        if (!add(key, i)) return -1;
        break;
      }
      case kTempoToken: {
        const bool has_fraction = type_at(i + 1) == kTempoFractionToken;
        if (i == 1) {  // the header's
          out->tempo = (value + t.slowest_tempo) * kTempoFractions;
          out->tempo += has_fraction ? t.values[ids[2]] : 0;
        } else if (!add(t.bits[id] | (has_fraction ? t.bits[ids[i + 1]] : 0), i)) {
          return -1;
        }
        break;
      }
      case kNumToken:
        // That behind a BAR is read with it.
        if (type_at(i - 1) != kBarToken && type_at(i + 1) == kDenToken) state_signature(i);
        break;
      case kBarToken: {
        const bool is_cut = events && (keys[events - 1] >> kTypeShift & kTypeMask) == kCut &&
                            tokens[events - 1] == i - 1;
        start += bars && !is_cut ? length : bars ? beat + subbeat : 0;
        beat = subbeat = 0;
        if (type_at(i + 1) == kNumToken && type_at(i + 2) == kDenToken) state_signature(i + 1);
        if (!bars) {
          // A header without a signature: the first one there is.
          for (int64_t j = i + 1; !stated && j + 1 < count; ++j)
            if (type_at(j) == kNumToken && type_at(j + 1) == kDenToken) state_signature(j);
          if (!stated) numerator = denominator = 4;
          out->numerator = numerator;
          out->denominator = denominator;
          stated = 0;
        }
        length = 4 * t.steps_per_quarter * numerator / denominator;
        if (!add(int64_t{kBar} << kTypeShift | stated, i)) return -1;
        stated = 0;
        ++bars;
        break;
      }
      default:
        break;
    }
  }
  out->is_complete = before == kEosToken;
  return events;
}

// The columns of a score, written by `split_events`. Those of one type lie in one array, each with
// space for `size` events and one more.
class EventColumns {
 public:
  EventColumns(int64_t size, int64_t parts, int32_t* ints, uint8_t* octets, int64_t* longs)
      : note_time(ints), note_duration(ints + size + 1), pedal_time(ints + 2 * (size + 1)),
        tempo_time(ints + 3 * (size + 1)), signature_time(ints + 4 * (size + 1)),
        note_pitch(octets), note_velocity(octets + size + 1), pedal_value(octets + 2 * (size + 1)),
        numerator(octets + 3 * (size + 1)), denominator(octets + 4 * (size + 1)),
        note_ends(longs), pedal_ends(longs + parts + 1), tempo_steps(longs + 2 * (parts + 1)) {}

  int32_t *note_time, *note_duration, *pedal_time, *tempo_time, *signature_time;
  uint8_t *note_pitch, *note_velocity, *pedal_value, *numerator, *denominator;
  int64_t *note_ends, *pedal_ends;  // [parts + 1]: where each part's begin, and the last one ends
  int64_t* tempo_steps;             // in 1/256 quarters a minute
};

// Sorts events by part into the columns of a score; those of undeclared parts are left out. Writes
// the numbers of tempos and signatures into `numbers`. Returns 0, or -1 if a key holds an id beyond
// the vocabulary.
inline int64_t split_events(
    const DecodingTables& t, const int64_t* keys, int64_t count, const StreamSummary& head,
    const EventColumns& out, int64_t* numbers) {
  const int64_t parts = head.programs;
  if (parts < 0 || parts > kMaxParts) return -1;
  // How many of each part there are, then where each part's go. Events of undeclared parts are
  // counted too: there are never more than `count` of all.
  int64_t notes[kMaxParts + 2] = {}, pedals[kMaxParts + 2] = {};
  for (int64_t i = 0; i < count; ++i) {
    const int64_t type = keys[i] >> kTypeShift & kTypeMask, part = keys[i] >> kPartShift & kPartMask;
    notes[part + 1] += type >= kNote;
    pedals[part + 1] += type == kPedalUp || type == kPedalDown;
  }
  for (int64_t part = 0; part < kMaxParts; ++part) {
    notes[part + 1] += notes[part];
    pedals[part + 1] += pedals[part];
  }
  std::memcpy(out.note_ends, notes, (parts + 1) * sizeof *notes);
  std::memcpy(out.pedal_ends, pedals, (parts + 1) * sizeof *pedals);
  int64_t tempos = 1, signatures = 0, numerator = head.numerator, denominator = head.denominator;
  out.tempo_time[0] = 0;
  out.tempo_steps[0] = head.tempo;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t key = keys[i], type = key >> kTypeShift & kTypeMask;
    const int64_t part = key >> kPartShift & kPartMask;
    const int64_t second = key >> kTokenBits & kTokenMask, third = key & kTokenMask;
    const int32_t time = static_cast<int32_t>(key >> kTimeShift);
    if (second >= t.size || third >= t.size) return -1;
    if (type >= kNote) {
      const int64_t index = notes[part]++;
      out.note_time[index] = time;
      out.note_duration[index] = t.durations[third];
      out.note_pitch[index] = static_cast<uint8_t>(key >> kPitchShift & 127);
      out.note_velocity[index] = static_cast<uint8_t>(t.velocities[second]);
    } else if (type >= kPedalUp) {
      const int64_t index = pedals[part]++;
      out.pedal_time[index] = time;
      out.pedal_value[index] = type == kPedalDown ? 127 : 0;
    } else if (type == kTempo) {
      const int64_t whole = (key >> kPitchShift & 4095) + t.slowest_tempo;
      out.tempo_time[tempos] = time;
      out.tempo_steps[tempos++] = whole * kTempoFractions + t.values[second] * (second > 0);
    } else if (type == kBar) {
      const int64_t num = second ? t.values[second] : numerator;
      const int64_t den = third ? t.values[third] : denominator;
      if (signatures && num == numerator && den == denominator) continue;
      out.signature_time[signatures] = time;
      out.numerator[signatures] = static_cast<uint8_t>(numerator = num);
      out.denominator[signatures++] = static_cast<uint8_t>(denominator = den);
    }
  }
  numbers[0] = tempos;
  numbers[1] = signatures;
  return 0;
}

}  // namespace rwkv_music
