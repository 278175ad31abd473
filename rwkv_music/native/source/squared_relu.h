// max(x, 0)^2 and its gradient, in one pass each.
#pragma once

#include "sequences.h"
#include "threads.h"

namespace rwkv_music {

struct SquaredRelu {
  int64_t count;  // elements
  int32_t type, threads;
  const void* x;
  const void* d_out;  // null in the forward pass
  void* out;          // the gradient of x in the backward pass
};

template <typename Stored>
void squared_relu(const SquaredRelu& s) {
  using Real = typename ComputeType<Stored>::type;
  constexpr int64_t lanes = Lanes<Real>::count, block = 1 << 14;
  const Stored *x = static_cast<const Stored*>(s.x), *d_out = static_cast<const Stored*>(s.d_out);
  Stored* out = static_cast<Stored*>(s.out);
  const auto apply = [&](const Stored* from, const Stored* d_from, Stored* to) {
    // This order of arguments propagates NaN.
    const Vector<Real> positive = maximum<Real>(Vector<Real>{}, load(from));
    store(to, positive * (d_from ? load(d_from) * Real(2) : positive));
  };
  for_each_task(ceil_div(s.count, block), s.threads, [&](int64_t task) {
    const int64_t end = std::min((task + 1) * block, s.count);
    int64_t i = task * block;
    for (; i + lanes <= end; i += lanes) apply(x + i, d_out ? d_out + i : nullptr, out + i);
    if (i == end) return;
    Stored tail[3][lanes] = {};  // the remainder is shorter than a vector
    std::copy(x + i, x + end, tail[0]);
    if (d_out) std::copy(d_out + i, d_out + end, tail[1]);
    apply(tail[0], d_out ? tail[1] : nullptr, tail[2]);
    std::copy(tail[2], tail[2] + (end - i), out + i);
  });
}

}  // namespace rwkv_music
