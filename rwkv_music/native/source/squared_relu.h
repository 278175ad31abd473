// max(x, 0)^2 and its gradient, each in one pass.
#pragma once

#include "sequences.h"
#include "threads.h"

namespace rwkv_music {

struct SquaredRelu {
  int64_t count;  // of numbers
  int32_t type, threads;
  const void* x;
  const void* d_out;  // null in the forward
  void* out;          // in the backward, the gradient of x
};

template <typename Stored>
void squared_relu(const SquaredRelu& s) {
  using Real = typename ComputedIn<Stored>::type;
  constexpr int64_t lanes = Lanes<Real>::count, block = 1 << 14;
  const Stored *x = static_cast<const Stored*>(s.x), *d_out = static_cast<const Stored*>(s.d_out);
  Stored* out = static_cast<Stored*>(s.out);
  const auto at_once = [&](const Stored* from, const Stored* d_from, Stored* to) {
    // The order of the two lets a NaN through.
    const Vector<Real> positive = maximum<Real>(Vector<Real>{}, load(from));
    store(to, positive * (d_from ? load(d_from) * Real(2) : positive));
  };
  for_each_task(ceil_div(s.count, block), s.threads, [&](int64_t task) {
    const int64_t end = std::min((task + 1) * block, s.count);
    int64_t i = task * block;
    for (; i + lanes <= end; i += lanes) at_once(x + i, d_out ? d_out + i : nullptr, out + i);
    if (i == end) return;
    Stored tail[3][lanes] = {};  // what is left fills no vector
    std::copy(x + i, x + end, tail[0]);
    if (d_out) std::copy(d_out + i, d_out + end, tail[1]);
    at_once(tail[0], d_out ? tail[1] : nullptr, tail[2]);
    std::copy(tail[2], tail[2] + (end - i), out + i);
  });
}

}  // namespace rwkv_music
