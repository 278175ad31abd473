// Products of one sequence of bfloat16 tokens with float32 matrices, which are rounded to bfloat16:
//
//     y = x first^T        or        y = f(x first^T) second^T
//
// The hidden values between the two matrices stay in the cache. Sums are in float32; only inputs of the
// next product are rounded. One call computes several such products.
#pragma once

#include <vector>

#include "arguments.h"
#include "functions.h"
#include "threads.h"
#include "tiles.h"

namespace rwkv_music {

enum Activation : int32_t {
  kSingleMatrix = -1,  // no second matrix
  kIdentity = 0,
  kSquaredRelu = 1,
  kTanh = 2,
  kSigmoid = 3
};

// A float32 matrix and its strides, one of which is 1.
struct Weight {
  float* data;
  int64_t row, column;
};

struct MatrixProduct {
  int64_t inputs, hidden, outputs;  // multiples of 32; without a second matrix y has `hidden` columns
  int64_t activation;
  const bfloat16* x;     // [tokens, inputs]
  Weight first, second;  // [hidden, inputs] and [outputs, hidden]
  bfloat16* y;           // [tokens, outputs]; in the backward pass its gradient
};

struct MatrixProducts {
  int64_t tokens;
  int32_t count, threads;
  const MatrixProduct* products;
};

constexpr int64_t kSegmentTokens = 128;  // tokens processed together

// A right operand packed from a float32 matrix with the strides `depth` and `column`.
class PackedMatrix {
 public:
  PackedMatrix(const float* from, int64_t total_depth, int64_t depth, int64_t columns, int64_t column)
      : from_(from), total_depth_(total_depth), depth_(depth), columns_(columns), column_(column),
        buffer_(total_depth * columns) {}

  int64_t blocks() const { return columns_ / kBlock; }
  Tiles tiles() const { return packed(buffer_.at(0), total_depth_); }

  void pack(int64_t block) const {
    bfloat16* to = buffer_.at(block * kBlock * total_depth_);
    const float* from = from_ + block * kBlock * column_;
    for (int64_t k = 0; k < total_depth_; k += kDepth)
      for (int half = 0; half < 2; ++half, to += kTileSize)
        right_tile(from + k * depth_ + half * kTile * column_, depth_, column_, to);
  }

 private:
  const float* from_;
  int64_t total_depth_, depth_, columns_, column_;
  Buffer<bfloat16> buffer_;
};

inline void pack_all(const std::vector<PackedMatrix>& matrices, int threads) {
  std::vector<std::pair<const PackedMatrix*, int64_t>> blocks;
  for (const auto& matrix : matrices)
    for (int64_t block = 0; block < matrix.blocks(); ++block) blocks.emplace_back(&matrix, block);
  for_each_task(static_cast<int64_t>(blocks.size()), threads, [&](int64_t i) {
    blocks[i].first->pack(blocks[i].second);
  });
}

// Rows [first, end) of a matrix; copied and padded with zeros if they do not fill the last block.
class PaddedRows {
 public:
  PaddedRows(const bfloat16* all, int64_t first, int64_t end, int64_t width)
      : count(end - first), blocks(ceil_div(count, kBlock)), data(all + first * width) {
    if (count % kBlock == 0) return;
    copy_.resize(blocks * kBlock * width);
    std::copy(data, data + count * width, copy_.begin());
    data = copy_.data();
  }
  int64_t count, blocks;
  const bfloat16* data;

 private:
  std::vector<bfloat16> copy_;
};

// Activation functions and their derivatives at x, where the value is y.
struct IdentityFunction {
  static RM_INLINE Vector<float> value(Vector<float> x) { return x; }
  static RM_INLINE Vector<float> slope(Vector<float>, Vector<float>) { return fill(1.0f); }
};
struct SquaredReluFunction {
  // This order of arguments propagates NaN.
  static RM_INLINE Vector<float> positive(Vector<float> x) { return maximum<float>(Vector<float>{}, x); }
  static RM_INLINE Vector<float> value(Vector<float> x) { return positive(x) * positive(x); }
  static RM_INLINE Vector<float> slope(Vector<float> x, Vector<float>) { return 2.0f * positive(x); }
};
struct TanhFunction {
  static RM_INLINE Vector<float> value(Vector<float> x) { return tanh<float>(x); }
  static RM_INLINE Vector<float> slope(Vector<float>, Vector<float> y) { return 1.0f - y * y; }
};
struct SigmoidFunction {
  static RM_INLINE Vector<float> value(Vector<float> x) { return sigmoid<float>(x); }
  static RM_INLINE Vector<float> slope(Vector<float>, Vector<float> y) { return y * (1.0f - y); }
};

template <typename Task>
void with_activation(int64_t kind, const Task& task) {
  if (kind == kSquaredRelu) return task(SquaredReluFunction{});
  if (kind == kTanh) return task(TanhFunction{});
  if (kind == kSigmoid) return task(SigmoidFunction{});
  task(IdentityFunction{});
}

// Writes a block of results as left tiles of the next product.
template <typename Function>
RM_INLINE void activate(const float* c, bfloat16* to) {
  for (int i = 0; i < kBlockSize; i += Lanes<float>::count)
    store(to + i, Function::value(load(c + i)));
}

RM_INLINE void store_rows(const float* c, int64_t rows, bfloat16* to, int64_t width) {
  for (int64_t i = 0; i < rows; ++i)
    for (int j = 0; j < kBlock; j += Lanes<float>::count)
      store(to + i * width + j, load(c + i * kBlock + j));
}

// y = left right^T; the last block of rows may be partial.
inline void multiply_rows(
    const Tiles& left, const PaddedRows& rows, const PackedMatrix& right, int64_t depth, bfloat16* y) {
  alignas(64) float c[kBlockSize];
  const int64_t width = right.blocks() * kBlock;
  for (int64_t j = 0; j < right.blocks(); ++j)
    for (int64_t i = 0; i < rows.blocks; ++i) {
      multiply(left.at(i), right.tiles().at(j), depth / kDepth, c, false);
      const int64_t count = std::min<int64_t>(kBlock, rows.count - i * kBlock);
      store_rows(c, count, y + i * kBlock * width + j * kBlock, width);
    }
}

inline void forward_rows(
    const MatrixProduct& p, const PackedMatrix* matrices, int64_t first, int64_t end) {
  const PaddedRows x(p.x, first, end, p.inputs);
  const Tiles left = in_rows(x.data, p.inputs);
  if (p.activation == kSingleMatrix)
    return multiply_rows(left, x, matrices[0], p.inputs, p.y + first * p.hidden);
  const Buffer<bfloat16> hidden(kSegmentTokens * p.hidden);
  const Tiles between = packed(hidden.at(0), p.hidden);
  with_activation(p.activation, [&](auto function) {
    alignas(64) float c[kBlockSize];
    for (int64_t j = 0; j < matrices[0].blocks(); ++j)
      for (int64_t i = 0; i < x.blocks; ++i) {
        multiply(left.at(i), matrices[0].tiles().at(j), p.inputs / kDepth, c, false);
        activate<decltype(function)>(c, hidden.at(i * between.block + j * between.depth));
      }
  });
  multiply_rows(between, x, matrices[1], p.hidden, p.y + first * p.outputs);
}

inline void products_forward(const MatrixProducts& all) {
  std::vector<PackedMatrix> matrices;
  std::vector<size_t> first_matrix;
  for (int i = 0; i < all.count; ++i) {
    const MatrixProduct& p = all.products[i];
    first_matrix.push_back(matrices.size());
    matrices.emplace_back(p.first.data, p.inputs, p.first.column, p.hidden, p.first.row);
    if (p.activation != kSingleMatrix)
      matrices.emplace_back(p.second.data, p.hidden, p.second.column, p.outputs, p.second.row);
  }
  pack_all(matrices, all.threads);
  const int64_t segments = ceil_div(all.tokens, kSegmentTokens);
  for_each_task(all.count * segments, all.threads, [&](int64_t task) {
    const TileShape shape;
    const int64_t i = task / segments, first = task % segments * kSegmentTokens;
    const int64_t end = std::min(first + kSegmentTokens, all.tokens);
    forward_rows(all.products[i], &matrices[first_matrix[i]], first, end);
  });
}

}  // namespace rwkv_music
