// Products of a weight matrix with a few vectors, for decoding token by token.
//
// Sixteen rows of a matrix are interleaved in a panel, [columns, 16], so that vectors run over rows and
// need no sums across lanes; once loaded and widened they are used for all vectors of the batch.
// bfloat16 and int8 weights are stored in pairs of columns, [columns / 2, 16, 2], which one instruction
// widens.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>

#include "arguments.h"
#include "functions.h"

namespace rwkv_music {

constexpr int kPanel = 16;
constexpr int kPrefetchBytes = 1024;  // prefetch distance in bytes

enum WeightType : int32_t { kWeightFloat32 = 0, kWeightBFloat16 = 1, kWeightInt8 = 2 };

struct Matrix {
  const void* panels;   // [ceil(rows / 16), columns, 16], or in pairs of columns
  const float* scales;  // [16 ceil(rows / 16)], one per row, for int8; null otherwise
  int64_t rows, columns;
  int32_t type;  // a WeightType
};

// The weights of a few rows in one column, or a pair of columns, with their multiply-add.
template <typename Weight>
struct ColumnWeights;

template <>
struct ColumnWeights<float> {
  using Input = float;
  using Sum = Vector<float>;
  static constexpr int columns = 1;
  Vector<float> weight;

  RM_INLINE explicit ColumnWeights(const float* from) : weight(load(from)) {}
  RM_INLINE void add(Sum& sum, const float* x) const { sum += weight * x[0]; }
};

template <>
struct ColumnWeights<bfloat16> {
  using Input = float;
  using Sum = Vector<float>;
  static constexpr int columns = 2;
  Vector<float> even, odd;

  RM_INLINE explicit ColumnWeights(const bfloat16* from) {
    Words pairs;
    std::memcpy(&pairs, from, sizeof(pairs));
    even = (Vector<float>)(pairs << 16);
    odd = (Vector<float>)(pairs & 0xffff0000u);
  }
  RM_INLINE void add(Sum& sum, const float* x) const {
    sum += even * x[0];
    sum += odd * x[1];
  }
};

// Integer arithmetic: widening int8 to float32 takes twice as long.
template <>
struct ColumnWeights<int8_t> {
  using Input = int16_t;
  using Sum = Integers<float>;
  static constexpr int columns = 2;
  Shorts weights;

  RM_INLINE explicit ColumnWeights(const int8_t* from) : weights(load_shorts(from)) {}
  RM_INLINE void add(Sum& sum, const int16_t* x) const {
    int32_t pair;
    std::memcpy(&pair, x, sizeof(pair));
    sum += products_of_pairs(weights, pair);
  }
};

// Input vectors of a batch, `stride` elements apart.
template <typename Input>
struct Vectors {
  const Input* data;
  int64_t stride;
  const float* scales;  // one per quantized vector; null otherwise
};

template <typename Weight>
inline int64_t groups_of(int64_t columns) {
  return ceil_div(columns, ColumnWeights<Weight>::columns);
}

// Stride between the vectors of a batch: whole groups of columns, and not a multiple of 2 KiB, where
// many vectors would map to the same sets of the L1 cache.
template <typename Weight>
inline int64_t stride_of(int64_t columns, int64_t batch) {
  constexpr int64_t line = 64 / sizeof(typename ColumnWeights<Weight>::Input);
  const int64_t full = groups_of<Weight>(columns) * ColumnWeights<Weight>::columns;
  return batch > 4 && full % (32 * line) == 0 ? full + line : full;
}

// The columns, or pairs of columns, to multiply, in ascending order; all of them if `list` is null.
struct ColumnGroups {
  const int32_t* list;
  int64_t count;
};

// The groups in which a vector is not zero. The weights of the others are not read: most values of the
// squared ReLU of a trained model are zero.
template <typename Weight>
inline ColumnGroups nonzero_groups(
    const typename ColumnWeights<Weight>::Input* x, int64_t groups, int32_t* list) {
  constexpr int columns = ColumnWeights<Weight>::columns;
  int64_t count = 0;
  for (int64_t group = 0; group < groups; ++group, x += columns) {
    list[count] = static_cast<int32_t>(group);
    count += int(x[0] != 0) | int(x[columns - 1] != 0);  // branch-free; NaN counts as nonzero
  }
  return {list, count};
}

// Multiplies `Panels` panels, from `panel` on, with `Batch` vectors; out is [Batch, rows].
template <bool Listed, typename Weight, int Panels, int Batch>
RM_INLINE void multiply_block(
    const Matrix& m, int64_t panel, const Vectors<typename ColumnWeights<Weight>::Input>& x,
    const ColumnGroups& groups, float* out) {
  using T = ColumnWeights<Weight>;
  constexpr int lanes = Lanes<float>::count, vectors = kPanel / lanes;
  // Several accumulators, over every fourth group each, hide the latency of an addition.
  constexpr int accumulators = Panels * Batch * vectors > 2 ? 1 : 4;
  const int64_t step = T::columns * kPanel, panel_size = groups_of<Weight>(m.columns) * step;
  const Weight* weights = static_cast<const Weight*>(m.panels) + panel * panel_size;
  typename T::Sum sums[accumulators][Panels][Batch][vectors] = {};
  const auto add = [&](int64_t i_group, auto& to) RM_INLINE_LAMBDA {
    const int64_t group = Listed ? groups.list[i_group] : i_group;
    RM_UNROLL
    for (int p = 0; p < Panels; ++p)
      RM_UNROLL
      for (int i = 0; i < vectors; ++i) {
        const T taps(weights + p * panel_size + group * step + i * lanes * T::columns);
        RM_UNROLL
        for (int b = 0; b < Batch; ++b)
          taps.add(to[p][b][i], x.data + b * x.stride + group * T::columns);
      }
  };
  // Hardware prefetchers stop at page boundaries, where each stream would stall.
  const auto prefetch = [&](int64_t i) RM_INLINE_LAMBDA {
    constexpr int64_t distance = kPrefetchBytes / (T::columns * kPanel * sizeof(Weight));
    const int64_t next = Listed ? groups.list[std::min(i + distance, groups.count - 1)] : i + distance;
    RM_UNROLL
    for (int p = 0; p < Panels; ++p) {
      const char* from = reinterpret_cast<const char*>(weights + p * panel_size + next * step);
      RM_UNROLL
      for (size_t j = 0; j < accumulators * step * sizeof(Weight); j += 64) __builtin_prefetch(from + j);
    }
  };
  int64_t group = 0;
  for (; group + accumulators <= groups.count; group += accumulators) {
    prefetch(group);
    RM_UNROLL
    for (int k = 0; k < accumulators; ++k) add(group + k, sums[k]);
  }
  for (; group < groups.count; ++group) add(group, sums[0]);
  for (int p = 0; p < Panels; ++p) {
    const int64_t row = (panel + p) * kPanel, count = std::min<int64_t>(kPanel, m.rows - row);
    for (int b = 0; b < Batch; ++b) {
      float rows[kPanel];
      RM_UNROLL
      for (int i = 0; i < vectors; ++i) {
        typename T::Sum total = sums[0][p][b][i];
        for (int k = 1; k < accumulators; ++k) total += sums[k][p][b][i];
        Vector<float> result = __builtin_convertvector(total, Vector<float>);
        if (m.scales) result *= load(m.scales + row + i * lanes) * x.scales[b];
        store(rows + i * lanes, result);
      }
      std::memcpy(out + b * m.rows + row, rows, count * sizeof(float));
    }
  }
}

template <bool Listed, typename Weight, int Panels, int Batch>
void multiply_all(
    const Matrix& m, const Vectors<typename ColumnWeights<Weight>::Input>& x, const ColumnGroups& groups,
    float* out) {
  const int64_t panels = ceil_div(m.rows, kPanel);
  int64_t panel = 0;
  for (; panel + Panels <= panels; panel += Panels)
    multiply_block<Listed, Weight, Panels, Batch>(m, panel, x, groups, out);
  for (; panel < panels; ++panel) multiply_block<Listed, Weight, 1, Batch>(m, panel, x, groups, out);
}

// With `has_zeros`, weights that are multiplied by zero are not read.
template <typename Weight>
void multiply(
    const Matrix& m, Vectors<typename ColumnWeights<Weight>::Input> x, float* out, int64_t batch,
    bool has_zeros) {
  const ColumnGroups every_group{nullptr, groups_of<Weight>(m.columns)};
  if (has_zeros && batch == 1) {
    const std::unique_ptr<int32_t[]> list(new int32_t[every_group.count]);
    const ColumnGroups nonzero = nonzero_groups<Weight>(x.data, every_group.count, list.get());
    // If most are nonzero, reading everything in order is faster.
    if (5 * nonzero.count <= 3 * every_group.count)
      return multiply_all<true, Weight, 4, 1>(m, x, nonzero, out);
  }
  const auto multiply_batches = [&](auto batch_size, auto panels) {
    constexpr int Batch = decltype(batch_size)::value, Panels = decltype(panels)::value;
    for (; batch >= Batch; batch -= Batch) {
      multiply_all<false, Weight, Panels, Batch>(m, x, every_group, out);
      x.data += Batch * x.stride;
      if (x.scales) x.scales += Batch;
      out += Batch * m.rows;
    }
  };
  using std::integral_constant;
  multiply_batches(integral_constant<int, 16>{}, integral_constant<int, 1>{});
  multiply_batches(integral_constant<int, 8>{}, integral_constant<int, 2>{});
  multiply_batches(integral_constant<int, 4>{}, integral_constant<int, 2>{});
  multiply_batches(integral_constant<int, 2>{}, integral_constant<int, 4>{});
  multiply_batches(integral_constant<int, 1>{}, integral_constant<int, 4>{});
}

// The largest quantized value: sums over all columns must stay below 2^31.
inline float max_quantized_input(int64_t columns) {
  return static_cast<float>(std::min<int64_t>(32767, 2147483647 / (127 * columns)));
}

// Quantizes a vector to integers and returns the scale; NaN if a value is not finite.
inline float quantize(const float* x, int64_t columns, int16_t* to) {
  constexpr int lanes = Lanes<float>::count;
  using V = Vector<float>;
  V magnitudes{}, nan_checks{};
  const int64_t full = columns / lanes * lanes;
  for (int64_t c = 0; c < full; c += lanes) {
    const V values = load(x + c);
    magnitudes = maximum<float>(magnitudes, maximum<float>(values, -values));
    nan_checks += values * 0.0f;
  }
  float largest = 0.0f, nan_check = sum<float>(nan_checks);
  for (int i = 0; i < lanes; ++i) largest = std::max(largest, magnitudes[i]);
  for (int64_t c = full; c < columns; ++c) {
    largest = std::max(largest, std::fabs(x[c]));
    nan_check += x[c] * 0.0f;
  }
  const float limit = max_quantized_input(columns), factor = limit / largest;
  if (nan_check != 0.0f || !(factor < INFINITY)) {  // NaN or infinity; or all values underflow
    std::fill(to, to + columns, int16_t(0));
    return nan_check;
  }
  for (int64_t c = 0; c < full; c += lanes) {
    // Adding 1.5 * 2^23 rounds to an integer in the lower bits.
    const V shifted = load(x + c) * factor + Precision<float>::rounding;
    const Words quantized = (Words)shifted;
    const Halves halves = __builtin_convertvector(quantized, Halves);
    std::memcpy(to + c, &halves, sizeof(halves));
  }
  for (int64_t c = full; c < columns; ++c) to[c] = static_cast<int16_t>(std::lrintf(x[c] * factor));
  return largest / limit;
}

inline void multiply_int8(
    const Matrix& m, const float* x, float* out, int64_t batch, bool has_zeros) {
  const int64_t stride = stride_of<int8_t>(m.columns, batch);
  const std::unique_ptr<int16_t[]> quantized(new int16_t[batch * stride]());
  const std::unique_ptr<float[]> scales(new float[batch]);
  for (int64_t b = 0; b < batch; ++b)
    scales[b] = quantize(x + b * m.columns, m.columns, quantized.get() + b * stride);
  multiply<int8_t>(m, {quantized.get(), stride, scales.get()}, out, batch, has_zeros);
}

template <typename Weight>
void multiply_unscaled(
    const Matrix& m, const float* x, float* out, int64_t batch, bool has_zeros) {
  const int64_t stride = stride_of<Weight>(m.columns, batch);
  if (stride == m.columns)
    return multiply<Weight>(m, {x, stride, nullptr}, out, batch, has_zeros);
  const std::unique_ptr<float[]> padded(new float[batch * stride]());
  for (int64_t b = 0; b < batch; ++b)
    std::copy_n(x + b * m.columns, m.columns, padded.get() + b * stride);
  multiply<Weight>(m, {padded.get(), stride, nullptr}, out, batch, has_zeros);
}

// out = x W^T; x is [batch, columns], out is [batch, rows]. `has_zeros`: many values of x are zero.
inline void multiply(
    const Matrix& m, const float* x, float* out, int64_t batch, bool has_zeros = false) {
  if (m.type == kWeightInt8) return multiply_int8(m, x, out, batch, has_zeros);
  if (m.type == kWeightBFloat16) return multiply_unscaled<bfloat16>(m, x, out, batch, has_zeros);
  multiply_unscaled<float>(m, x, out, batch, has_zeros);
}

}  // namespace rwkv_music
