// The WKV operator by itself: six sequences and a state in, outputs and a state out.
#pragma once

#include "recurrence.h"
#include "sequences.h"
#include "threads.h"

namespace rwkv_music {

struct Wkv7Forward {
  Sizes sizes;
  Sequence r, decay_logit, k, v, alpha, beta, y;
  const uint8_t* resets;  // [B, T], or null
  const void* state;      // [B, H, value, key]; like all below in float32, or float64 for float64
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

template <typename Stored, typename Real>
void load_chunk(
    const Wkv7Forward& x, int64_t batch, int64_t head, int64_t first, Chunk<Real>& chunk) {
  chunk.count = static_cast<int>(std::min<int64_t>(kChunk, x.sizes.steps - first));
  for (int i = 0; i < chunk.count; ++i) {
    const int64_t t = first + i;
    Step<Real>& now = chunk.steps[i];
    chunk.reset[i] = x.resets && x.resets[batch * x.sizes.steps + t];
    load_head(at<Stored>(x.r, batch, t, head), now.r);
    load_head(at<Stored>(x.k, batch, t, head), now.k);
    load_head(at<Stored>(x.v, batch, t, head), now.v);
    load_head(at<Stored>(x.alpha, batch, t, head), now.alpha);
    load_head(at<Stored>(x.beta, batch, t, head), now.beta);
    const Stored* logit = at<Stored>(x.decay_logit, batch, t, head);
    for (int c = 0; c < kHead; c += Lanes<Real>::count)
      store(now.f + c, forgetting<Real>(sigmoid<Real>(load(logit + c))));
  }
}

template <typename Stored>
void wkv7_forward(const Wkv7Forward& x) {
  using Real = typename ComputedIn<Stored>::type;
  const int64_t chunks = ceil_div(x.sizes.steps, kChunk);
  for_each_task(x.sizes.batch * x.sizes.heads, x.sizes.threads, [&](int64_t task) {
    const int64_t batch = task / x.sizes.heads, head = task % x.sizes.heads;
    alignas(64) Real state[kState];
    const auto memory = std::make_unique<Chunk<Real>>();  // a thread's stack may be small
    Chunk<Real>& chunk = *memory;
    transpose(static_cast<const Real*>(x.state) + task * kState, state);
    for (int64_t number = 0; number < chunks; ++number) {
      const int64_t first = number * kChunk;
      load_chunk<Stored>(x, batch, head, first, chunk);
      if (x.starts)
        std::memcpy(
            static_cast<Real*>(x.starts) + (task * chunks + number) * kState, state, sizeof(state));
      forward_chunk(chunk, state);
      for (int i = 0; i < chunk.count; ++i) {
        const Step<Real>& now = chunk.steps[i];
        store_head(at<Stored>(x.y, batch, first + i, head), now.y);
        if (x.removed)
          store_head(
              static_cast<Real*>(x.removed) + (task * x.sizes.steps + first + i) * kHead,
              now.removed);
      }
    }
    transpose(state, static_cast<Real*>(x.final_state) + task * kState);
  });
}

template <typename Stored, typename Real>
void store_gradients(
    const Wkv7Backward& d, int64_t batch, int64_t t, int64_t head, StepGradient<Real>& of) {
  const Stored* logit = at<Stored>(d.forward.decay_logit, batch, t, head);
  for (int c = 0; c < kHead; c += Lanes<Real>::count) {
    Vector<Real> f, slope;
    forgetting_and_slope<Real>(load(logit + c), f, slope);
    store(of.f + c, load(of.f + c) * slope);
  }
  store_head(at<Stored>(d.d_r, batch, t, head), of.r);
  store_head(at<Stored>(d.d_decay_logit, batch, t, head), of.f);
  store_head(at<Stored>(d.d_k, batch, t, head), of.k);
  store_head(at<Stored>(d.d_v, batch, t, head), of.v);
  store_head(at<Stored>(d.d_alpha, batch, t, head), of.alpha);
  store_head(at<Stored>(d.d_beta, batch, t, head), of.beta);
}

template <typename Stored>
void wkv7_backward(const Wkv7Backward& d) {
  using Real = typename ComputedIn<Stored>::type;
  const Wkv7Forward& x = d.forward;
  const int64_t chunks = ceil_div(x.sizes.steps, kChunk);
  for_each_task(x.sizes.batch * x.sizes.heads, x.sizes.threads, [&](int64_t task) {
    const int64_t batch = task / x.sizes.heads, head = task % x.sizes.heads;
    alignas(64) Real start[kState], ds[kState];
    const auto memory = std::make_unique<ChunkMemory<Real>>();  // a thread's stack may be small
    auto& [chunk, gradients, found] = *memory;
    std::memcpy(ds, static_cast<const Real*>(d.d_final_state) + task * kState, sizeof(ds));
    for (int64_t number = chunks - 1; number >= 0; --number) {
      const int64_t first = number * kChunk;
      load_chunk<Stored>(x, batch, head, first, chunk);
      transpose(static_cast<const Real*>(x.starts) + (task * chunks + number) * kState, start);
      for (int i = 0; i < chunk.count; ++i) {
        load_head(at<Stored>(d.dy, batch, first + i, head), chunk.steps[i].y);
        load_head(
            static_cast<const Real*>(x.removed) + (task * x.sizes.steps + first + i) * kHead,
            chunk.steps[i].removed);
      }
      std::memset(gradients, 0, sizeof(gradients));
      backward_chunk(chunk, start, ds, gradients, found);
      for (int i = 0; i < chunk.count; ++i)
        store_gradients<Stored>(d, batch, first + i, head, gradients[i]);
    }
    std::memcpy(static_cast<Real*>(d.d_state) + task * kState, ds, sizeof(ds));
  });
}

}  // namespace rwkv_music
