// LayerNorm and RWKV's token shift in one pass: every normalized token is interpolated with the previous
// one, with `num_mixes` different weights,
//
//     n_t = layer_norm(x_t)        out_j,t = n_t + (n_{t-1} - n_t) mix_j
//
// each written in the dtype of the matrix product that follows.
#pragma once

#include <cmath>
#include <vector>

#include "sequences.h"
#include "threads.h"

namespace rwkv_music {

constexpr int kMaxMixes = 6;
constexpr double kLayerNormEps = 1e-5;
constexpr int64_t kTokensPerTask = 32;

struct TokenShift {
  int64_t batch, steps, channels;
  int32_t num_mixes, type_in, type_out, threads;
  const void* x;  // [B, T, C], of type_in
  const void *weight, *bias, *mixes;  // [C], [C], [num_mixes, C]; from here on in the compute type
  const void* before;                 // [B, C]: n of the token before the first one
  const uint8_t* resets;              // [B, T]: the token starts a sequence; or null
  void* last;                         // [B, C]: n of the last token
  void* out[kMaxMixes];               // [B, T, C] each, of type_out; gradients in the backward
};

struct TokenShiftBackward {
  TokenShift forward;
  const void* d_last;  // [B, C]
  void* d_x;           // [B, T, C], of type_in
  void* d_parameters;  // [tasks, 2 + num_mixes, C]: each task's partial sums for weight, bias and mixes
  void* d_before;      // [B, C]
};

inline int64_t tasks_of(const TokenShift& x) {
  return x.batch * ceil_div(x.steps, kTokensPerTask);
}

template <typename Real>
struct Moments {
  Real mean, scale;
};

template <typename Real>
RM_INLINE Real sum_of_four(const Vector<Real> (&parts)[4]) {
  return sum<Real>((parts[0] + parts[1]) + (parts[2] + parts[3]));
}

// n = layer_norm(x) of one token; `channels` is a multiple of the head size.
template <typename Real, typename In>
RM_INLINE Moments<Real> layer_norm(
    const In* x, const Real* weight, const Real* bias, int64_t channels, Real* n) {
  // Several accumulators hide the latency of an addition.
  constexpr int accumulators = 4, lanes = Lanes<Real>::count;
  Vector<Real> totals[accumulators] = {}, squares[accumulators] = {};
  for (int64_t c = 0; c < channels; c += accumulators * lanes)
    RM_UNROLL
    for (int i = 0; i < accumulators; ++i) totals[i] += load(x + c + i * lanes);
  const Real mean = sum_of_four<Real>(totals) / channels;
  for (int64_t c = 0; c < channels; c += accumulators * lanes)
    RM_UNROLL
    for (int i = 0; i < accumulators; ++i) {
      const Vector<Real> centred = load(x + c + i * lanes) - mean;
      squares[i] += centred * centred;
    }
  const Real scale =
      Real(1) / std::sqrt(sum_of_four<Real>(squares) / channels + Real(kLayerNormEps));
  for (int64_t c = 0; c < channels; c += Lanes<Real>::count)
    store(n + c, (load(x + c) - mean) * scale * load(weight + c) + load(bias + c));
  return {mean, scale};
}

// A segment of one sequence: its normalized tokens and the one before.
template <typename Real, typename In>
struct Segment {
  int64_t batch, first, end;
  std::vector<Real> normed;  // [1 + tokens, C]
  std::vector<Moments<Real>> moments;

  Segment(const TokenShift& s, int64_t task) {
    const int64_t segments = ceil_div(s.steps, kTokensPerTask), channels = s.channels;
    batch = task / segments;
    first = task % segments * kTokensPerTask;
    end = std::min(first + kTokensPerTask, s.steps);
    normed.resize((end - first + 1) * channels);
    moments.resize(end - first);
    const In* x = static_cast<const In*>(s.x) + (batch * s.steps + first) * channels;
    const Real *weight = static_cast<const Real*>(s.weight), *bias = static_cast<const Real*>(s.bias);
    if (first)
      layer_norm(x - channels, weight, bias, channels, normed.data());
    else
      std::memcpy(
          normed.data(), static_cast<const Real*>(s.before) + batch * channels,
          channels * sizeof(Real));
    for (int64_t i = 0; i < end - first; ++i)
      moments[i] = layer_norm(
          x + i * channels, weight, bias, channels, normed.data() + (i + 1) * channels);
  }

  const Real* at(int64_t t, int64_t channels) const {
    return normed.data() + (t - first + 1) * channels;
  }
};

inline bool is_reset(const TokenShift& s, int64_t batch, int64_t t) {
  return s.resets && s.resets[batch * s.steps + t];
}

template <typename In, typename Out>
void token_shift_forward(const TokenShift& s) {
  using Real = typename ComputeType<In>::type;
  const int64_t channels = s.channels;
  for_each_task(tasks_of(s), s.threads, [&](int64_t task) {
    const Segment<Real, In> segment(s, task);
    const std::vector<Real> zeros(channels);
    for (int64_t t = segment.first; t < segment.end; ++t) {
      const int64_t offset = (segment.batch * s.steps + t) * channels;
      const Real* n = segment.at(t, channels);
      const Real* previous =
          is_reset(s, segment.batch, t) ? zeros.data() : segment.at(t - 1, channels);
      for (int j = 0; j < s.num_mixes; ++j) {
        const Real* mix = static_cast<const Real*>(s.mixes) + j * channels;
        Out* out = static_cast<Out*>(s.out[j]) + offset;
        for (int64_t c = 0; c < channels; c += Lanes<Real>::count)
          store(out + c, load(n + c) + (load(previous + c) - load(n + c)) * load(mix + c));
      }
    }
    if (segment.end == s.steps)
      std::memcpy(
          static_cast<Real*>(s.last) + segment.batch * channels, segment.at(s.steps - 1, channels),
          channels * sizeof(Real));
  });
}

// The gradient of n_t from token t + 1: sum_j d_j,t+1 mix_j.
template <typename Real, typename Out>
void gradient_from_next_token(const TokenShift& s, int64_t batch, int64_t t, Real* d_n) {
  const int64_t channels = s.channels, offset = (batch * s.steps + t + 1) * channels;
  for (int64_t c = 0; c < channels; c += Lanes<Real>::count) {
    Vector<Real> total{};
    for (int j = 0; j < s.num_mixes; ++j)
      total += load(static_cast<const Out*>(s.out[j]) + offset + c) *
               load(static_cast<const Real*>(s.mixes) + j * channels + c);
    store(d_n + c, total);
  }
}

// Backward pass through the mixes of token t. `d_n` holds the gradient of n_t from token t + 1 and
// becomes the total; `d_previous` receives the gradient of the previous token.
template <typename Real, typename Out>
void backward_mixes(
    const TokenShift& s, int64_t offset, const Real* n, const Real* previous, Real* d_n,
    Real* d_previous, Real* d_mixes) {
  const int64_t channels = s.channels;
  for (int64_t c = 0; c < channels; c += Lanes<Real>::count) {
    const Vector<Real> difference = load(previous + c) - load(n + c);
    Vector<Real> direct{}, shifted{};
    for (int j = 0; j < s.num_mixes; ++j) {
      const Vector<Real> d = load(static_cast<const Out*>(s.out[j]) + offset + c);
      direct += d;
      shifted += d * load(static_cast<const Real*>(s.mixes) + j * channels + c);
      Real* d_mix = d_mixes + j * channels + c;
      store(d_mix, load(d_mix) + d * difference);
    }
    store(d_n + c, load(d_n + c) + direct - shifted);
    store(d_previous + c, shifted);
  }
}

template <typename Real, typename In>
void backward_norm(
    const TokenShift& s, const In* x, Moments<Real> moments, const Real* d_n, In* d_x, Real* d_weight,
    Real* d_bias) {
  const int64_t channels = s.channels;
  const Real* weight = static_cast<const Real*>(s.weight);
  Vector<Real> total{}, products{};
  for (int64_t c = 0; c < channels; c += Lanes<Real>::count) {
    const Vector<Real> centred = (load(x + c) - moments.mean) * moments.scale, d = load(d_n + c);
    const Vector<Real> d_centred = d * load(weight + c);
    total += d_centred;
    products += d_centred * centred;
    store(d_weight + c, load(d_weight + c) + d * centred);
    store(d_bias + c, load(d_bias + c) + d);
  }
  const Real mean = sum<Real>(total) / channels, projection = sum<Real>(products) / channels;
  for (int64_t c = 0; c < channels; c += Lanes<Real>::count) {
    const Vector<Real> centred = (load(x + c) - moments.mean) * moments.scale;
    const Vector<Real> d_centred = load(d_n + c) * load(weight + c);
    store(d_x + c, (d_centred - mean - centred * projection) * moments.scale);
  }
}

template <typename In, typename Out>
void token_shift_backward(const TokenShiftBackward& b) {
  using Real = typename ComputeType<In>::type;
  const TokenShift& s = b.forward;
  const int64_t channels = s.channels;
  for_each_task(tasks_of(s), s.threads, [&](int64_t task) {
    const Segment<Real, In> segment(s, task);
    std::vector<Real> d_n(channels), d_previous(channels);
    const std::vector<Real> zeros(channels);
    Real* d_weight = static_cast<Real*>(b.d_parameters) + task * (2 + s.num_mixes) * channels;
    std::fill(d_weight, d_weight + (2 + s.num_mixes) * channels, Real(0));
    if (segment.end == s.steps)
      std::memcpy(
          d_n.data(), static_cast<const Real*>(b.d_last) + segment.batch * channels,
          channels * sizeof(Real));
    else if (!is_reset(s, segment.batch, segment.end))
      gradient_from_next_token<Real, Out>(s, segment.batch, segment.end - 1, d_n.data());
    for (int64_t t = segment.end - 1; t >= segment.first; --t) {
      const int64_t offset = (segment.batch * s.steps + t) * channels;
      const bool reset = is_reset(s, segment.batch, t);
      backward_mixes<Real, Out>(
          s, offset, segment.at(t, channels), reset ? zeros.data() : segment.at(t - 1, channels),
          d_n.data(), d_previous.data(), d_weight + 2 * channels);
      backward_norm<Real>(
          s, static_cast<const In*>(s.x) + offset, segment.moments[t - segment.first], d_n.data(),
          static_cast<In*>(b.d_x) + offset, d_weight, d_weight + channels);
      d_n.swap(d_previous);
      if (reset) std::fill(d_n.begin(), d_n.end(), Real(0));
    }
    if (segment.first == 0)
      std::memcpy(
          static_cast<Real*>(b.d_before) + segment.batch * channels, d_n.data(),
          channels * sizeof(Real));
  });
}

}  // namespace rwkv_music
