// Keys of events, and the tables that the tokenizer's loops look values up in.
//
// An event is one 64-bit key as in rwkv_music/tokenizer/events.py.
#pragma once

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

}  // namespace rwkv_music
