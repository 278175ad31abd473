// State of the grammar inside bars, and how a token changes it; masks are in grammar_masks.h.
//
// The reference is rwkv_music/tokenizer/hole_grammar.py (and grammar.py, which it extends), whose names
// are used here. Headers, sections and what is stated behind FILL are read in Python.
#pragma once

#include <algorithm>

#include "tokenizer_keys.h"

namespace rwkv_music {

constexpr int64_t kGivenToken = 21, kWriteToken = 22;  // TokenType, continued
constexpr int64_t kDrumProgram = 128, kMaxBeats = 128, kDenominators = 7;

struct GrammarTables {
  const int16_t* types;             // [size]: a TokenType
  const int32_t* values;            // [size]: index in the range of the type
  const int64_t* durations;         // [num_durations]: grid steps
  const uint8_t* exact_tempos;      // [tempos, 256]
  const uint8_t* possible_tempos;   // [tempos]
  int64_t size, steps_per_quarter, num_velocities, num_durations;
  int64_t first[kTokenTypes];       // id of the first token of a type
  int64_t count[kTokenTypes];       // number of tokens of a type
};

// What the events of one moment are sorted by; `type` is below 0 where there is none.
struct GrammarKey {
  int64_t type, part, pitch, level, duration;
};

// `GrammarState` and the fields of `HoleGrammar`; parts of a set are bits.
struct GrammarState {
  int64_t last, tempo, fraction, old_tempo, old_fraction, numerator, denominator, new_numerator;
  int64_t num_programs, part;  // the part is below 0 where there is none
  int64_t bars, bar_start, bar_length, bar_is_empty, was_cut, beat, subbeat, is_pending;
  int64_t pedals, used, has_note, sound_end, last_tempo_time;
  int64_t hole_bars, bars_begun, listed, given_here, run, is_cut;  // hole_bars is 0 without a hole
  int64_t hole_end;                                                // below 0 where it is not known
  GrammarKey key, note;
  int64_t programs[kMaxParts];
};

struct Grammar {
  const GrammarTables& t;
  GrammarState& s;

  int64_t position() const { return s.beat * t.steps_per_quarter + s.subbeat; }
  int64_t time() const { return s.bar_start + position(); }
  int64_t full_length() const { return length_of(s.numerator, s.denominator); }
  int64_t length_of(int64_t numerator, int64_t denominator) const {
    return 4 * t.steps_per_quarter * numerator / denominator;
  }
  bool has_hole() const { return s.hole_bars > 0; }
  int64_t bars_left() const { return s.hole_bars - s.bars_begun; }
  bool writes(int64_t part) const { return !s.listed || (s.listed >> part & 1); }

  // Whether events of this part may come in this bar.
  bool may_sound(int64_t part) const {
    if (!has_hole()) return true;
    const bool is_written = writes(part) && !(s.given_here >> part & 1);
    return is_written == (s.run != kGivenToken);
  }

  void take(int64_t token) {
    const int64_t type = t.types[token], value = t.values[token];
    const bool is_behind_given = s.last == kGivenToken;
    s.last = type;
    switch (type) {
      case kBarToken: return take_bar();
      case kTempoToken: return take_tempo(value);
      case kTempoFractionToken: s.fraction = value; return;
      case kNumToken: s.new_numerator = value + 1; return;
      case kDenToken:
        s.numerator = s.new_numerator;
        s.denominator = int64_t{1} << value;
        s.bar_length = full_length();
        s.was_cut = false;
        return;
      case kPartToken: return take_part(value, is_behind_given);
      case kBeatToken: s.beat = value; return move();
      case kSubbeatToken: s.subbeat = value; return move();
      case kGivenToken: s.run = kGivenToken; return;
      case kWriteToken: return begin_writing();
      default: take_sound(type, value);
    }
  }

 private:
  void take_bar() {
    if (s.bars) {
      s.was_cut = s.is_pending;
      s.bar_start += s.is_pending ? position() : s.bar_length;
    }
    ++s.bars;
    s.bar_length = full_length();
    s.bar_is_empty = true;
    s.beat = s.subbeat = 0;
    s.is_pending = false;
    s.key.type = -1;
    if (!has_hole()) return;
    s.was_cut = s.is_cut;
    s.part = -1;
    ++s.bars_begun;
    s.given_here = s.run = s.is_cut = 0;
  }

  void take_tempo(int64_t value) {
    s.old_tempo = s.tempo;
    s.old_fraction = s.fraction;
    s.tempo = value;
    s.fraction = 0;
    add_event({kTempo, -1, -1, -1, -1});
    s.last_tempo_time = time();
  }

  void take_part(int64_t value, bool is_behind_given) {
    const bool is_listed = has_hole() && is_behind_given && !(s.given_here >> value) && writes(value);
    if (!is_listed) {
      s.part = value;
      return;
    }
    s.given_here |= int64_t{1} << value;
    s.last = kGivenToken;  // a part that is listed begins no event
  }

  void move() {
    s.is_pending = true;
    s.key.type = -1;
  }

  void begin_writing() {
    s.is_cut = s.is_pending;
    if (s.is_pending) s.bar_length = position();
    s.run = kWriteToken;
    s.beat = s.subbeat = 0;
    s.is_pending = false;
    s.part = s.key.type = -1;
  }

  void take_sound(int64_t type, int64_t value) {
    const int64_t part = std::max<int64_t>(s.part, 0), now = time();
    if (type == kPedToken) {
      const int64_t bit = int64_t{1} << part;
      add_event({value == 1 ? kPedalDown : kPedalUp, part, -1, -1, -1});
      s.pedals = value == 1 ? s.pedals | bit : s.pedals & ~bit;
      s.sound_end = std::max(s.sound_end, now);
      s.used |= bit;
    } else if (type == kPitchToken || type == kDrumToken) {
      s.note = {kNote, part, value, -1, -1};
    } else if (type == kVelToken) {
      s.note.level = value;
    } else if (type == kDurToken) {
      add_event({s.note.type, s.note.part, s.note.pitch, s.note.level, value});
      s.sound_end = std::max(s.sound_end, now + t.durations[value]);
      s.has_note = true;
      s.used |= int64_t{1} << part;
    }
  }

  void add_event(const GrammarKey& key) {
    s.key = key;
    s.is_pending = s.bar_is_empty = false;
  }
};

}  // namespace rwkv_music
