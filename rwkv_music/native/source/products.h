// Products of one sequence of bfloat16 tokens with matrices in float32, which are rounded on the way:
//
//     y = x first^T        or        y = f(x first^T) second^T
//
// What lies between the two stays in the cache. Sums are taken in float32, and only what is read by
// the next product is rounded. Several such products share one call.
#pragma once

#include <vector>

#include "arguments.h"
#include "functions.h"
#include "threads.h"
#include "tiles.h"

namespace rwkv_music {

enum Activation : int32_t { kNoSecond = -1, kIdentity = 0, kSquaredRelu = 1, kTanh = 2, kSigmoid = 3 };

// A matrix in float32 and its strides, of which one is 1.
struct Weight {
  float* data;
  int64_t row, column;
};

struct Product {
  int64_t inputs, hidden, outputs;  // multiples of 32; y has `hidden` columns without a second matrix
  int64_t activation;
  const bfloat16* x;     // [tokens, inputs]
  Weight first, second;  // [hidden, inputs] and [outputs, hidden]
  bfloat16* y;           // [tokens, outputs]; in the backward its gradient
};

struct Products {
  int64_t tokens;
  int32_t count, threads;
  const Product* products;
};

constexpr int64_t kTokens = 128;  // that go through a product together

// A right operand made of a matrix of which `depth` and `columns` are the strides.
class RightMatrix {
 public:
  RightMatrix(const float* from, int64_t depths, int64_t depth, int64_t columns, int64_t column)
      : from_(from), depths_(depths), depth_(depth), columns_(columns), column_(column),
        room_(depths * columns) {}

  int64_t blocks() const { return columns_ / kBlock; }
  Tiles tiles() const { return packed(room_.at(0), depths_); }

  void pack(int64_t block) const {
    bfloat16* to = room_.at(block * kBlock * depths_);
    const float* from = from_ + block * kBlock * column_;
    for (int64_t k = 0; k < depths_; k += kDepth)
      for (int half = 0; half < 2; ++half, to += kTileNumbers)
        right_tile(from + k * depth_ + half * kTile * column_, depth_, column_, to);
  }

 private:
  const float* from_;
  int64_t depths_, depth_, columns_, column_;
  Room<bfloat16> room_;
};

inline void pack_all(const std::vector<RightMatrix>& matrices, int threads) {
  std::vector<std::pair<const RightMatrix*, int64_t>> blocks;
  for (const auto& each : matrices)
    for (int64_t block = 0; block < each.blocks(); ++block) blocks.emplace_back(&each, block);
  for_each_task(static_cast<int64_t>(blocks.size()), threads, [&](int64_t i) {
    blocks[i].first->pack(blocks[i].second);
  });
}

// Some rows of a matrix: as they lie, or in a copy with zeros behind them to fill the last block.
class Rows {
 public:
  Rows(const bfloat16* all, int64_t first, int64_t end, int64_t width)
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

// The functions between the two matrices, and their slopes where they have the value y.
struct Identity {
  static RM_INLINE Vector<float> value(Vector<float> x) { return x; }
  static RM_INLINE Vector<float> slope(Vector<float>, Vector<float>) { return fill(1.0f); }
};
struct SquaredReluOf {
  // The order of the two lets a NaN through.
  static RM_INLINE Vector<float> positive(Vector<float> x) { return maximum<float>(Vector<float>{}, x); }
  static RM_INLINE Vector<float> value(Vector<float> x) { return positive(x) * positive(x); }
  static RM_INLINE Vector<float> slope(Vector<float> x, Vector<float>) { return 2.0f * positive(x); }
};
struct TanhOf {
  static RM_INLINE Vector<float> value(Vector<float> x) { return tanh<float>(x); }
  static RM_INLINE Vector<float> slope(Vector<float>, Vector<float> y) { return 1.0f - y * y; }
};
struct SigmoidOf {
  static RM_INLINE Vector<float> value(Vector<float> x) { return sigmoid<float>(x); }
  static RM_INLINE Vector<float> slope(Vector<float>, Vector<float> y) { return y * (1.0f - y); }
};

template <typename Task>
void with_activation(int64_t kind, const Task& task) {
  if (kind == kSquaredRelu) return task(SquaredReluOf{});
  if (kind == kTanh) return task(TanhOf{});
  if (kind == kSigmoid) return task(SigmoidOf{});
  task(Identity{});
}

// A block of results as the left tiles of the next product.
template <typename Function>
RM_INLINE void activate(const float* c, bfloat16* to) {
  for (int i = 0; i < kBlockNumbers; i += Lanes<float>::count)
    store(to + i, Function::value(load(c + i)));
}

RM_INLINE void store_rows(const float* c, int64_t rows, bfloat16* to, int64_t width) {
  for (int64_t i = 0; i < rows; ++i)
    for (int j = 0; j < kBlock; j += Lanes<float>::count)
      store(to + i * width + j, load(c + i * kBlock + j));
}

// y = left right^T for so many blocks of rows, of which the last may not be full.
inline void multiply_into(
    const Tiles& left, const Rows& rows, const RightMatrix& right, int64_t depth, bfloat16* y) {
  alignas(64) float c[kBlockNumbers];
  const int64_t width = right.blocks() * kBlock;
  for (int64_t j = 0; j < right.blocks(); ++j)
    for (int64_t i = 0; i < rows.blocks; ++i) {
      multiply(left.at(i), right.tiles().at(j), depth / kDepth, c, false);
      const int64_t count = std::min<int64_t>(kBlock, rows.count - i * kBlock);
      store_rows(c, count, y + i * kBlock * width + j * kBlock, width);
    }
}

inline void forward_rows(const Product& p, const RightMatrix* matrices, int64_t first, int64_t end) {
  const Rows x(p.x, first, end, p.inputs);
  const Tiles left = in_rows(x.data, p.inputs);
  if (p.activation == kNoSecond)
    return multiply_into(left, x, matrices[0], p.inputs, p.y + first * p.hidden);
  const Room<bfloat16> hidden(kTokens * p.hidden);
  const Tiles between = packed(hidden.at(0), p.hidden);
  with_activation(p.activation, [&](auto function) {
    alignas(64) float c[kBlockNumbers];
    for (int64_t j = 0; j < matrices[0].blocks(); ++j)
      for (int64_t i = 0; i < x.blocks; ++i) {
        multiply(left.at(i), matrices[0].tiles().at(j), p.inputs / kDepth, c, false);
        activate<decltype(function)>(c, hidden.at(i * between.block + j * between.depth));
      }
  });
  multiply_into(between, x, matrices[1], p.hidden, p.y + first * p.outputs);
}

inline void products_forward(const Products& all) {
  std::vector<RightMatrix> matrices;
  std::vector<size_t> begins;
  for (int i = 0; i < all.count; ++i) {
    const Product& p = all.products[i];
    begins.push_back(matrices.size());
    matrices.emplace_back(p.first.data, p.inputs, p.first.column, p.hidden, p.first.row);
    if (p.activation != kNoSecond)
      matrices.emplace_back(p.second.data, p.hidden, p.second.column, p.outputs, p.second.row);
  }
  pack_all(matrices, all.threads);
  const int64_t stretches = ceil_div(all.tokens, kTokens);
  for_each_task(all.count * stretches, all.threads, [&](int64_t task) {
    const TileShape shape;
    const int64_t i = task / stretches, first = task % stretches * kTokens;
    const int64_t end = std::min(first + kTokens, all.tokens);
    forward_rows(all.products[i], &matrices[begins[i]], first, end);
  });
}

}  // namespace rwkv_music
