// The state recurrence of RWKV-7 for one head, a few steps at a time, forward and backward:
//
//     S <- S diag(1 - f) + (S alpha) beta^T + v k^T        y = S r
//
// S is [value, key]; f, what is forgotten, is 1 - decay. Rows of S (values) are independent of one
// another in both directions; only five sums of the backward cross them. The backward runs through
// states computed forward again from a stored one: stepping back by dividing by the decay would
// amplify rounding errors.
#pragma once

#include "functions.h"

namespace rwkv_music {

constexpr int kHead = 64;   // channels of a head, N
constexpr int kChunk = 32;  // steps between stored states
constexpr int64_t kState = kHead * kHead;

// A step of one head. What belongs to a step lies together: arrays over steps would lie exactly 4 KiB
// apart and drive one another out of the cache.
template <typename Real>
struct alignas(64) Step {
  Real r[kHead], f[kHead], k[kHead], v[kHead], alpha[kHead], beta[kHead];
  Real removed[kHead];  // S alpha, which the forward finds
  Real y[kHead];        // outputs in the forward, their gradients in the backward
};

template <typename Real>
struct alignas(64) StepGradient {
  Real r[kHead], f[kHead], k[kHead], v[kHead], alpha[kHead], beta[kHead];
};

template <typename Real>
struct Chunk {
  int count;
  bool reset[kChunk];  // the state is zeroed before this step
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
  V u0{}, u1{};  // S alpha of the coming step
  for (int j = 0; j < kHead; ++j) {
    u0 += load(state + j * kHead + first) * chunk.steps[0].alpha[j];
    u1 += load(state + j * kHead + first + lanes) * chunk.steps[0].alpha[j];
  }
  for (int t = 0; t < chunk.count; ++t) {
    Step<Real>& now = chunk.steps[t];
    if (chunk.reset[t]) {
      for (int j = 0; j < kHead; ++j) {
        store(state + j * kHead + first, V{});
        store(state + j * kHead + first + lanes, V{});
      }
      u0 = u1 = V{};
    }
    store(now.removed + first, u0);
    store(now.removed + first + lanes, u1);
    const V v0 = load(now.v + first), v1 = load(now.v + first + lanes);
    const Real* next_alpha = chunk.steps[t + 1 < chunk.count ? t + 1 : t].alpha;
    V y0{}, y1{}, next0{}, next1{};
    for (int j = 0; j < kHead; ++j) {
      Real* place = state + j * kHead + first;
      V s0 = load(place), s1 = load(place + lanes);
      s0 -= s0 * now.f[j];
      s1 -= s1 * now.f[j];
      s0 += u0 * now.beta[j];
      s1 += u1 * now.beta[j];
      s0 += v0 * now.k[j];
      s1 += v1 * now.k[j];
      y0 += s0 * now.r[j];
      y1 += s1 * now.r[j];
      next0 += s0 * next_alpha[j];
      next1 += s1 * next_alpha[j];
      store(place, s0);
      store(place + lanes, s1);
    }
    store(now.y + first, y0);
    store(now.y + first + lanes, y1);
    u0 = next0;
    u1 = next1;
  }
}

// Fills in `removed` and `y` and advances `state`, which is transposed: [key, value]. Its vectors
// then run over values, and no sums across lanes are needed.
template <typename Real>
void forward_chunk(Chunk<Real>& chunk, Real* state) {
  for (int first = 0; first < kHead; first += 2 * Lanes<Real>::count)
    forward_values(chunk, first, state);
}

// Rows of the state, and steps, handled at once by the backward: their states stay in the first cache.
constexpr int kBackwardRows = 4;
constexpr int kBackwardSteps = 16;

template <typename Real>
using RowStates = Real[kBackwardSteps][kBackwardRows][kHead];

// Runs steps [begin, end) forward again for rows [first, first + kBackwardRows) of the state before
// `begin`. With `Keep` it stores what each step finds and adds these rows' share of dr = S^T dy, which
// needs what each step leaves; without it only `after` is filled.
template <bool Keep, typename Real>
RM_INLINE void states_again(
    const Chunk<Real>& chunk, int begin, int end, int first, const Real* before, Real* after,
    RowStates<Real>& found, StepGradient<Real>* d) {
  using V = Vector<Real>;
  for (int c = 0; c < kHead; c += Lanes<Real>::count) {
    V s[kBackwardRows];
    RM_UNROLL
    for (int i = 0; i < kBackwardRows; ++i) s[i] = load(before + i * kHead + c);
    for (int t = begin; t < end; ++t) {
      const Step<Real>& now = chunk.steps[t];
      const V f = load(now.f + c), k = load(now.k + c), beta = load(now.beta + c);
      if (chunk.reset[t]) {
        RM_UNROLL
        for (int i = 0; i < kBackwardRows; ++i) s[i] = V{};
      }
      V dr[2] = {};  // two sums, since each waits for the one before it
      RM_UNROLL
      for (int i = 0; i < kBackwardRows; ++i) {
        if constexpr (Keep) store(found[t - begin][i] + c, s[i]);
        s[i] -= s[i] * f;
        s[i] += beta * now.removed[first + i];
        s[i] += k * now.v[first + i];
        if constexpr (Keep) dr[i % 2] += s[i] * now.y[first + i];
      }
      if constexpr (Keep) store(d[t].r + c, load(d[t].r + c) + dr[0] + dr[1]);
    }
    if constexpr (!Keep) {
      RM_UNROLL
      for (int i = 0; i < kBackwardRows; ++i) store(after + i * kHead + c, s[i]);
    }
  }
}

// Walks back through steps [begin, end) for some rows. `ds` is the gradient of the state, [value, key]:
//
//     dS <- dS + dy r^T     dk = dS^T v     dv = dS k     u = dS beta     d(beta) = dS^T (S alpha)
//     df = -sum_i dS S      d(alpha) = S^T u              dS <- dS diag(1 - f) + u alpha^T
//
// with S the state the step found.
template <typename Real>
RM_INLINE void back_through_rows(
    const Chunk<Real>& chunk, int begin, int end, int first, const RowStates<Real>& found,
    Real* ds_memory, StepGradient<Real>* d) {
  using V = Vector<Real>;
  constexpr int lanes = Lanes<Real>::count, rows = kBackwardRows, vectors = kHead / lanes;
  V ds[rows][vectors];
  RM_UNROLL
  for (int i = 0; i < rows; ++i)
    RM_UNROLL
    for (int c = 0; c < vectors; ++c) ds[i][c] = load(ds_memory + (first + i) * kHead + c * lanes);
  for (int t = end - 1; t >= begin; --t) {
    const Step<Real>& now = chunk.steps[t];
    V parts[2 * rows] = {};  // of dv and of u
    RM_UNROLL
    for (int c = 0; c < vectors; ++c) {
      const int at = c * lanes;
      const V r = load(now.r + at), k = load(now.k + at), b = load(now.beta + at);
      V dk = load(d[t].k + at), dbeta = load(d[t].beta + at);
      RM_UNROLL
      for (int i = 0; i < rows; ++i) {
        ds[i][c] += r * now.y[first + i];
        dk += ds[i][c] * now.v[first + i];
        dbeta += ds[i][c] * now.removed[first + i];
        parts[i] += ds[i][c] * k;
        parts[rows + i] += ds[i][c] * b;
      }
      store(d[t].k + at, dk);
      store(d[t].beta + at, dbeta);
    }
    Real dv_and_u[2 * rows];
    sums_to(parts, dv_and_u);
    RM_UNROLL
    for (int i = 0; i < rows; ++i) d[t].v[first + i] += dv_and_u[i];
    const Real* u = dv_and_u + rows;
    RM_UNROLL
    for (int c = 0; c < vectors; ++c) {
      const int at = c * lanes;
      const V f = load(now.f + at), alpha = load(now.alpha + at);
      V df = load(d[t].f + at), dalpha = load(d[t].alpha + at);
      RM_UNROLL
      for (int i = 0; i < rows; ++i) {
        const V s = load(found[t - begin][i] + at);
        df -= ds[i][c] * s;
        dalpha += s * u[i];
        ds[i][c] -= ds[i][c] * f;
        ds[i][c] += alpha * u[i];
        if (chunk.reset[t]) ds[i][c] = V{};
      }
      store(d[t].f + at, df);
      store(d[t].alpha + at, dalpha);
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
  RowStates<Real> found;
};

// Gradients of a chunk whose steps hold `removed` and, in place of y, its gradients. `start` is the
// state before it, `ds` the gradient of the state behind it, which becomes that of the state before
// it; both [value, key]. What is found is added to what `d` holds. `found` is room to work in.
template <typename Real>
void backward_chunk(
    const Chunk<Real>& chunk, const Real* start, Real* ds, StepGradient<Real> (&d)[kChunk],
    RowStates<Real>& found) {
  constexpr int half = kBackwardSteps;
  static_assert(kChunk == 2 * half, "a chunk is walked through in two halves");
  alignas(64) Real middle[kBackwardRows * kHead];
  for (int first = 0; first < kHead; first += kBackwardRows) {
    const Real* begin = start + first * kHead;
    if (chunk.count > half) {
      states_again<false>(chunk, 0, half, first, begin, middle, found, d);
      states_again<true>(chunk, half, chunk.count, first, middle, middle, found, d);
      back_through_rows(chunk, half, chunk.count, first, found, ds, d);
    }
    const int end = std::min(half, chunk.count);
    states_again<true>(chunk, 0, end, first, begin, middle, found, d);
    back_through_rows(chunk, 0, end, first, found, ds, d);
  }
}

}  // namespace rwkv_music
