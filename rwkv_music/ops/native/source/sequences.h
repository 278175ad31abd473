// Reading and writing the channels of one head of one step.
#pragma once

#include "arguments.h"
#include "recurrence.h"

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

}  // namespace rwkv_music
