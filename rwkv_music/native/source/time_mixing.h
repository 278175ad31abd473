// RWKV-7's time mixing between its matrix products, for each head in one go: the decay, the rate,
// the value mixed with the first layer's, removal and replacement keys, the recurrence, the group
// norm, the bonus and the gate. Done one after the other by PyTorch, these cost as much as the
// recurrence.
//
//     f    = 1 - exp(-exp(-1/2) sigmoid(w0 + decay))      rate = sigmoid(a0 + rate)
//     v    = v + (v_first - v) sigmoid(v0 + share)        q = k k_k / |k k_k|
//     k'   = k (1 + (rate - 1) k_a)                       alpha = -q, beta = q rate
//     out  = (group_norm(y) + (sum r k' r_k) v) gate
#pragma once

#include <cmath>

#include "sequences.h"

namespace rwkv_music {

// Learned vectors of one head, and their gradients.
template <typename Real>
struct alignas(64) HeadParameters {
  Real w0[kHead], a0[kHead], v0[kHead], k_k[kHead], k_a[kHead], r_k[kHead];
  Real norm_weight[kHead], norm_bias[kHead];
};

struct TimeMixingForward {
  Sizes sizes;
  Sequence r, decay, k, v, rate, gate, out;
  Sequence share, value_first;  // no data in the first layer, whose v is the first one
  const uint8_t* resets;        // [B, T], or null
  const void* parameters;       // [H, 8, N]: HeadParameters; this and all below in the compute type
  const void* state;            // [B, H, value, key]
  void* final_state;
  void* starts;   // [B, H, chunks, key, value]: the state before each chunk; or null
  void* removed;  // [B, H, T, value]: S alpha; null with `starts`
  void* y;        // [B, H, T, value]: what the recurrence put out; null with `starts`
};

struct TimeMixingBackward {
  TimeMixingForward forward;
  Sequence d_out, d_r, d_decay, d_k, d_v, d_rate, d_gate, d_share, d_value_first;
  void* d_parameters;  // [B, H, 8, N]
  const void* d_final_state;
  void* d_state;
};

constexpr double kGroupNormEps = 64e-5;
constexpr double kNormaliseEps = 1e-12;

#define RM_FOR_CHANNELS RM_UNROLL for (int c = 0; c < kHead; c += Lanes<Real>::count)

// 1 / max(|k k_k|, eps), and whether the norm is large enough to have a gradient.
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
RM_INLINE Real bonus_of(const Step<Real>& now, const HeadParameters<Real>& p) {
  Vector<Real> products{};
  RM_FOR_CHANNELS products += load(now.r + c) * load(now.k + c) * load(p.r_k + c);
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
    const HeadParameters<Real>& p, Step<Real>& now) {
  const Stored *k = at<Stored>(x.k, batch, t, head), *v = at<Stored>(x.v, batch, t, head);
  const Stored *decay = at<Stored>(x.decay, batch, t, head), *rate = at<Stored>(x.rate, batch, t, head);
  const Real inverse = inverse_norm<Real>(k, p.k_k);
  load_head(at<Stored>(x.r, batch, t, head), now.r);
  RM_FOR_CHANNELS {
    const Vector<Real> a = sigmoid<Real>(load(p.a0 + c) + load(rate + c));
    const Vector<Real> q = load(k + c) * load(p.k_k + c) * inverse;
    store(now.f + c, forgetting<Real>(sigmoid<Real>(load(p.w0 + c) + load(decay + c))));
    store(now.k + c, load(k + c) * (Real(1) + (a - Real(1)) * load(p.k_a + c)));
    store(now.alpha + c, -q);
    store(now.beta + c, q * a);
  }
  if (!x.share.data) return load_head(v, now.v);
  const Stored* share = at<Stored>(x.share, batch, t, head);
  const Stored* value_first = at<Stored>(x.value_first, batch, t, head);
  RM_FOR_CHANNELS {
    const Vector<Real> s = sigmoid<Real>(load(p.v0 + c) + load(share + c)), own = load(v + c);
    store(now.v + c, own + (load(value_first + c) - own) * s);
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
    const Step<Real>& now, const HeadParameters<Real>& p, const Stored* gate, Stored* out) {
  Real mean, scale;
  mean_and_scale(now.y, mean, scale);
  const Real bonus = bonus_of(now, p);
  RM_FOR_CHANNELS {
    const Vector<Real> normed =
        (load(now.y + c) - mean) * scale * load(p.norm_weight + c) + load(p.norm_bias + c);
    store(out + c, (normed + load(now.v + c) * bonus) * load(gate + c));
  }
}

template <typename Stored>
void time_mixing_forward(const TimeMixingForward& x) {
  using Real = typename ComputedIn<Stored>::type;
  const int64_t chunks = ceil_div(x.sizes.steps, kChunk), steps = x.sizes.steps;
  for_each_group(x.sizes, [&](int64_t batch, int64_t first_head, int64_t heads) {
    const int64_t before = batch * x.sizes.heads + first_head;
    const auto memory = std::make_unique<Chunk<Real>>();  // a thread's stack may be small
    Chunk<Real>& chunk = *memory;
    const HeadStates<Real> states(heads);
    for (int64_t i = 0; i < heads; ++i)
      transpose(static_cast<const Real*>(x.state) + (before + i) * kState, states[i]);
    for (int64_t step = 0; step < chunks * heads; ++step) {
      const int64_t number = step / heads, i = step % heads, first = number * kChunk;
      const int64_t head = first_head + i;
      const auto& p = static_cast<const HeadParameters<Real>*>(x.parameters)[head];
      load_chunk<Stored>(x, batch, head, first, p, chunk);
      if (x.starts)
        stream_state(
            static_cast<Real*>(x.starts) + ((before + i) * chunks + number) * kState, states[i]);
      forward_chunk(chunk, states[i]);
      for (int t = 0; t < chunk.count; ++t) {
        const Step<Real>& now = chunk.steps[t];
        store_output(
            now, p, at<Stored>(x.gate, batch, first + t, head),
            at<Stored>(x.out, batch, first + t, head));
        if (!x.starts) continue;
        const int64_t place = ((before + i) * steps + first + t) * kHead;
        stream_head(static_cast<Real*>(x.removed) + place, now.removed);
        stream_head(static_cast<Real*>(x.y) + place, now.y);
      }
    }
    for (int64_t i = 0; i < heads; ++i)
      transpose(states[i], static_cast<Real*>(x.final_state) + (before + i) * kState);
  });
}

}  // namespace rwkv_music
