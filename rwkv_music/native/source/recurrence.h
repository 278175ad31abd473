// The state recurrence of RWKV-7 for one head, in chunks of steps, forward and backward:
//
//     S <- S diag(1 - f) + (S alpha) beta^T + v k^T        y = S r
//
// S is [value, key]; f = 1 - decay is the amount forgotten. Rows of S (values) are independent of each
// other in both directions, except for five sums in the backward pass. The backward pass recomputes the
// states from a stored one: stepping back by dividing by the decay would amplify rounding errors.
#pragma once

#include "functions.h"

namespace rwkv_music {

constexpr int kHead = 64;   // channels of a head, N
constexpr int kChunk = 32;  // steps between stored states
constexpr int64_t kState = kHead * kHead;

// Inputs and outputs of one head at one step, stored together: separate arrays over steps would be
// exactly 4 KiB apart and evict each other from the cache.
template <typename Real>
struct alignas(64) Step {
  Real r[kHead], f[kHead], k[kHead], v[kHead], alpha[kHead], beta[kHead];
  Real removed[kHead];  // S alpha, computed in the forward pass
  Real y[kHead];        // outputs in the forward pass, their gradients in the backward pass
};

template <typename Real>
struct alignas(64) StepGradient {
  Real r[kHead], f[kHead], k[kHead], v[kHead], alpha[kHead], beta[kHead];
};

template <typename Real>
struct Chunk {
  int count;
  bool reset[kChunk];  // the state is set to zeros before this step
  Step<Real> steps[kChunk];
};

template <typename Real>
void transpose(const Real* from, Real* to) {
  transpose_square<kHead>(from, to);
}

template <typename Real>
RM_INLINE void forward_values(Chunk<Real>& chunk, int first, Real* state) {
  using V = Vector<Real>;
  constexpr int lanes = Lanes<Real>::count;
  V u0{}, u1{};  // S alpha of the next step
  for (int j = 0; j < kHead; ++j) {
    u0 += load(state + j * kHead + first) * chunk.steps[0].alpha[j];
    u1 += load(state + j * kHead + first + lanes) * chunk.steps[0].alpha[j];
  }
  for (int t = 0; t < chunk.count; ++t) {
    Step<Real>& current = chunk.steps[t];
    if (chunk.reset[t]) {
      for (int j = 0; j < kHead; ++j) {
        store(state + j * kHead + first, V{});
        store(state + j * kHead + first + lanes, V{});
      }
      u0 = u1 = V{};
    }
    store(current.removed + first, u0);
    store(current.removed + first + lanes, u1);
    const V v0 = load(current.v + first), v1 = load(current.v + first + lanes);
    const Real* next_alpha = chunk.steps[t + 1 < chunk.count ? t + 1 : t].alpha;
    V y0{}, y1{}, next0{}, next1{};
    for (int j = 0; j < kHead; ++j) {
      Real* column = state + j * kHead + first;
      V s0 = load(column), s1 = load(column + lanes);
      s0 -= s0 * current.f[j];
      s1 -= s1 * current.f[j];
      s0 += u0 * current.beta[j];
      s1 += u1 * current.beta[j];
      s0 += v0 * current.k[j];
      s1 += v1 * current.k[j];
      y0 += s0 * current.r[j];
      y1 += s1 * current.r[j];
      next0 += s0 * next_alpha[j];
      next1 += s1 * next_alpha[j];
      store(column, s0);
      store(column + lanes, s1);
    }
    store(current.y + first, y0);
    store(current.y + first + lanes, y1);
    u0 = next0;
    u1 = next1;
  }
}

// Fills `removed` and `y` and advances `state`, which is transposed, [key, value], so that vectors run
// over values and no sums across lanes are needed.
template <typename Real>
void forward_chunk(Chunk<Real>& chunk, Real* state) {
  for (int first = 0; first < kHead; first += 2 * Lanes<Real>::count)
    forward_values(chunk, first, state);
}

// Rows of the state and steps that the backward pass handles at a time: their states fit the L1 cache.
constexpr int kBackwardRows = 4;
constexpr int kBackwardSteps = 16;

template <typename Real>
using RowStates = Real[kBackwardSteps][kBackwardRows][kHead];

// Recomputes steps [begin, end) for rows [first, first + kBackwardRows) from `before`, the state before
// `begin`. With `Keep` it stores the state before each step and adds these rows' part of dr = S^T dy,
// with S the state after each step; without it only `after` is filled.
template <bool Keep, typename Real>
RM_INLINE void recompute_states(
    const Chunk<Real>& chunk, int begin, int end, int first, const Real* before, Real* after,
    RowStates<Real>& states, StepGradient<Real>* d) {
  using V = Vector<Real>;
  for (int c = 0; c < kHead; c += Lanes<Real>::count) {
    V s[kBackwardRows];
    RM_UNROLL
    for (int i = 0; i < kBackwardRows; ++i) s[i] = load(before + i * kHead + c);
    for (int t = begin; t < end; ++t) {
      const Step<Real>& current = chunk.steps[t];
      const V f = load(current.f + c), k = load(current.k + c), beta = load(current.beta + c);
      if (chunk.reset[t]) {
        RM_UNROLL
        for (int i = 0; i < kBackwardRows; ++i) s[i] = V{};
      }
      V dr[2] = {};  // two sums to hide the latency of an addition
      RM_UNROLL
      for (int i = 0; i < kBackwardRows; ++i) {
        if constexpr (Keep) store(states[t - begin][i] + c, s[i]);
        s[i] -= s[i] * f;
        s[i] += beta * current.removed[first + i];
        s[i] += k * current.v[first + i];
        if constexpr (Keep) dr[i % 2] += s[i] * current.y[first + i];
      }
      if constexpr (Keep) store(d[t].r + c, load(d[t].r + c) + dr[0] + dr[1]);
    }
    if constexpr (!Keep) {
      RM_UNROLL
      for (int i = 0; i < kBackwardRows; ++i) store(after + i * kHead + c, s[i]);
    }
  }
}

// Backward pass through steps [begin, end) for some rows. `ds` is the state's gradient, [value, key]:
//
//     dS <- dS + dy r^T     dk = dS^T v     dv = dS k     u = dS beta     d(beta) = dS^T (S alpha)
//     df = -sum_i dS S      d(alpha) = S^T u              dS <- dS diag(1 - f) + u alpha^T
//
// with S the state before the step.
template <typename Real>
RM_INLINE void backward_rows(
    const Chunk<Real>& chunk, int begin, int end, int first, const RowStates<Real>& states,
    Real* ds_memory, StepGradient<Real>* d) {
  using V = Vector<Real>;
  constexpr int lanes = Lanes<Real>::count, rows = kBackwardRows, vectors = kHead / lanes;
  V ds[rows][vectors];
  RM_UNROLL
  for (int i = 0; i < rows; ++i)
    RM_UNROLL
    for (int c = 0; c < vectors; ++c) ds[i][c] = load(ds_memory + (first + i) * kHead + c * lanes);
  for (int t = end - 1; t >= begin; --t) {
    const Step<Real>& current = chunk.steps[t];
    V parts[2 * rows] = {};  // partial sums of dv and u
    RM_UNROLL
    for (int c = 0; c < vectors; ++c) {
      const int offset = c * lanes;
      const V r = load(current.r + offset), k = load(current.k + offset);
      const V b = load(current.beta + offset);
      V dk = load(d[t].k + offset), dbeta = load(d[t].beta + offset);
      RM_UNROLL
      for (int i = 0; i < rows; ++i) {
        ds[i][c] += r * current.y[first + i];
        dk += ds[i][c] * current.v[first + i];
        dbeta += ds[i][c] * current.removed[first + i];
        parts[i] += ds[i][c] * k;
        parts[rows + i] += ds[i][c] * b;
      }
      store(d[t].k + offset, dk);
      store(d[t].beta + offset, dbeta);
    }
    Real dv_and_u[2 * rows];
    sums_to(parts, dv_and_u);
    RM_UNROLL
    for (int i = 0; i < rows; ++i) d[t].v[first + i] += dv_and_u[i];
    const Real* u = dv_and_u + rows;
    RM_UNROLL
    for (int c = 0; c < vectors; ++c) {
      const int offset = c * lanes;
      const V f = load(current.f + offset), alpha = load(current.alpha + offset);
      V df = load(d[t].f + offset), dalpha = load(d[t].alpha + offset);
      RM_UNROLL
      for (int i = 0; i < rows; ++i) {
        const V s = load(states[t - begin][i] + offset);
        df -= ds[i][c] * s;
        dalpha += s * u[i];
        ds[i][c] -= ds[i][c] * f;
        ds[i][c] += alpha * u[i];
        if (chunk.reset[t]) ds[i][c] = V{};
      }
      store(d[t].f + offset, df);
      store(d[t].alpha + offset, dalpha);
    }
  }
  RM_UNROLL
  for (int i = 0; i < rows; ++i)
    RM_UNROLL
    for (int c = 0; c < vectors; ++c) store(ds_memory + (first + i) * kHead + c * lanes, ds[i][c]);
}

template <typename Real>
struct alignas(64) ChunkMemory {
  Chunk<Real> chunk;
  StepGradient<Real> gradients[kChunk];
  RowStates<Real> states;
};

// Gradients of a chunk whose steps hold `removed` and, in `y`, the gradients of the outputs. `start` is
// the state before the chunk; `ds` is the gradient of the state after it and becomes the gradient of
// the state before it; both are [value, key]. Gradients are added to `d`. `states` is scratch memory.
template <typename Real>
void backward_chunk(
    const Chunk<Real>& chunk, const Real* start, Real* ds, StepGradient<Real> (&d)[kChunk],
    RowStates<Real>& states) {
  constexpr int half = kBackwardSteps;
  static_assert(kChunk == 2 * half, "a chunk is processed in two halves");
  alignas(64) Real middle[kBackwardRows * kHead];
  for (int first = 0; first < kHead; first += kBackwardRows) {
    const Real* begin = start + first * kHead;
    if (chunk.count > half) {
      recompute_states<false>(chunk, 0, half, first, begin, middle, states, d);
      recompute_states<true>(chunk, half, chunk.count, first, middle, middle, states, d);
      backward_rows(chunk, half, chunk.count, first, states, ds, d);
    }
    const int end = std::min(half, chunk.count);
    recompute_states<true>(chunk, 0, end, first, begin, middle, states, d);
    backward_rows(chunk, 0, end, first, states, ds, d);
  }
}

}  // namespace rwkv_music
