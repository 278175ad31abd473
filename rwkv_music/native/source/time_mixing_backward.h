// Gradients of time_mixing.h, in reverse order.
#pragma once

#include "time_mixing.h"

namespace rwkv_music {

// Backward pass through gate, bonus and group norm. `current.y` holds the recurrence's output and
// becomes its gradient; `d` receives the bonus's gradients of r, k and v.
template <typename Stored, typename Real>
RM_INLINE void backward_output(
    const HeadParameters<Real>& p, const Stored* gate, const Stored* d_out, Step<Real>& current,
    Stored* d_gate, StepGradient<Real>& d, HeadParameters<Real>& dp) {
  Real mean, scale;
  mean_and_scale(current.y, mean, scale);
  const Real bonus = bonus_of(current, p);
  Vector<Real> d_bonus_parts{}, d_normed_parts{}, products{};
  RM_FOR_CHANNELS {
    const Vector<Real> normed = (load(current.y + c) - mean) * scale, v = load(current.v + c);
    const Vector<Real> weight = load(p.norm_weight + c), d_gated = load(d_out + c);
    const Vector<Real> d_sum = d_gated * load(gate + c);
    store(d_gate + c, d_gated * (normed * weight + load(p.norm_bias + c) + v * bonus));
    store(dp.norm_weight + c, load(dp.norm_weight + c) + d_sum * normed);
    store(dp.norm_bias + c, load(dp.norm_bias + c) + d_sum);
    store(d.v + c, d_sum * bonus);
    d_bonus_parts += d_sum * v;
    const Vector<Real> d_normed = d_sum * weight;
    d_normed_parts += d_normed;
    products += d_normed * normed;
    store(d.f + c, d_normed);  // stored here for the second loop
  }
  const Real d_bonus = sum<Real>(d_bonus_parts);
  const Real d_mean = sum<Real>(d_normed_parts) / kHead, projection = sum<Real>(products) / kHead;
  RM_FOR_CHANNELS {
    const Vector<Real> r = load(current.r + c), k = load(current.k + c), r_k = load(p.r_k + c);
    const Vector<Real> normed = (load(current.y + c) - mean) * scale;
    store(current.y + c, (load(d.f + c) - d_mean - normed * projection) * scale);
    store(d.r + c, k * r_k * d_bonus);
    store(d.k + c, r * r_k * d_bonus);
    store(dp.r_k + c, load(dp.r_k + c) + r * k * d_bonus);
    store(d.f + c, Vector<Real>{});
    store(d.alpha + c, Vector<Real>{});
    store(d.beta + c, Vector<Real>{});
  }
}

// Backward pass through the value residual.
template <typename Stored, typename Real>
RM_INLINE void backward_value(
    const TimeMixingBackward& b, int64_t batch, int64_t t, int64_t head,
    const HeadParameters<Real>& p, const StepGradient<Real>& d, HeadParameters<Real>& dp) {
  Stored* d_v = at<Stored>(b.d_v, batch, t, head);
  if (!b.forward.residual.data) return store_head(d_v, d.v);
  const Stored* v = at<Stored>(b.forward.v, batch, t, head);
  const Stored* value_first = at<Stored>(b.forward.value_first, batch, t, head);
  const Stored* residual = at<Stored>(b.forward.residual, batch, t, head);
  Stored* d_residual = at<Stored>(b.d_residual, batch, t, head);
  Stored* d_value_first = at<Stored>(b.d_value_first, batch, t, head);
  RM_FOR_CHANNELS {
    const Vector<Real> s = sigmoid<Real>(load(p.v0 + c) + load(residual + c)), dv = load(d.v + c);
    const Vector<Real> d_logit =
        dv * (load(value_first + c) - load(v + c)) * s * (Real(1) - s);
    store(d_v + c, dv * (Real(1) - s));
    store(d_value_first + c, dv * s);
    store(d_residual + c, d_logit);
    store(dp.v0 + c, load(dp.v0 + c) + d_logit);
  }
}

// Backward pass through the keys and their normalization, the rate and the decay.
template <typename Stored, typename Real>
RM_INLINE void backward_keys(
    const TimeMixingBackward& b, int64_t batch, int64_t t, int64_t head,
    const HeadParameters<Real>& p, Step<Real>& current, const StepGradient<Real>& d,
    HeadParameters<Real>& dp) {
  const Stored* k_data = at<Stored>(b.forward.k, batch, t, head);
  const Stored* rate = at<Stored>(b.forward.rate, batch, t, head);
  const Stored* decay = at<Stored>(b.forward.decay, batch, t, head);
  const Real inverse = inverse_norm<Real>(k_data, p.k_k);
  // d(q) = rate d(beta) - d(alpha). Since q = k k_k / norm, its component along q is removed, unless the
  // norm was below the limit.
  Vector<Real> projections{};
  RM_FOR_CHANNELS {
    const Vector<Real> a = sigmoid<Real>(load(p.a0 + c) + load(rate + c));
    projections += (load(d.beta + c) * a - load(d.alpha + c)) * load(current.alpha + c);
    store(current.removed + c, a);  // no longer needed: reused for the second loop
  }
  const Real projection = inverse < Real(1 / kNormaliseEps) ? sum<Real>(projections) : Real(0);
  RM_FOR_CHANNELS {
    const Vector<Real> a = load(current.removed + c), q = -load(current.alpha + c);
    const Vector<Real> k = load(k_data + c), k_a = load(p.k_a + c), k_k = load(p.k_k + c);
    const Vector<Real> dk_used = load(d.k + c), d_beta = load(d.beta + c);
    const Vector<Real> d_scaled = (d_beta * a - load(d.alpha + c) + q * projection) * inverse;
    const Vector<Real> d_a = (d_beta * q + dk_used * k * k_a) * a * (Real(1) - a);
    store(
        at<Stored>(b.d_k, batch, t, head) + c,
        dk_used * (Real(1) + (a - Real(1)) * k_a) + d_scaled * k_k);
    store(at<Stored>(b.d_rate, batch, t, head) + c, d_a);
    store(dp.a0 + c, load(dp.a0 + c) + d_a);
    store(dp.k_k + c, load(dp.k_k + c) + d_scaled * k);
    store(dp.k_a + c, load(dp.k_a + c) + dk_used * k * (a - Real(1)));
    Vector<Real> f, slope;
    forget_amount_and_slope<Real>(load(p.w0 + c) + load(decay + c), f, slope);
    const Vector<Real> d_logit = load(d.f + c) * slope;
    store(at<Stored>(b.d_decay, batch, t, head) + c, d_logit);
    store(dp.w0 + c, load(dp.w0 + c) + d_logit);
  }
}

template <typename Stored>
void time_mixing_backward(const TimeMixingBackward& b) {
  using Real = typename ComputeType<Stored>::type;
  const TimeMixingForward& x = b.forward;
  const int64_t chunks = ceil_div(x.sizes.steps, kChunk), steps = x.sizes.steps;
  for_each_group(x.sizes, [&](int64_t batch, int64_t first_head, int64_t heads) {
    const int64_t first_index = batch * x.sizes.heads + first_head;
    alignas(64) Real start[kState];
    // On the heap, since a thread's stack may be small.
    const auto scratch = std::make_unique<ChunkMemory<Real>>();
    auto& [chunk, gradients, row_states] = *scratch;
    const HeadStates<Real> states(heads);  // gradients of the state
    const size_t bytes = heads * kState * sizeof(Real);
    std::memcpy(states[0], static_cast<const Real*>(b.d_final_state) + first_index * kState, bytes);
    std::vector<HeadParameters<Real>> d_parameters(heads);
    for (int64_t step = chunks * heads - 1; step >= 0; --step) {
      const int64_t chunk_index = step / heads, i = step % heads, first = chunk_index * kChunk;
      const int64_t head = first_head + i;
      const auto& p = static_cast<const HeadParameters<Real>*>(x.parameters)[head];
      HeadParameters<Real>& dp = d_parameters[i];
      load_chunk<Stored>(x, batch, head, first, p, chunk);
      transpose(
          static_cast<const Real*>(x.starts) + ((first_index + i) * chunks + chunk_index) * kState,
          start);
      for (int i_step = 0; i_step < chunk.count; ++i_step) {
        const int64_t t = first + i_step, offset = ((first_index + i) * steps + t) * kHead;
        Step<Real>& current = chunk.steps[i_step];
        load_head(static_cast<const Real*>(x.removed) + offset, current.removed);
        load_head(static_cast<const Real*>(x.y) + offset, current.y);
        backward_output(
            p, at<Stored>(x.gate, batch, t, head), at<Stored>(b.d_out, batch, t, head), current,
            at<Stored>(b.d_gate, batch, t, head), gradients[i_step], dp);
      }
      backward_chunk(chunk, start, states[i], gradients, row_states);
      for (int i_step = 0; i_step < chunk.count; ++i_step) {
        const int64_t t = first + i_step;
        const StepGradient<Real>& d = gradients[i_step];
        store_head(at<Stored>(b.d_r, batch, t, head), d.r);
        backward_value<Stored>(b, batch, t, head, p, d, dp);
        backward_keys<Stored>(b, batch, t, head, p, chunk.steps[i_step], d, dp);
      }
    }
    std::memcpy(static_cast<Real*>(b.d_state) + first_index * kState, states[0], bytes);
    std::copy(
        d_parameters.begin(), d_parameters.end(),
        static_cast<HeadParameters<Real>*>(b.d_parameters) + first_index);
  });
}

}  // namespace rwkv_music
