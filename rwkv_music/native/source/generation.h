// A step of generation: for each candidate the mask of its next tokens, a choice among them, the state of
// the grammar behind it, and then one decoding step for all of them.
//
// The reference is `CandidateBatch` in Python, with `ConstraintRule` and the endings of candidates.
#pragma once

#include "constraints.h"
#include "decode.h"
#include "grammar_masks.h"
#include "sampling.h"

namespace rwkv_music {

struct CandidateState {
  GrammarState grammar;
  Constraints constraints;  // none without parts
  int64_t tokens_in_bar;
};

struct GenerationStep {
  TokenSampling sampling;  // its masks are written here; given tokens have ids, the others -1
  DecodeStep decoding;
  const GrammarTables* tables;
  CandidateState* const* candidates;  // [B]
  int64_t last_bar;                   // BAR or EOS ends a candidate there; below 0 for the EOS of a hole
  int64_t max_tokens_in_bar;          // a longer bar is ended as soon as possible
  int64_t stops_at_bars;              // whether to return before a BAR is read
  uint8_t* is_ended;                  // [B]: whether the token ends the candidate, instead of following
};

// Clears the tokens that would end a candidate too early or too late.
inline void restrict_ending(const GenerationStep& x, const CandidateState& candidate, uint8_t* mask) {
  if (x.last_bar >= 0 && mask[kEosToken]) mask[kEosToken] = candidate.grammar.bars == x.last_bar;
  if (candidate.tokens_in_bar <= x.max_tokens_in_bar) return;
  const uint8_t bar = mask[kBarToken], eos = x.last_bar < 0 && mask[kEosToken];
  if (!bar && !eos) return;
  std::memset(mask, 0, x.tables->size);
  mask[kBarToken] = bar;
  mask[kEosToken] = eos;
}

inline void write_masks(const GenerationStep& x, CandidateState& candidate, uint8_t* legal, uint8_t* allowed) {
  GrammarMask(*x.tables, candidate.grammar, legal).fill();
  restrict_ending(x, candidate, legal);
  std::memcpy(allowed, legal, x.tables->size);
  if (candidate.constraints.num_parts)
    ConstraintMask(candidate.constraints, {*x.tables, candidate.grammar}, allowed).restrict();
}

// Chooses the next token of each candidate. Returns whether one of them ends, or begins a bar.
inline bool choose_tokens(const GenerationStep& x) {
  const TokenSampling& sampling = x.sampling;
  const int64_t size = sampling.vocabulary;
  bool is_bar_line = false;
  for (int64_t b = 0; b < sampling.batch; ++b) {
    x.is_ended[b] = sampling.tokens[b] < 0;  // to be decided
    if (sampling.tokens[b] < 0)
      write_masks(
          x, *x.candidates[b], sampling.legal + b * size, sampling.allowed + b * size);
  }
  sample_tokens(sampling);
  for (int64_t b = 0; b < sampling.batch; ++b) {
    const int64_t token = sampling.tokens[b];
    const bool is_last_bar = x.candidates[b]->grammar.bars == x.last_bar;
    x.is_ended[b] &= token == kEosToken || (token == kBarToken && is_last_bar);
    is_bar_line |= x.is_ended[b] || (token == kBarToken && x.stops_at_bars);
  }
  return is_bar_line;
}

// Reads the chosen tokens of all candidates.
inline void read_chosen(const GenerationStep& x) {
  for (int64_t b = 0; b < x.sampling.batch; ++b) {
    CandidateState& candidate = *x.candidates[b];
    Grammar grammar{*x.tables, candidate.grammar};
    const int64_t token = x.sampling.tokens[b];
    if (candidate.constraints.num_parts)
      ConstraintMask(candidate.constraints, grammar, nullptr).observe(token);
    grammar.take(token);
    candidate.tokens_in_bar = token == kBarToken ? 0 : candidate.tokens_in_bar + 1;
  }
  decode_step(x.decoding);
}

}  // namespace rwkv_music
