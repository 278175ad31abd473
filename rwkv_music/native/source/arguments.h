// Structures passed from Python, equal to those in rwkv_music/ops/tensor_arguments.py. All offsets are
// 64-bit; strides count elements, not bytes.
#pragma once

#include <cstdint>

#if defined(_WIN32)
#define RM_EXPORT extern "C" __declspec(dllexport)
#else
#define RM_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace rwkv_music {

enum DType : int32_t { kFloat32 = 0, kBFloat16 = 1, kFloat64 = 2 };

// A tensor of shape [batch, step, head, channel] with contiguous channels.
struct Sequence {
  void* data;
  int64_t batch_stride, step_stride, head_stride;
};

template <typename Stored>
inline Stored* at(const Sequence& sequence, int64_t batch, int64_t step, int64_t head) {
  return static_cast<Stored*>(sequence.data) + batch * sequence.batch_stride +
         step * sequence.step_stride + head * sequence.head_stride;
}

// Sizes of an operator over sequences.
struct Sizes {
  int64_t batch, steps, heads;
  int32_t type;     // a DType, of the sequences
  int32_t threads;  // maximum
};

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace rwkv_music
