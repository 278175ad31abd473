// The native library of rwkv-music: one translation unit with plain C functions and standard
// headers only. It is compiled once per instruction set; the variant is chosen at load time.

#include <algorithm>
#include <memory>

#include "decode.h"
#include "generation.h"
#include "level.h"
#include "midi_scan.h"
#include "products_backward.h"
#include "sampling.h"
#include "squared_relu.h"
#include "time_mixing_backward.h"
#include "token_shift.h"
#include "tokenizer_decode.h"
#include "tokenizer_encode.h"
#include "wkv7.h"

using namespace rwkv_music;

// Hash of the sources (see build.py): Python refuses a library built from other sources.
RM_EXPORT int64_t rwkv_music_sources() { return RWKV_MUSIC_SOURCES; }

// The best instruction set of this machine: 0 baseline of the architecture, 1 AVX2, 2 AVX-512,
// 3 AMX with bfloat16.
RM_EXPORT int32_t rwkv_music_level() { return instruction_set_level(); }

RM_EXPORT void rwkv_music_wkv7_forward(const Wkv7Forward* x) {
  if (x->sizes.type == kFloat64) return wkv7_forward<double>(*x);
  if (x->sizes.type == kBFloat16) return wkv7_forward<bfloat16>(*x);
  wkv7_forward<float>(*x);
}

RM_EXPORT void rwkv_music_wkv7_backward(const Wkv7Backward* x) {
  if (x->forward.sizes.type == kFloat64) return wkv7_backward<double>(*x);
  if (x->forward.sizes.type == kBFloat16) return wkv7_backward<bfloat16>(*x);
  wkv7_backward<float>(*x);
}

RM_EXPORT void rwkv_music_time_mixing_forward(const TimeMixingForward* x) {
  if (x->sizes.type == kFloat64) return time_mixing_forward<double>(*x);
  if (x->sizes.type == kBFloat16) return time_mixing_forward<bfloat16>(*x);
  time_mixing_forward<float>(*x);
}

RM_EXPORT void rwkv_music_time_mixing_backward(const TimeMixingBackward* x) {
  if (x->forward.sizes.type == kFloat64) return time_mixing_backward<double>(*x);
  if (x->forward.sizes.type == kBFloat16) return time_mixing_backward<bfloat16>(*x);
  time_mixing_backward<float>(*x);
}

RM_EXPORT void rwkv_music_token_shift_forward(const TokenShift* x) {
  if (x->type_in == kFloat64) return token_shift_forward<double, double>(*x);
  if (x->type_in == kBFloat16) return token_shift_forward<bfloat16, bfloat16>(*x);
  if (x->type_out == kBFloat16) return token_shift_forward<float, bfloat16>(*x);
  token_shift_forward<float, float>(*x);
}

RM_EXPORT void rwkv_music_token_shift_backward(const TokenShiftBackward* x) {
  if (x->forward.type_in == kFloat64) return token_shift_backward<double, double>(*x);
  if (x->forward.type_in == kBFloat16) return token_shift_backward<bfloat16, bfloat16>(*x);
  if (x->forward.type_out == kBFloat16) return token_shift_backward<float, bfloat16>(*x);
  token_shift_backward<float, float>(*x);
}

RM_EXPORT void rwkv_music_squared_relu(const SquaredRelu* x) {
  if (x->type == kFloat64) return squared_relu<double>(*x);
  if (x->type == kBFloat16) return squared_relu<bfloat16>(*x);
  squared_relu<float>(*x);
}

RM_EXPORT void rwkv_music_products_forward(const MatrixProducts* x) { products_forward(*x); }

RM_EXPORT void rwkv_music_products_backward(const MatrixProductsBackward* x) { products_backward(*x); }

RM_EXPORT void rwkv_music_decode_step(const DecodeStep* x) { decode_step(*x); }

RM_EXPORT void rwkv_music_sample_tokens(const TokenSampling* x) { sample_tokens(*x); }

// Masks of the grammar inside bars, and how a token changes its state.
RM_EXPORT void rwkv_music_grammar_mask(const GrammarTables* tables, GrammarState* state, uint8_t* mask) {
  GrammarMask(*tables, *state, mask).fill();
}

RM_EXPORT void rwkv_music_grammar_take(
    const GrammarTables* tables, GrammarState* state, const uint16_t* tokens, int64_t count) {
  for (int64_t i = 0; i < count; ++i) Grammar{*tables, *state}.take(tokens[i]);
}

// One step of generation; returns 1 instead of reading the chosen tokens if a candidate ends, or begins a
// bar where that is asked for. The tokens are then read by the second function.
RM_EXPORT int64_t rwkv_music_generation_step(const GenerationStep* x) {
  if (choose_tokens(*x)) return 1;
  read_chosen(*x);
  return 0;
}

RM_EXPORT void rwkv_music_read_chosen(const GenerationStep* x) { read_chosen(*x); }

RM_EXPORT int64_t rwkv_music_sound_keys(
    const EncodingTables* tables, const NoteColumns* notes, const ControlColumns* controls,
    int64_t* keys, int64_t* last) {
  return sound_keys(*tables, *notes, *controls, keys, last);
}

RM_EXPORT void rwkv_music_sort_keys(int64_t* keys, int64_t count, int64_t* scratch) {
  sort_keys(keys, count, scratch);
}

RM_EXPORT int64_t rwkv_music_write_events(
    const EncodingTables* tables, const int64_t* keys, int64_t count, uint16_t* out) {
  return write_events(*tables, keys, count, out);
}

RM_EXPORT int64_t rwkv_music_read_events(
    const DecodingTables* tables, const void* ids, int64_t id_bytes, int64_t count, int64_t* keys,
    int32_t* tokens, StreamSummary* summary) {
  if (id_bytes == 2)
    return read_events(*tables, static_cast<const uint16_t*>(ids), count, keys, tokens, summary);
  return read_events(*tables, static_cast<const int64_t*>(ids), count, keys, tokens, summary);
}

RM_EXPORT int64_t rwkv_music_split_events(
    const DecodingTables* tables, const int64_t* keys, int64_t count, const StreamSummary* summary,
    int32_t* ints, uint8_t* octets, int64_t* longs, int64_t* numbers) {
  const EventColumns columns(count, summary->programs, ints, octets, longs);
  return split_events(*tables, keys, count, *summary, columns, numbers);
}

RM_EXPORT int64_t rwkv_music_scan_midi(const uint8_t* content, int64_t size) {
  return scan_midi(content, size);
}
