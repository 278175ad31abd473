// Masks of constraints over the grammar; the reference is `ConstraintRule` in Python.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "grammar.h"

namespace rwkv_music {

constexpr int64_t kPitches = 128;

// Masks have one byte per pitch.
struct Constraints {
  int64_t keep_tempo, keep_time_signature, allows_cuts, no_restrikes, no_doubled_notes;
  int64_t max_polyphony;  // 0 for any
  int64_t first_bar, last_bar, num_parts, num_chords, chord_is_beat;
  const uint8_t* base;     // [parts, 128]
  const uint8_t* is_drum;  // [parts]
  const uint8_t* chords;   // [chords, 128]
  const uint8_t* triad;    // [128] in the last bar; null without
  const uint8_t* tonic;    // [128] from the last beat of the last bar on
  int64_t* offsets;        // [parts, 128]: grid step at which the newest note ends
  int64_t* onsets;         // [parts, 128]: and begins
};

class ConstraintMask {
 public:
  ConstraintMask(const Constraints& constraints, Grammar grammar, uint8_t* mask)
      : c(constraints), g(grammar), s(grammar.s), t(grammar.t), mask_(mask) {}

  // Clears the tokens that the constraints exclude.
  void restrict() {
    if (s.last == kPitchToken || s.last == kDrumToken || s.last == kVelToken || s.last == kNumToken)
      return;
    restrict_timing();
    if (s.last == kTempoToken && c.keep_tempo) return;
    if ((s.last == kBeatToken || s.last == kSubbeatToken) && !c.allows_cuts) mask_[kBarToken] = false;
    const uint8_t* chord = chord_of(segment_at(g.time()));
    if (s.part >= 0) {
      uint8_t* pitches = mask_ + t.first[c.is_drum[s.part] ? kDrumToken : kPitchToken];
      const bool is_free = has_free_voice(s.part);
      for (int64_t pitch = 0; pitch < kPitches; ++pitch)
        if (pitches[pitch]) pitches[pitch] = is_free && may_begin(s.part, pitch, chord);
    }
    if (s.last == kPartToken) return;
    bool some_part_can_play = false;
    for (int64_t part = 0; part < c.num_parts; ++part) {
      const bool can_play = can_play_now(part, chord);
      if (!can_play) mask_[t.first[kPartToken] + part] = false;
      some_part_can_play |= can_play && g.may_sound(part);
    }
    // Later in the same segment as many pitches are left, or more.
    if (num_segments() > 1 || !some_part_can_play) restrict_positions();
  }

  // Notes when the pitches of each part end; called before the grammar takes the token.
  void observe(int64_t token) {
    if (s.last != kVelToken || s.part < 0) return;
    const int64_t now = g.time(), index = s.part * kPitches + s.note.pitch;
    c.offsets[index] = std::max(c.offsets[index], now + t.durations[t.values[token]]);
    c.onsets[index] = now;
  }

 private:
  void clear(int64_t type) { std::memset(mask_ + t.first[type], 0, t.count[type]); }

  void restrict_timing() {
    if (c.keep_tempo) clear(kTempoToken);
    // Behind a bar that was cut a signature must follow.
    const bool must_change = s.was_cut && s.last == kBarToken;
    if (c.keep_time_signature && !must_change) clear(kNumToken);
  }

  // Segments: where in the current bar the allowed pitches change.

  bool ends_piece() const { return c.triad && s.bars == c.last_bar; }
  int64_t beat() const { return 4 * t.steps_per_quarter / s.denominator; }
  int64_t num_segments() const {
    if (ends_piece()) return s.numerator > 1 ? 2 : 1;
    return c.num_chords && c.chord_is_beat ? s.numerator : 1;
  }
  int64_t segment_start(int64_t index) const {
    if (!ends_piece()) return s.bar_start + index * beat();
    return index || s.numerator == 1 ? s.bar_start + (s.numerator - 1) * beat() : s.bar_start;
  }
  int64_t segment_at(int64_t now) const {
    int64_t index = num_segments() - 1;
    while (index > 0 && segment_start(index) > now) --index;
    return index;
  }
  // Pitches of a segment's chord, which parts of drums do not heed; null for all.
  const uint8_t* chord_of(int64_t segment) const {
    if (ends_piece()) return segment || s.numerator == 1 ? c.tonic : c.triad;
    if (!c.num_chords) return nullptr;
    const int64_t bar = s.bars - c.first_bar;
    const int64_t index = c.chord_is_beat ? bar * s.numerator + segment : bar;
    return c.chords + (index % c.num_chords + c.num_chords) % c.num_chords * kPitches;
  }

  bool is_in_harmony(int64_t part, int64_t pitch, const uint8_t* chord) const {
    return c.base[part * kPitches + pitch] && (!chord || c.is_drum[part] || chord[pitch]);
  }

  bool has_free_voice(int64_t part) const {
    if (!c.max_polyphony) return true;
    const int64_t *offsets = c.offsets + part * kPitches, now = g.time();
    return std::count_if(offsets, offsets + kPitches, [now](int64_t end) { return end > now; }) <
           c.max_polyphony;
  }

  // Whether a part that has a free voice may begin a note now.
  bool may_begin(int64_t part, int64_t pitch, const uint8_t* chord) const {
    const int64_t index = part * kPitches + pitch, now = g.time();
    if (!is_in_harmony(part, pitch, chord)) return false;
    if (c.no_restrikes) return c.offsets[index] <= now;  // doubled notes are restrikes too
    return !c.no_doubled_notes || c.onsets[index] != now;
  }

  bool can_play_now(int64_t part, const uint8_t* chord) const {
    if (!has_free_voice(part)) return false;
    for (int64_t pitch = 0; pitch < kPitches; ++pitch)
      if (may_begin(part, pitch, chord)) return true;
    return false;
  }

  // Offers the positions of the bar at which some part can begin a note.
  void restrict_positions() {
    const std::vector<uint8_t> steps = playable_steps();
    const int64_t grid = t.steps_per_quarter, length = static_cast<int64_t>(steps.size());
    const int64_t beats = ceil_div(length, grid);
    for (int64_t beat = 0; beat < beats; ++beat) {
      const auto begin = steps.begin() + beat * grid;
      const auto end = steps.begin() + std::min((beat + 1) * grid, length);
      if (std::find(begin, end, 1) == end) mask_[t.first[kBeatToken] + beat] = false;
    }
    const int64_t here = g.position() / grid * grid;
    for (int64_t i = 0; i < grid; ++i)
      if (here + i >= length || !steps[here + i]) mask_[t.first[kSubbeatToken] + i] = false;
  }

  std::vector<uint8_t> playable_steps() const {
    std::vector<uint8_t> steps(s.bar_length);
    const int64_t count = num_segments();
    for (int64_t i = 0; i < count; ++i) {
      const int64_t stop = i + 1 < count ? segment_start(i + 1) : s.bar_start + s.bar_length;
      int64_t earliest = INT64_MAX;
      for (int64_t part = 0; part < s.num_programs; ++part)
        if (g.may_sound(part)) earliest = std::min(earliest, first_free_step(part, chord_of(i)));
      const int64_t first = std::max(segment_start(i), earliest) - s.bar_start;
      for (int64_t step = std::max<int64_t>(first, 0); step < std::min(stop - s.bar_start, s.bar_length);
           ++step)
        steps[step] = 1;
    }
    return steps;
  }

  // The grid step from which a part can begin a note of a chord.
  int64_t first_free_step(int64_t part, const uint8_t* chord) const {
    const int64_t* offsets = c.offsets + part * kPitches;
    int64_t earliest = INT64_MAX;
    for (int64_t pitch = 0; pitch < kPitches; ++pitch)
      if (is_in_harmony(part, pitch, chord)) earliest = std::min(earliest, offsets[pitch]);
    if (earliest == INT64_MAX) return earliest;
    // With restrikes allowed, a note may begin at any step but that of its own onset.
    if (!c.no_restrikes) earliest = 0;
    if (c.max_polyphony && c.max_polyphony <= kPitches) {
      int64_t ends[kPitches];
      std::copy(offsets, offsets + kPitches, ends);
      std::nth_element(ends, ends + kPitches - c.max_polyphony, ends + kPitches);
      earliest = std::max(earliest, ends[kPitches - c.max_polyphony]);
    }
    return earliest;
  }

  const Constraints& c;
  Grammar g;
  const GrammarState& s;
  const GrammarTables& t;
  uint8_t* mask_;
};

}  // namespace rwkv_music
