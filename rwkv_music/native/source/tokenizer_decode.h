// Token ids -> events -> columns of a score.
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
