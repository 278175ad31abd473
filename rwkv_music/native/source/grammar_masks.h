// Which tokens may come next: the masks of the grammar inside bars; see `Grammar.allowed` in Python.
#pragma once

#include <cstring>

#include "grammar.h"

namespace rwkv_music {

class GrammarMask {
 public:
  // `mask` has one entry per token of the vocabulary.
  GrammarMask(const GrammarTables& tables, GrammarState& state, uint8_t* mask)
      : g{tables, state}, t(tables), s(state), mask_(mask) {}

  void fill() {
    std::memset(mask_, 0, t.size);
    switch (s.last) {
      case kPitchToken:
      case kDrumToken: return allow(kVelToken, lowest_level(), t.num_velocities);
      case kVelToken: return allow(kDurToken, lowest_duration(), durations_that_fit());
      case kNumToken: return allow_denominators();
      case kPartToken: return allow_sounds(std::max<int64_t>(s.part, 0));
      case kEosToken: return;
      default: allow_in_bar();
    }
  }

 private:
  void allow(int64_t type, int64_t begin, int64_t end) {
    if (begin < end) std::memset(mask_ + t.first[type] + begin, 1, end - begin);
  }
  void allow_all(int64_t type) { allow(type, 0, t.count[type]); }

  bool is_note_repeated() const {
    return s.key.type == s.note.type && s.key.part == s.note.part && s.key.pitch == s.note.pitch;
  }
  int64_t lowest_level() const { return is_note_repeated() ? s.key.level : 0; }
  int64_t lowest_duration() const {
    return is_note_repeated() && s.key.level == s.note.level ? s.key.duration : 0;
  }

  int64_t durations_that_fit() const {
    if (!g.has_hole()) return t.num_durations;
    int64_t end = s.bar_start + s.bar_length + g.bars_left() * g.full_length();
    if (s.hole_end >= 0) end = std::min(end, s.hole_end);
    return std::upper_bound(t.durations, t.durations + t.num_durations, end - g.time()) - t.durations;
  }

  void allow_denominators() {
    for (int64_t i = 0; i < kDenominators; ++i) {
      const int64_t numerator = s.new_numerator, denominator = int64_t{1} << i;
      bool fits = (numerator != s.numerator || denominator != s.denominator) &&
                  4 * numerator <= kMaxBeats * denominator;
      if (g.has_hole())
        fits &= s.sound_end <=
                s.bar_start + g.length_of(numerator, denominator) * (1 + g.bars_left());
      mask_[t.first[kDenToken] + i] = fits;
    }
  }

  void allow_in_bar() {
    if (!g.has_hole()) return allow_in_context();
    const bool is_given = s.run == kGivenToken;
    bool may_write = is_given;
    for (int64_t part = 0; part < s.num_programs; ++part) may_write |= g.may_sound(part);
    if (may_write) allow_in_context();
    if (!s.was_cut) std::memset(mask_ + t.first[kNumToken], 0, t.count[kNumToken]);
    const bool can_end = !is_given && !s.is_pending && !(s.was_cut && s.last == kBarToken);
    mask_[kBarToken] = can_end && g.bars_left() > 0;
    mask_[kEosToken] = can_end && g.bars_left() == 0;
  }

  void allow_in_context() {
    if (s.last == kBarToken) {
      if (s.bars > 1) allow_all(kNumToken);
      if (s.was_cut) return;
    }
    if (s.last == kTempoToken) {
      allow_fractions();
      if (!is_new_tempo()) return;
    }
    const int64_t position = g.position();
    if (position < s.bar_length) allow_events();
    allow_positions();
    mask_[kBarToken] = !s.is_pending || (0 < position && position < s.bar_length);
    const int64_t all_parts = (int64_t{1} << s.num_programs) - 1;
    mask_[kEosToken] = !s.is_pending && !s.bar_is_empty && s.has_note && s.used == all_parts &&
                       s.last_tempo_time < s.sound_end;
  }

  const uint8_t* exact(int64_t tempo) const { return t.exact_tempos + tempo * kTempoFractions; }

  bool is_new_tempo() const {
    const bool is_same = s.tempo == s.old_tempo && s.fraction == s.old_fraction;
    return !is_same && exact(s.tempo)[s.fraction];
  }

  void allow_fractions() {
    uint8_t* fractions = mask_ + t.first[kTempoFractionToken];
    std::memcpy(fractions, exact(s.tempo), kTempoFractions);
    fractions[0] = false;
    if (s.old_tempo == s.tempo) fractions[s.old_fraction] = false;
  }

  void allow_positions() {
    const int64_t grid = t.steps_per_quarter;
    if (s.last == kSubbeatToken) return;
    const int64_t subbeats = std::min(grid, s.bar_length - s.beat * grid);
    if (s.last == kBeatToken) {
      allow(kSubbeatToken, 0, subbeats);
      mask_[t.first[kSubbeatToken] + s.subbeat] = false;
      return;
    }
    allow(kSubbeatToken, s.subbeat + 1, subbeats);
    allow(kBeatToken, s.beat + 1, ceil_div(s.bar_length, grid));
  }

  void allow_events() {
    if (s.key.type < 0 && may_change_tempo()) allow_tempos();
    for (int64_t part = 0; part < s.num_programs; ++part) {
      if (!g.may_sound(part)) continue;
      if (part == s.part)
        allow_sounds(part);
      else if (s.key.type < 0 || s.key.type < kNote || part >= s.key.part)
        mask_[t.first[kPartToken] + part] = true;
    }
  }

  bool may_change_tempo() const {
    const bool is_context = !g.has_hole() || s.run == kGivenToken;
    return is_context && (s.bars > 1 || g.position() > 0);
  }

  // The current whole tempo is allowed only if another fraction can follow it.
  void allow_tempos() {
    uint8_t* tempos = mask_ + t.first[kTempoToken];
    std::memcpy(tempos, t.possible_tempos, t.count[kTempoToken]);
    bool has_other = false;
    for (int64_t i = 0; i < kTempoFractions; ++i) has_other |= i != s.fraction && exact(s.tempo)[i];
    tempos[s.tempo] = has_other;
  }

  // Whether an event may come behind the newest one of this moment.
  bool is_later(int64_t type, int64_t part) const {
    return s.key.type < 0 || type > s.key.type || (type == s.key.type && part > s.key.part);
  }

  void allow_sounds(int64_t part) {
    const bool is_down = s.pedals >> part & 1;
    if (is_later(is_down ? kPedalUp : kPedalDown, part))
      mask_[t.first[kPedToken] + (is_down ? 0 : 1)] = true;
    const int64_t type = s.programs[part] == kDrumProgram ? kDrumToken : kPitchToken;
    if (is_later(kNote, part))
      allow_all(type);
    else if (s.key.type == kNote && s.key.part == part)
      allow(type, s.key.pitch, t.count[type]);
  }

  Grammar g;
  const GrammarTables& t;
  const GrammarState& s;
  uint8_t* mask_;
};

}  // namespace rwkv_music
