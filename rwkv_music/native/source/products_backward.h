// Gradients of products.h. Each thread sums the matrices' gradients over its own tokens; the partial
// sums are added at the end. A matrix is processed in slices whose sums fit the cache.
#pragma once

#include "products.h"

namespace rwkv_music {

struct MatrixProductGradients {
  bfloat16* x;
  Weight first, second;  // with the strides of the matrices; no data if not needed
};

struct MatrixProductsBackward {
  MatrixProducts forward;
  const MatrixProductGradients* gradients;
};

constexpr int64_t kSumsInCache = 1 << 18;

// Backward pass of one product for one range of tokens, segment by segment.
class BackwardWorker {
 public:
  BackwardWorker(const MatrixProduct& p, const MatrixProductGradients& d, const PackedMatrix* matrices)
      : p_(p), d_(d), matrices_(matrices), is_single_(p.activation == kSingleMatrix),
        sums_(d.first.data ? (p.inputs + p.outputs) * p.hidden : 0) {}

  void run(int64_t first, int64_t end) {
    const int64_t max_width = kSumsInCache / (p_.inputs + p_.outputs) / kBlock * kBlock;
    const int64_t width = std::min(std::max<int64_t>(max_width, kBlock), p_.hidden);
    const bool sliced = width < p_.hidden;
    const int64_t padded = ceil_div(end - first, kSegmentTokens) * kSegmentTokens;
    const Buffer<float> d_x(sliced ? padded * p_.inputs : 0);
    for (int64_t slice = 0; slice < p_.hidden; slice += width)
      for (int64_t token = first; token < end; token += kSegmentTokens) {
        const Slice s{slice, std::min(slice + width, p_.hidden), token == first,
                      sliced ? d_x.at((token - first) * p_.inputs) : nullptr};
        run_segment(s, token, std::min(token + kSegmentTokens, end));
      }
  }

  // This worker's partial sums of a block of the gradient of the first matrix, [inputs, hidden], or of
  // the second, [outputs, hidden].
  float* partial_sums(bool is_second, int64_t row, int64_t column) const {
    const int64_t rows = (is_second ? p_.outputs : p_.inputs) / kBlock;
    const int64_t skipped = is_second ? p_.inputs * p_.hidden : 0;
    return sums_.at(skipped + (column * rows + row) * kBlockSize);
  }

 private:
  struct Slice {
    int64_t begin, end;  // hidden columns
    bool is_first;       // first segment of the worker
    float* d_x;          // sums over slices, if there are several
    int64_t width() const { return end - begin; }
  };

  void run_segment(const Slice& s, int64_t first, int64_t end) {
    const int64_t depth = ceil_div(end - first, kBlock) * kBlock;
    const PaddedRows x(p_.x, first, end, p_.inputs);
    const PaddedRows d_y(p_.y, first, end, is_single_ ? p_.hidden : p_.outputs);
    const Buffer<bfloat16> left(is_single_ ? 0 : depth * s.width()), right(depth * s.width());
    const Buffer<bfloat16> hidden(is_single_ ? 0 : depth * s.width());
    if (is_single_)
      pair_columns(d_y, s, right);
    else
      backward_second(s, x, d_y, left, right, hidden);
    const Tiles d_hidden = is_single_ ? in_rows(d_y.data, p_.hidden).from(s.begin)
                                      : packed(left.at(0), s.width());
    gradient_of_x(s, d_hidden, x, first);
    if (!d_.first.data) return;
    add_sums(s, x, p_.inputs, packed(right.at(0), depth), false);
    if (!is_single_) add_sums(s, d_y, p_.outputs, packed(hidden.at(0), depth), true);
  }

  // Packs the gradient of a single product's outputs as a right operand.
  void pair_columns(const PaddedRows& d_y, const Slice& s, const Buffer<bfloat16>& right) const {
    bfloat16* to = right.at(0);
    for (int64_t j = s.begin; j < s.end; j += kBlock)
      for (int64_t i = 0; i < d_y.blocks; ++i)
        for (int half = 0; half < 2; ++half, to += kTileSize)
          pair_rows(d_y.data + i * kBlock * p_.hidden + j + half * kTile, p_.hidden, to);
  }

  // Recomputes the hidden values, and packs their gradient as left and right operand.
  void backward_second(
      const Slice& s, const PaddedRows& x, const PaddedRows& d_y, const Buffer<bfloat16>& left,
      const Buffer<bfloat16>& right, const Buffer<bfloat16>& hidden) const {
    const int64_t steps = s.width() / kBlock;
    alignas(64) float activations[kBlockSize], gradients[kBlockSize];
    with_activation(p_.activation, [&](auto function) {
      for (int64_t j = 0; j < steps; ++j)
        for (int64_t i = 0; i < x.blocks; ++i) {
          const int64_t column = s.begin / kBlock + j;
          multiply(
              in_rows(x.data, p_.inputs).at(i), matrices_[1].tiles().at(column),
              p_.inputs / kDepth, activations, false);
          multiply(
              in_rows(d_y.data, p_.outputs).at(i), matrices_[2].tiles().at(column),
              p_.outputs / kDepth, gradients, false);
          backward_activation<decltype(function)>(activations, gradients);
          const int64_t offset = (j * x.blocks + i) * kBlockSize;
          pair_block(activations, hidden.at(offset));
          pair_block(gradients, right.at(offset));
          activate<IdentityFunction>(gradients, left.at((i * steps + j) * kBlockSize));
        }
    });
  }

  // `activations` holds the function's argument and becomes its value; `gradients` holds the gradient of
  // the value and becomes the gradient of the argument.
  template <typename Function>
  static RM_INLINE void backward_activation(float* activations, float* gradients) {
    for (int i = 0; i < kBlockSize; i += Lanes<float>::count) {
      const Vector<float> x = load(activations + i), y = Function::value(x);
      store(gradients + i, load(gradients + i) * Function::slope(x, y));
      store(activations + i, y);
    }
  }

  // Packs a block, whose rows are the summed dimension, as two right tiles.
  static RM_INLINE void pair_block(const float* c, bfloat16* to) {
    pair_rows(c, kBlock, to);
    pair_rows(c + kTile, kBlock, to + kTileSize);
  }

  void gradient_of_x(const Slice& s, const Tiles& d_hidden, const PaddedRows& x, int64_t first) const {
    alignas(64) float block[kBlockSize];
    for (int64_t j = 0; j < p_.inputs / kBlock; ++j)
      for (int64_t i = 0; i < x.blocks; ++i) {
        float* c = s.d_x ? s.d_x + (j * kSegmentTokens / kBlock + i) * kBlockSize : block;
        const Tiles right = matrices_[0].tiles().at(j).from(s.begin);
        multiply(d_hidden.at(i), right, s.width() / kDepth, c, s.d_x && s.begin);
        if (s.end < p_.hidden) continue;
        const int64_t row = first + i * kBlock;
        const int64_t count = std::min<int64_t>(kBlock, x.count - i * kBlock);
        store_rows(c, count, d_.x + row * p_.inputs + j * kBlock, p_.inputs);
      }
  }

  // Adds left^T right, with `left` as rows of tokens, to the sums of a matrix's gradient.
  void add_sums(
      const Slice& s, const PaddedRows& left, int64_t width, const Tiles& right, bool is_second) {
    const Buffer<bfloat16> columns(left.blocks * kBlock * kBlock);
    for (int64_t i = 0; i < width / kBlock; ++i) {
      bfloat16* to = columns.at(0);
      for (int64_t k = 0; k < left.blocks; ++k)
        for (int half = 0; half < 2; ++half, to += kTileSize)
          transposed_tile(
              left.data + k * kBlock * width + i * kBlock + half * kTile, width, to);
      for (int64_t j = 0; j < s.width() / kBlock; ++j) {
        float* sums = partial_sums(is_second, i, s.begin / kBlock + j);
        multiply(packed(columns.at(0), 0), right.at(j), left.blocks, sums, !s.is_first);
      }
    }
  }

  const MatrixProduct& p_;
  const MatrixProductGradients& d_;
  const PackedMatrix* matrices_;
  bool is_single_;
  Buffer<float> sums_;
};

// Stores a block of sums in a matrix, one of whose strides is 1.
inline void store_block(const float* c, float* to, int64_t row, int64_t column) {
  alignas(64) float transposed[kBlockSize];
  if (column != 1) transpose_square<kBlock>(c, transposed);
  const float* from = column == 1 ? c : transposed;
  const int64_t stride = column == 1 ? row : column;
  for (int i = 0; i < kBlock; ++i)
    for (int j = 0; j < kBlock; j += Lanes<float>::count)
      store(to + i * stride + j, load(from + i * kBlock + j));
}

inline void reduce_partial_sums(
    const BackwardWorker* workers, int count, bool is_second, int64_t row, int64_t column, Weight d) {
  alignas(64) float total[kBlockSize] = {};
  for (int worker = 0; worker < count; ++worker) {
    const float* partial_sums = workers[worker].partial_sums(is_second, row, column);
    for (int i = 0; i < kBlockSize; i += Lanes<float>::count)
      store(total + i, load(total + i) + load(partial_sums + i));
  }
  // d is [hidden, inputs] for the first matrix, [outputs, hidden] for the second.
  const int64_t by_row = is_second ? d.row : d.column, by_column = is_second ? d.column : d.row;
  store_block(
      total, d.data + kBlock * (row * by_row + column * by_column), by_row, by_column);
}

inline void products_backward(const MatrixProductsBackward& b) {
  const MatrixProducts& all = b.forward;
  const int64_t segments = ceil_div(all.tokens, kSegmentTokens);
  const int workers = static_cast<int>(std::min<int64_t>(std::max(all.threads, 1), segments));
  std::vector<PackedMatrix> matrices;
  std::vector<size_t> first_matrix;
  for (int i = 0; i < all.count; ++i) {
    const MatrixProduct& p = all.products[i];
    first_matrix.push_back(matrices.size());
    matrices.emplace_back(p.first.data, p.hidden, p.first.row, p.inputs, p.first.column);
    if (p.activation == kSingleMatrix) continue;
    matrices.emplace_back(p.first.data, p.inputs, p.first.column, p.hidden, p.first.row);
    matrices.emplace_back(p.second.data, p.outputs, p.second.row, p.hidden, p.second.column);
  }
  pack_all(matrices, all.threads);
  std::vector<BackwardWorker> tasks;
  tasks.reserve(all.count * workers);
  for (int i = 0; i < all.count; ++i)
    for (int worker = 0; worker < workers; ++worker)
      tasks.emplace_back(all.products[i], b.gradients[i], &matrices[first_matrix[i]]);
  for_each_task(all.count * workers, all.threads, [&](int64_t task) {
    const TileShape shape;
    const int64_t worker = task % workers;
    tasks[task].run(
        worker * segments / workers * kSegmentTokens,
        std::min((worker + 1) * segments / workers * kSegmentTokens, all.tokens));
  });
  for_each_task(2 * all.count, all.threads, [&](int64_t task) {
    const MatrixProduct& p = all.products[task / 2];
    const bool is_second = task % 2;
    const Weight d = is_second ? b.gradients[task / 2].second : b.gradients[task / 2].first;
    if (!d.data) return;
    for (int64_t column = 0; column < p.hidden / kBlock; ++column)
      for (int64_t row = 0; row < (is_second ? p.outputs : p.inputs) / kBlock; ++row)
        reduce_partial_sums(&tasks[task / 2 * workers], workers, is_second, row, column, d);
  });
}

}  // namespace rwkv_music
