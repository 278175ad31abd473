// Products of a weight matrix with a few vectors, for decoding token by token.
//
// Sixteen rows of a matrix lie interleaved in a panel, [columns, 16]: its vectors then run over rows,
// need no sums across lanes, and serve all vectors of the batch once they are loaded and widened.
#pragma once

#include <algorithm>

#include "lanes.h"

namespace rwkv_music {

constexpr int kPanel = 16;

enum WeightType : int32_t { kWeightFloat32 = 0, kWeightBFloat16 = 1, kWeightInt8 = 2 };

struct Matrix {
  const void* panels;   // [ceil(rows / 16), columns, 16]
  const float* scales;  // [16 ceil(rows / 16)] for int8, each row's; null otherwise
  int64_t rows, columns;
  int32_t type;  // a WeightType
};

// `Panels` panels from `panel` on, times `Batch` vectors; out is [Batch, rows].
template <typename Weight, int Panels, int Batch>
RM_INLINE void multiply_block(const Matrix& m, int64_t panel, const float* x, float* out) {
  constexpr int lanes = Lanes<float>::count, vectors = kPanel / lanes;
  const Weight* weights = static_cast<const Weight*>(m.panels) + panel * m.columns * kPanel;
  const int64_t panel_size = m.columns * kPanel;
  Vector<float> sums[Panels][Batch][vectors] = {};
  for (int64_t c = 0; c < m.columns; ++c)
    RM_UNROLL
    for (int p = 0; p < Panels; ++p)
      RM_UNROLL
      for (int i = 0; i < vectors; ++i) {
        const Vector<float> w = load(weights + p * panel_size + c * kPanel + i * lanes);
        RM_UNROLL
        for (int b = 0; b < Batch; ++b) sums[p][b][i] += w * x[b * m.columns + c];
      }
  for (int p = 0; p < Panels; ++p) {
    const int64_t row = (panel + p) * kPanel, count = std::min<int64_t>(kPanel, m.rows - row);
    for (int b = 0; b < Batch; ++b) {
      float rows[kPanel];
      RM_UNROLL
      for (int i = 0; i < vectors; ++i) {
        if (m.scales) sums[p][b][i] *= load(m.scales + row + i * lanes);
        store(rows + i * lanes, sums[p][b][i]);
      }
      std::memcpy(out + b * m.rows + row, rows, count * sizeof(float));
    }
  }
}

// One vector and narrow weights, read from the first to the last: unpacking them takes longer than
// reading them from several places would save. Several sums, of every fourth column each, hide that a
// sum waits for the one before it.
template <typename Weight>
void multiply_one(const Matrix& m, const float* x, float* out) {
  constexpr int lanes = Lanes<float>::count, vectors = kPanel / lanes, apart = vectors > 2 ? 1 : 4;
  const Weight* weights = static_cast<const Weight*>(m.panels);
  for (int64_t row = 0; row < m.rows; row += kPanel) {
    Vector<float> sums[apart][vectors] = {};
    int64_t c = 0;
    for (; c + apart <= m.columns; c += apart, weights += apart * kPanel)
      RM_UNROLL
      for (int k = 0; k < apart; ++k)
        RM_UNROLL
        for (int i = 0; i < vectors; ++i)
          sums[k][i] += load(weights + k * kPanel + i * lanes) * x[c + k];
    for (; c < m.columns; ++c, weights += kPanel)
      for (int i = 0; i < vectors; ++i) sums[0][i] += load(weights + i * lanes) * x[c];
    float rows[kPanel];
    RM_UNROLL
    for (int i = 0; i < vectors; ++i) {
      for (int k = 1; k < apart; ++k) sums[0][i] += sums[k][i];
      if (m.scales) sums[0][i] *= load(m.scales + row + i * lanes);
      store(rows + i * lanes, sums[0][i]);
    }
    std::memcpy(out + row, rows, std::min<int64_t>(kPanel, m.rows - row) * sizeof(float));
  }
}

template <typename Weight, int Panels, int Batch>
void multiply_all(const Matrix& m, const float* x, float* out) {
  const int64_t panels = (m.rows + kPanel - 1) / kPanel;
  int64_t panel = 0;
  for (; panel + Panels <= panels; panel += Panels)
    multiply_block<Weight, Panels, Batch>(m, panel, x, out);
  for (; panel < panels; ++panel) multiply_block<Weight, 1, Batch>(m, panel, x, out);
}

template <typename Weight>
void multiply(const Matrix& m, const float* x, float* out, int64_t batch) {
  int64_t b = 0;
  for (; b + 8 <= batch; b += 8) multiply_all<Weight, 2, 8>(m, x + b * m.columns, out + b * m.rows);
  for (; b + 4 <= batch; b += 4) multiply_all<Weight, 2, 4>(m, x + b * m.columns, out + b * m.rows);
  for (; b + 2 <= batch; b += 2) multiply_all<Weight, 4, 2>(m, x + b * m.columns, out + b * m.rows);
  for (; b < batch; ++b)
    if constexpr (sizeof(Weight) < sizeof(float))
      multiply_one<Weight>(m, x + b * m.columns, out + b * m.rows);
    else
      multiply_all<Weight, 4, 1>(m, x + b * m.columns, out + b * m.rows);
}

// out = x W^T; x is [batch, columns], out [batch, rows].
inline void multiply(const Matrix& m, const float* x, float* out, int64_t batch) {
  if (m.type == kWeightInt8) return multiply<int8_t>(m, x, out, batch);
  if (m.type == kWeightBFloat16) return multiply<bfloat16>(m, x, out, batch);
  multiply<float>(m, x, out, batch);
}

}  // namespace rwkv_music
