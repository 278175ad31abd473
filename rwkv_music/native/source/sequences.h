// Loads and stores of one head at one step, and iteration over heads.
#pragma once

#include <algorithm>
#include <vector>

#include "arguments.h"
#include "recurrence.h"
#include "threads.h"

namespace rwkv_music {

// The type of computation: float32 for bfloat16.
template <typename Stored>
struct ComputeType {
  using type = float;
};
template <>
struct ComputeType<double> {
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

// For gradients and tensors saved for the backward, which are not read soon.
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

// One state matrix per head, aligned for vectors.
template <typename Real>
class HeadStates {
 public:
  explicit HeadStates(int64_t heads) : memory_(heads * kState + kAlignment / sizeof(Real)) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    data_ = reinterpret_cast<Real*>(ceil_div(address, kAlignment) * kAlignment);
  }
  Real* operator[](int64_t head) const { return data_ + head * kState; }

 private:
  static constexpr int64_t kAlignment = 64;
  std::vector<Real> memory_;
  Real* data_;
};

// Calls task(batch, first head, heads) for groups of heads of one sequence. The heads of a step are
// adjacent in memory, so that a group processed together reads one stream. There are no more groups
// than the threads need.
template <typename Task>
void for_each_group(const Sizes& sizes, const Task& task) {
  const int64_t threads = std::max(sizes.threads, 1), min_tasks = 4 * threads;
  int64_t groups = 1;
  while (groups < sizes.heads && sizes.batch * groups % threads && sizes.batch * groups < min_tasks)
    ++groups;
  const int64_t heads_per_group = ceil_div(sizes.heads, groups);
  groups = ceil_div(sizes.heads, heads_per_group);
  for_each_task(sizes.batch * groups, sizes.threads, [&](int64_t i) {
    const int64_t first = i % groups * heads_per_group;
    task(i / groups, first, std::min(heads_per_group, sizes.heads - first));
    finish_streams();
  });
}

}  // namespace rwkv_music
