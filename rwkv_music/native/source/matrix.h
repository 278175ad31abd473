// Products of a weight matrix with a few vectors, for decoding token by token.
//
// Sixteen rows of a matrix lie interleaved in a panel, [columns, 16]: its vectors then run over rows,
// need no sums across lanes, and serve all vectors of the batch once they are loaded and widened.
// Narrow weights lie in pairs of columns, [columns / 2, 16, 2], which widen in one instruction each.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>

#include "arguments.h"
#include "functions.h"

namespace rwkv_music {

constexpr int kPanel = 16;
constexpr int kAhead = 1024;  // bytes to prefetch ahead of what is read

enum WeightType : int32_t { kWeightFloat32 = 0, kWeightBFloat16 = 1, kWeightInt8 = 2 };

struct Matrix {
  const void* panels;   // [ceil(rows / 16), columns, 16], or in pairs of columns
  const float* scales;  // [16 ceil(rows / 16)] for int8, each row's; null otherwise
  int64_t rows, columns;
  int32_t type;  // a WeightType
};

// The weights of a few rows in one column or a pair of them, and how to multiply and add them.
template <typename Weight>
struct Taps;

template <>
struct Taps<float> {
  using Input = float;
  using Sum = Vector<float>;
  static constexpr int columns = 1;
  Vector<float> weight;

  RM_INLINE explicit Taps(const float* from) : weight(load(from)) {}
  RM_INLINE void add(Sum& sum, const float* x) const { sum += weight * x[0]; }
};

template <>
struct Taps<bfloat16> {
  using Input = float;
  using Sum = Vector<float>;
  static constexpr int columns = 2;
  Vector<float> even, odd;

  RM_INLINE explicit Taps(const bfloat16* from) {
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

// In whole numbers: widening int8 to float32 and multiplying there takes twice as long.
template <>
struct Taps<int8_t> {
  using Input = int16_t;
  using Sum = Integers<float>;
  static constexpr int columns = 2;
  Shorts weights;

  RM_INLINE explicit Taps(const int8_t* from) : weights(load_shorts(from)) {}
  RM_INLINE void add(Sum& sum, const int16_t* x) const {
    int32_t pair;
    std::memcpy(&pair, x, sizeof(pair));
    sum += products_of_pairs(weights, pair);
  }
};

// Vectors as `Taps` multiplies them; those of a batch lie `stride` apart.
template <typename Input>
struct Vectors {
  const Input* data;
  int64_t stride;
  const float* scales;  // of whole numbers, each vector's; null otherwise
};

template <typename Weight>
inline int64_t groups_of(int64_t columns) {
  return ceil_div(columns, Taps<Weight>::columns);
}

// How far apart the vectors of a batch are to lie: whole groups of columns, and not by a multiple of
// 2 KiB, where many vectors share few places of the first cache and drive one another out of it.
template <typename Weight>
inline int64_t stride_of(int64_t columns, int64_t batch) {
  constexpr int64_t line = 64 / sizeof(typename Taps<Weight>::Input);
  const int64_t whole = groups_of<Weight>(columns) * Taps<Weight>::columns;
  return batch > 4 && whole % (32 * line) == 0 ? whole + line : whole;
}

// The columns or pairs of them to multiply, in rising order: all of them where there is no list.
struct Groups {
  const int32_t* list;
  int64_t count;
};

// Those in which a vector is not zero. The others add nothing, and their weights need not be read:
// of the squared ReLU of a trained model most numbers are zero.
template <typename Weight>
inline Groups groups_that_count(
    const typename Taps<Weight>::Input* x, int64_t groups, int32_t* list) {
  constexpr int columns = Taps<Weight>::columns;
  int64_t count = 0;
  for (int64_t group = 0; group < groups; ++group, x += columns) {
    list[count] = static_cast<int32_t>(group);
    count += int(x[0] != 0) | int(x[columns - 1] != 0);  // without a branch; a NaN is not zero
  }
  return {list, count};
}

// `Panels` panels from `panel` on, times `Batch` vectors; out is [Batch, rows].
template <bool Listed, typename Weight, int Panels, int Batch>
RM_INLINE void multiply_block(
    const Matrix& m, int64_t panel, const Vectors<typename Taps<Weight>::Input>& x,
    const Groups& groups, float* out) {
  using T = Taps<Weight>;
  constexpr int lanes = Lanes<float>::count, vectors = kPanel / lanes;
  // Several sums, of every fourth column or pair each, hide that a sum waits for the one before it.
  constexpr int apart = Panels * Batch * vectors > 2 ? 1 : 4;
  const int64_t step = T::columns * kPanel, panel_size = groups_of<Weight>(m.columns) * step;
  const Weight* weights = static_cast<const Weight*>(m.panels) + panel * panel_size;
  typename T::Sum sums[apart][Panels][Batch][vectors] = {};
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
  // A processor prefetches to the end of a page only, where each of our streams would wait.
  const auto expect = [&](int64_t i) RM_INLINE_LAMBDA {
    constexpr int64_t ahead = kAhead / (T::columns * kPanel * sizeof(Weight));
    const int64_t next = Listed ? groups.list[std::min(i + ahead, groups.count - 1)] : i + ahead;
    RM_UNROLL
    for (int p = 0; p < Panels; ++p) {
      const char* from = reinterpret_cast<const char*>(weights + p * panel_size + next * step);
      RM_UNROLL
      for (size_t j = 0; j < apart * step * sizeof(Weight); j += 64) __builtin_prefetch(from + j);
    }
  };
  int64_t group = 0;
  for (; group + apart <= groups.count; group += apart) {
    expect(group);
    RM_UNROLL
    for (int k = 0; k < apart; ++k) add(group + k, sums[k]);
  }
  for (; group < groups.count; ++group) add(group, sums[0]);
  for (int p = 0; p < Panels; ++p) {
    const int64_t row = (panel + p) * kPanel, count = std::min<int64_t>(kPanel, m.rows - row);
    for (int b = 0; b < Batch; ++b) {
      float rows[kPanel];
      RM_UNROLL
      for (int i = 0; i < vectors; ++i) {
        typename T::Sum total = sums[0][p][b][i];
        for (int k = 1; k < apart; ++k) total += sums[k][p][b][i];
        Vector<float> found = __builtin_convertvector(total, Vector<float>);
        if (m.scales) found *= load(m.scales + row + i * lanes) * x.scales[b];
        store(rows + i * lanes, found);
      }
      std::memcpy(out + b * m.rows + row, rows, count * sizeof(float));
    }
  }
}

template <bool Listed, typename Weight, int Panels, int Batch>
void multiply_all(
    const Matrix& m, const Vectors<typename Taps<Weight>::Input>& x, const Groups& groups,
    float* out) {
  const int64_t panels = ceil_div(m.rows, kPanel);
  int64_t panel = 0;
  for (; panel + Panels <= panels; panel += Panels)
    multiply_block<Listed, Weight, Panels, Batch>(m, panel, x, groups, out);
  for (; panel < panels; ++panel) multiply_block<Listed, Weight, 1, Batch>(m, panel, x, groups, out);
}

// With `has_zeros`, weights that meet a zero are not read.
template <typename Weight>
void multiply(
    const Matrix& m, Vectors<typename Taps<Weight>::Input> x, float* out, int64_t batch,
    bool has_zeros) {
  const Groups all{nullptr, groups_of<Weight>(m.columns)};
  if (has_zeros && batch == 1) {
    const std::unique_ptr<int32_t[]> list(new int32_t[all.count]);
    const Groups some = groups_that_count<Weight>(x.data, all.count, list.get());
    // Where most count, reading everything in order is faster.
    if (5 * some.count <= 3 * all.count) return multiply_all<true, Weight, 4, 1>(m, x, some, out);
  }
  const auto some = [&](auto several, auto panels) {
    constexpr int Batch = decltype(several)::value, Panels = decltype(panels)::value;
    for (; batch >= Batch; batch -= Batch) {
      multiply_all<false, Weight, Panels, Batch>(m, x, all, out);
      x.data += Batch * x.stride;
      if (x.scales) x.scales += Batch;
      out += Batch * m.rows;
    }
  };
  using std::integral_constant;
  some(integral_constant<int, 16>{}, integral_constant<int, 1>{});
  some(integral_constant<int, 8>{}, integral_constant<int, 2>{});
  some(integral_constant<int, 4>{}, integral_constant<int, 2>{});
  some(integral_constant<int, 2>{}, integral_constant<int, 4>{});
  some(integral_constant<int, 1>{}, integral_constant<int, 4>{});
}

// The largest whole number that x may become: sums over all columns must stay below 2^31.
inline float largest_input(int64_t columns) {
  return static_cast<float>(std::min<int64_t>(32767, 2147483647 / (127 * columns)));
}

// Rounds a vector to whole numbers and returns their scale, a NaN if a number was not finite.
inline float quantize(const float* x, int64_t columns, int16_t* to) {
  constexpr int lanes = Lanes<float>::count;
  using V = Vector<float>;
  V sizes{}, nothings{};
  const int64_t whole = columns / lanes * lanes;
  for (int64_t c = 0; c < whole; c += lanes) {
    const V here = load(x + c);
    sizes = maximum<float>(sizes, maximum<float>(here, -here));
    nothings += here * 0.0f;
  }
  float largest = 0.0f, nothing = sum<float>(nothings);
  for (int i = 0; i < lanes; ++i) largest = std::max(largest, sizes[i]);
  for (int64_t c = whole; c < columns; ++c) {
    largest = std::max(largest, std::fabs(x[c]));
    nothing += x[c] * 0.0f;
  }
  const float limit = largest_input(columns), factor = limit / largest;
  if (nothing != 0.0f || !(factor < INFINITY)) {  // a NaN; or all so small that they are nothing
    std::fill(to, to + columns, int16_t(0));
    return nothing;
  }
  for (int64_t c = 0; c < whole; c += lanes) {
    // Adding 1.5 * 2^23 rounds, and leaves the number in the lower bits.
    const V shifted = load(x + c) * factor + Precision<float>::rounding;
    const Words numbers = (Words)shifted;
    const Halves halves = __builtin_convertvector(numbers, Halves);
    std::memcpy(to + c, &halves, sizeof(halves));
  }
  for (int64_t c = whole; c < columns; ++c) to[c] = static_cast<int16_t>(std::lrintf(x[c] * factor));
  return largest / limit;
}

inline void multiply_int8(
    const Matrix& m, const float* x, float* out, int64_t batch, bool has_zeros) {
  const int64_t stride = stride_of<int8_t>(m.columns, batch);
  const std::unique_ptr<int16_t[]> numbers(new int16_t[batch * stride]());
  const std::unique_ptr<float[]> scales(new float[batch]);
  for (int64_t b = 0; b < batch; ++b)
    scales[b] = quantize(x + b * m.columns, m.columns, numbers.get() + b * stride);
  multiply<int8_t>(m, {numbers.get(), stride, scales.get()}, out, batch, has_zeros);
}

template <typename Weight>
void multiply_unscaled(
    const Matrix& m, const float* x, float* out, int64_t batch, bool has_zeros) {
  const int64_t stride = stride_of<Weight>(m.columns, batch);
  if (stride == m.columns)
    return multiply<Weight>(m, {x, stride, nullptr}, out, batch, has_zeros);
  const std::unique_ptr<float[]> spread(new float[batch * stride]());
  for (int64_t b = 0; b < batch; ++b)
    std::copy_n(x + b * m.columns, m.columns, spread.get() + b * stride);
  multiply<Weight>(m, {spread.get(), stride, nullptr}, out, batch, has_zeros);
}

// out = x W^T; x is [batch, columns], out [batch, rows]. `has_zeros`: many numbers of x are zero.
inline void multiply(
    const Matrix& m, const float* x, float* out, int64_t batch, bool has_zeros = false) {
  if (m.type == kWeightInt8) return multiply_int8(m, x, out, batch, has_zeros);
  if (m.type == kWeightBFloat16) return multiply_unscaled<bfloat16>(m, x, out, batch, has_zeros);
  multiply_unscaled<float>(m, x, out, batch, has_zeros);
}

}  // namespace rwkv_music
