// The WKV operator: six sequences and a state in, outputs and a state out.
#pragma once

#include "recurrence.h"
#include "sequences.h"

namespace rwkv_music {

struct Wkv7Forward {
  Sizes sizes;
  Sequence r, decay_logit, k, v, alpha, beta, y;
  const uint8_t* resets;  // [B, T], or null
  const void* state;      // [B, H, value, key]; this and all below in float32 (float64 for float64)
  void* final_state;
  void* starts;   // [B, H, chunks, key, value]: the state before each chunk; or null
  void* removed;  // [B, H, T, value]: S alpha; null with `starts`
};

struct Wkv7Backward {
  Wkv7Forward forward;
  Sequence dy, d_r, d_decay_logit, d_k, d_v, d_alpha, d_beta;
  const void* d_final_state;  // [B, H, value, key]
  void* d_state;
};

// `slopes`, if given, receives the derivative of f with respect to the decay logit.
template <typename Stored, typename Real>
void load_chunk(
    const Wkv7Forward& x, int64_t batch, int64_t head, int64_t first, Chunk<Real>& chunk,
    Real (*slopes)[kHead] = nullptr) {
  chunk.count = static_cast<int>(std::min<int64_t>(kChunk, x.sizes.steps - first));
  for (int i = 0; i < chunk.count; ++i) {
    const int64_t t = first + i;
    Step<Real>& current = chunk.steps[i];
    chunk.reset[i] = x.resets && x.resets[batch * x.sizes.steps + t];
    load_head(at<Stored>(x.r, batch, t, head), current.r);
    load_head(at<Stored>(x.k, batch, t, head), current.k);
    load_head(at<Stored>(x.v, batch, t, head), current.v);
    load_head(at<Stored>(x.alpha, batch, t, head), current.alpha);
    load_head(at<Stored>(x.beta, batch, t, head), current.beta);
    const Stored* logit = at<Stored>(x.decay_logit, batch, t, head);
    for (int c = 0; c < kHead; c += Lanes<Real>::count)
      if (slopes) {
        Vector<Real> f, slope;
        forget_amount_and_slope<Real>(load(logit + c), f, slope);
        store(current.f + c, f);
        store(slopes[i] + c, slope);
      } else {
        store(current.f + c, forget_amount<Real>(sigmoid<Real>(load(logit + c))));
      }
  }
}

template <typename Stored>
void wkv7_forward(const Wkv7Forward& x) {
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
      const int64_t head = first_head + i, head_index = first_index + i;
      load_chunk<Stored>(x, batch, head, first, chunk);
      if (x.starts)
        stream_state(
            static_cast<Real*>(x.starts) + (head_index * chunks + chunk_index) * kState, states[i]);
      forward_chunk(chunk, states[i]);
      for (int t = 0; t < chunk.count; ++t) {
        const Step<Real>& current = chunk.steps[t];
        store_head(at<Stored>(x.y, batch, first + t, head), current.y);
        if (x.removed)
          stream_head(
              static_cast<Real*>(x.removed) + (head_index * steps + first + t) * kHead, current.removed);
      }
    }
    for (int64_t i = 0; i < heads; ++i)
      transpose(states[i], static_cast<Real*>(x.final_state) + (first_index + i) * kState);
  });
}

template <typename Stored, typename Real>
void store_gradients(
    const Wkv7Backward& d, int64_t batch, int64_t t, int64_t head, const Real* slope,
    StepGradient<Real>& d_step) {
  for (int c = 0; c < kHead; c += Lanes<Real>::count)
    store(d_step.f + c, load(d_step.f + c) * load(slope + c));
  stream_head(at<Stored>(d.d_r, batch, t, head), d_step.r);
  stream_head(at<Stored>(d.d_decay_logit, batch, t, head), d_step.f);
  stream_head(at<Stored>(d.d_k, batch, t, head), d_step.k);
  stream_head(at<Stored>(d.d_v, batch, t, head), d_step.v);
  stream_head(at<Stored>(d.d_alpha, batch, t, head), d_step.alpha);
  stream_head(at<Stored>(d.d_beta, batch, t, head), d_step.beta);
}

template <typename Real>
struct alignas(64) Wkv7Memory {
  ChunkMemory<Real> of_chunk;
  Real start[kState], slopes[kChunk][kHead];
};

template <typename Stored>
void wkv7_backward(const Wkv7Backward& d) {
  using Real = typename ComputeType<Stored>::type;
  const Wkv7Forward& x = d.forward;
  const int64_t chunks = ceil_div(x.sizes.steps, kChunk), steps = x.sizes.steps;
  for_each_group(x.sizes, [&](int64_t batch, int64_t first_head, int64_t heads) {
    const int64_t first_index = batch * x.sizes.heads + first_head;
    // On the heap, since a thread's stack may be small.
    const auto scratch = std::make_unique<Wkv7Memory<Real>>();
    auto& [chunk, gradients, row_states] = scratch->of_chunk;
    const HeadStates<Real> states(heads);  // gradients of the state
    const size_t bytes = heads * kState * sizeof(Real);
    std::memcpy(states[0], static_cast<const Real*>(d.d_final_state) + first_index * kState, bytes);
    for (int64_t step = chunks * heads - 1; step >= 0; --step) {
      const int64_t chunk_index = step / heads, i = step % heads, first = chunk_index * kChunk;
      const int64_t head = first_head + i, head_index = first_index + i;
      load_chunk<Stored>(x, batch, head, first, chunk, scratch->slopes);
      transpose(
          static_cast<const Real*>(x.starts) + (head_index * chunks + chunk_index) * kState,
          scratch->start);
      for (int t = 0; t < chunk.count; ++t) {
        load_head(at<Stored>(d.dy, batch, first + t, head), chunk.steps[t].y);
        load_head(
            static_cast<const Real*>(x.removed) + (head_index * steps + first + t) * kHead,
            chunk.steps[t].removed);
      }
      std::memset(gradients, 0, sizeof(gradients));
      backward_chunk(chunk, scratch->start, states[i], gradients, row_states);
      for (int t = 0; t < chunk.count; ++t)
        store_gradients<Stored>(d, batch, first + t, head, scratch->slopes[t], gradients[t]);
    }
    std::memcpy(static_cast<Real*>(d.d_state) + first_index * kState, states[0], bytes);
  });
}

}  // namespace rwkv_music
