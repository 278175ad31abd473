// Reading and writing the channels of one head of one step, and walking over heads.
#pragma once

#include <algorithm>
#include <vector>

#include "arguments.h"
#include "recurrence.h"
#include "threads.h"

namespace rwkv_music {

// The type to compute in: float32 for bfloat16.
template <typename Stored>
struct ComputedIn {
  using type = float;
};
template <>
struct ComputedIn<double> {
  using type = double;
};

template <typename Real, typename Stored>
RM_INLINE void load_head(const Stored* from, Real* to) {
  for (int c = 0; c < kHead; c += Lanes<Real>::count) store(to + c, load(from + c));
}

template <typename Stored, typename Real>
RM_INLINE void store_head(Stored* to, const Real* from) {
  for (int c = 0; c < kHead; c += Lanes<Real>::count) store(to + c, load(from + c));
}

// For gradients and for what is kept for the backward: neither is read soon.
template <typename Stored, typename Real>
RM_INLINE void stream_head(Stored* to, const Real* from) {
  if constexpr (std::is_same_v<Stored, Real>)
    for (int c = 0; c < kHead; c += Lanes<Real>::count) stream(to + c, load(from + c));
  else
    store_head(to, from);
}

template <typename Real>
void stream_state(Real* to, const Real* from) {
  for (int64_t i = 0; i < kState; i += Lanes<Real>::count) stream(to + i, load(from + i));
}

// A matrix for each of several heads, at addresses that vectors like.
template <typename Real>
class HeadStates {
 public:
  explicit HeadStates(int64_t heads) : memory_(heads * kState + kAlignment / sizeof(Real)) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    first_ = reinterpret_cast<Real*>(ceil_div(address, kAlignment) * kAlignment);
  }
  Real* operator[](int64_t head) const { return first_ + head * kState; }

 private:
  static constexpr int64_t kAlignment = 64;
  std::vector<Real> memory_;
  Real* first_;
};

// Calls task(batch, first head, heads) for groups of heads of one sequence. Heads of a step lie side
// by side in memory: a group that walks through time together reads it in one stream. There are only
// as many groups as the threads need.
template <typename Task>
void for_each_group(const Sizes& sizes, const Task& task) {
  const int64_t threads = std::max(sizes.threads, 1), enough = 4 * threads;
  int64_t groups = 1;
  while (groups < sizes.heads && sizes.batch * groups % threads && sizes.batch * groups < enough)
    ++groups;
  const int64_t together = ceil_div(sizes.heads, groups);
  groups = ceil_div(sizes.heads, together);
  for_each_task(sizes.batch * groups, sizes.threads, [&](int64_t i) {
    const int64_t first = i % groups * together;
    task(i / groups, first, std::min(together, sizes.heads - first));
    finish_streams();
  });
}

}  // namespace rwkv_music
