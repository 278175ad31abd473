// RWKV-7's time mixing between its matrix products, fused per head: decay, in-context learning rate,
// value residual, removal and replacement keys, recurrence, group norm, bonus and gate. As separate
// PyTorch operators these cost as much as the recurrence.
//
//     f    = 1 - exp(-exp(-1/2) sigmoid(w0 + decay))      rate = sigmoid(a0 + rate)
//     v    = v + (v_first - v) sigmoid(v0 + residual)     q = k k_k / |k k_k|
//     k'   = k (1 + (rate - 1) k_a)                       alpha = -q, beta = q rate
//     out  = (group_norm(y) + (sum r k' r_k) v) gate
#pragma once

#include <cmath>

#include "sequences.h"

namespace rwkv_music {

// Learned vectors of one head, or their gradients.
template <typename Real>
struct alignas(64) HeadParameters {
  Real w0[kHead], a0[kHead], v0[kHead], k_k[kHead], k_a[kHead], r_k[kHead];
  Real norm_weight[kHead], norm_bias[kHead];
};

struct TimeMixingForward {
  Sizes sizes;
  Sequence r, decay, k, v, rate, gate, out;
  Sequence residual, value_first;  // no data in the first layer
  const uint8_t* resets;        // [B, T], or null
  const void* parameters;       // [H, 8, N]: HeadParameters; this and all below have the compute type
  const void* state;            // [B, H, value, key]
  void* final_state;
  void* starts;   // [B, H, chunks, key, value]: the state before each chunk; or null
  void* removed;  // [B, H, T, value]: S alpha; null with `starts`
  void* y;        // [B, H, T, value]: output of the recurrence; null with `starts`
};

struct TimeMixingBackward {
  TimeMixingForward forward;
  Sequence d_out, d_r, d_decay, d_k, d_v, d_rate, d_gate, d_residual, d_value_first;
  void* d_parameters;  // [B, H, 8, N]
  const void* d_final_state;
  void* d_state;
};

constexpr double kGroupNormEps = 64e-5;
constexpr double kNormaliseEps = 1e-12;

#define RM_FOR_CHANNELS RM_UNROLL for (int c = 0; c < kHead; c += Lanes<Real>::count)

// 1 / max(|k k_k|, eps).
template <typename Real, typename Stored>
RM_INLINE Real inverse_norm(const Stored* k, const Real* k_k) {
  Vector<Real> squares{};
  RM_FOR_CHANNELS {
    const Vector<Real> q = load(k + c) * load(k_k + c);
    squares += q * q;
  }
  return Real(1) / std::max(std::sqrt(sum<Real>(squares)), Real(kNormaliseEps));
}

template <typename Real>
RM_INLINE Real bonus_of(const Step<Real>& current, const HeadParameters<Real>& p) {
  Vector<Real> products{};
  RM_FOR_CHANNELS products += load(current.r + c) * load(current.k + c) * load(p.r_k + c);
  return sum<Real>(products);
}

template <typename Real>
RM_INLINE void mean_and_scale(const Real* y, Real& mean, Real& scale) {
  Vector<Real> total{}, squares{};
  RM_FOR_CHANNELS total += load(y + c);
  mean = sum<Real>(total) / kHead;
  RM_FOR_CHANNELS {
    const Vector<Real> centred = load(y + c) - mean;
    squares += centred * centred;
  }
  scale = Real(1) / std::sqrt(sum<Real>(squares) / kHead + Real(kGroupNormEps));
}

template <typename Stored, typename Real>
RM_INLINE void load_step(
    const TimeMixingForward& x, int64_t batch, int64_t t, int64_t head,
    const HeadParameters<Real>& p, Step<Real>& current) {
  const Stored *k = at<Stored>(x.k, batch, t, head), *v = at<Stored>(x.v, batch, t, head);
  const Stored *decay = at<Stored>(x.decay, batch, t, head), *rate = at<Stored>(x.rate, batch, t, head);
  const Real inverse = inverse_norm<Real>(k, p.k_k);
  load_head(at<Stored>(x.r, batch, t, head), current.r);
  RM_FOR_CHANNELS {
    const Vector<Real> a = sigmoid<Real>(load(p.a0 + c) + load(rate + c));
    const Vector<Real> q = load(k + c) * load(p.k_k + c) * inverse;
    store(current.f + c, forget_amount<Real>(sigmoid<Real>(load(p.w0 + c) + load(decay + c))));
    store(current.k + c, load(k + c) * (Real(1) + (a - Real(1)) * load(p.k_a + c)));
    store(current.alpha + c, -q);
    store(current.beta + c, q * a);
  }
  if (!x.residual.data) return load_head(v, current.v);
  const Stored* residual = at<Stored>(x.residual, batch, t, head);
  const Stored* value_first = at<Stored>(x.value_first, batch, t, head);
  RM_FOR_CHANNELS {
    const Vector<Real> s = sigmoid<Real>(load(p.v0 + c) + load(residual + c)), v_here = load(v + c);
    store(current.v + c, v_here + (load(value_first + c) - v_here) * s);
  }
}

template <typename Stored, typename Real>
void load_chunk(
    const TimeMixingForward& x, int64_t batch, int64_t head, int64_t first,
    const HeadParameters<Real>& p, Chunk<Real>& chunk) {
  chunk.count = static_cast<int>(std::min<int64_t>(kChunk, x.sizes.steps - first));
  for (int i = 0; i < chunk.count; ++i) {
    chunk.reset[i] = x.resets && x.resets[batch * x.sizes.steps + first + i];
    load_step<Stored>(x, batch, first + i, head, p, chunk.steps[i]);
  }
}

template <typename Stored, typename Real>
RM_INLINE void store_output(
    const Step<Real>& current, const HeadParameters<Real>& p, const Stored* gate, Stored* out) {
  Real mean, scale;
  mean_and_scale(current.y, mean, scale);
  const Real bonus = bonus_of(current, p);
  RM_FOR_CHANNELS {
    const Vector<Real> normed =
        (load(current.y + c) - mean) * scale * load(p.norm_weight + c) + load(p.norm_bias + c);
    store(out + c, (normed + load(current.v + c) * bonus) * load(gate + c));
  }
}

template <typename Stored>
void time_mixing_forward(const TimeMixingForward& x) {
  using Real = typename ComputeType<Stored>::type;
  const int64_t chunks = ceil_div(x.sizes.steps, kChunk), steps = x.sizes.steps;
  for_each_group(x.sizes, [&](int64_t batch, int64_t first_head, int64_t heads) {
    const int64_t first_index = batch * x.sizes.heads + first_head;
    // On the heap, since a thread's stack may be small.
    const auto scratch = std::make_unique<Chunk<Real>>();
    Chunk<Real>& chunk = *scratch;
    const HeadStates<Real> states(heads);
    for (int64_t i = 0; i < heads; ++i)
      transpose(static_cast<const Real*>(x.state) + (first_index + i) * kState, states[i]);
    for (int64_t step = 0; step < chunks * heads; ++step) {
      const int64_t chunk_index = step / heads, i = step % heads, first = chunk_index * kChunk;
      const int64_t head = first_head + i;
      const auto& p = static_cast<const HeadParameters<Real>*>(x.parameters)[head];
      load_chunk<Stored>(x, batch, head, first, p, chunk);
      if (x.starts)
        stream_state(
            static_cast<Real*>(x.starts) + ((first_index + i) * chunks + chunk_index) * kState,
            states[i]);
      forward_chunk(chunk, states[i]);
      for (int t = 0; t < chunk.count; ++t) {
        const Step<Real>& current = chunk.steps[t];
        store_output(
            current, p, at<Stored>(x.gate, batch, first + t, head),
            at<Stored>(x.out, batch, first + t, head));
        if (!x.starts) continue;
        const int64_t offset = ((first_index + i) * steps + first + t) * kHead;
        stream_head(static_cast<Real*>(x.removed) + offset, current.removed);
        stream_head(static_cast<Real*>(x.y) + offset, current.y);
      }
    }
    for (int64_t i = 0; i < heads; ++i)
      transpose(states[i], static_cast<Real*>(x.final_state) + (first_index + i) * kState);
  });
}

}  // namespace rwkv_music
