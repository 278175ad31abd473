// Gradients of products.h. Each thread walks through its own tokens and sums its share of the
// matrices' gradients; the shares are added up in the end. A matrix is taken in slices whose sums fit
// into the cache.
#pragma once

#include "products.h"

namespace rwkv_music {

struct ProductGradients {
  bfloat16* x;
  Weight first, second;  // of the same strides as the matrices; without data if nobody wants them
};

struct ProductsBackward {
  Products forward;
  const ProductGradients* gradients;
};

constexpr int64_t kSumsInCache = 1 << 18;

// One product's part of the work for one stretch of tokens after the other.
class ProductLane {
 public:
  ProductLane(const Product& p, const ProductGradients& d, const RightMatrix* matrices)
      : p_(p), d_(d), matrices_(matrices), is_single_(p.activation == kNoSecond),
        sums_(d.first.data ? (p.inputs + p.outputs) * p.hidden : 0) {}

  void run(int64_t first, int64_t end) {
    const int64_t most = kSumsInCache / (p_.inputs + p_.outputs) / kBlock * kBlock;
    const int64_t width = std::min(std::max<int64_t>(most, kBlock), p_.hidden);
    const bool sliced = width < p_.hidden;
    const Room<float> d_x(sliced ? ceil_div(end - first, kTokens) * kTokens * p_.inputs : 0);
    for (int64_t slice = 0; slice < p_.hidden; slice += width)
      for (int64_t at = first; at < end; at += kTokens) {
        const Slice s{slice, std::min(slice + width, p_.hidden), at == first,
                      sliced ? d_x.at((at - first) * p_.inputs) : nullptr};
        stretch(s, at, std::min(at + kTokens, end));
      }
  }

  // This lane's share of a block of the gradient of the first matrix, [inputs, hidden], or of the
  // second, [outputs, hidden].
  float* share(bool of_second, int64_t row, int64_t column) const {
    const int64_t rows = (of_second ? p_.outputs : p_.inputs) / kBlock;
    const int64_t before = of_second ? p_.inputs * p_.hidden : 0;
    return sums_.at(before + (column * rows + row) * kBlockNumbers);
  }

 private:
  struct Slice {
    int64_t begin, end;  // of the hidden columns
    bool is_first;       // stretch of the lane
    float* d_x;          // sums over the slices, if there are several
    int64_t width() const { return end - begin; }
  };

  void stretch(const Slice& s, int64_t first, int64_t end) {
    const int64_t depth = ceil_div(end - first, kBlock) * kBlock;
    const Rows x(p_.x, first, end, p_.inputs);
    const Rows d_y(p_.y, first, end, is_single_ ? p_.hidden : p_.outputs);
    const Room<bfloat16> left(is_single_ ? 0 : depth * s.width()), right(depth * s.width());
    const Room<bfloat16> hidden(is_single_ ? 0 : depth * s.width());
    if (is_single_)
      pair_columns(d_y, s, right);
    else
      back_through_second(s, x, d_y, left, right, hidden);
    const Tiles d_hidden = is_single_ ? in_rows(d_y.data, p_.hidden).from(s.begin)
                                      : packed(left.at(0), s.width());
    gradient_of_x(s, d_hidden, x, first);
    if (!d_.first.data) return;
    add_sums(s, x, p_.inputs, packed(right.at(0), depth), false);
    if (!is_single_) add_sums(s, d_y, p_.outputs, packed(hidden.at(0), depth), true);
  }

  // The gradient of a single product's results as a right operand.
  void pair_columns(const Rows& d_y, const Slice& s, const Room<bfloat16>& right) const {
    bfloat16* to = right.at(0);
    for (int64_t j = s.begin; j < s.end; j += kBlock)
      for (int64_t i = 0; i < d_y.blocks; ++i)
        for (int half = 0; half < 2; ++half, to += kTileNumbers)
          pair_rows(d_y.data + i * kBlock * p_.hidden + j + half * kTile, p_.hidden, to);
  }

  // Finds what was between the two matrices again, and its gradient in two forms.
  void back_through_second(
      const Slice& s, const Rows& x, const Rows& d_y, const Room<bfloat16>& left,
      const Room<bfloat16>& right, const Room<bfloat16>& hidden) const {
    const int64_t steps = s.width() / kBlock;
    alignas(64) float before[kBlockNumbers], slopes[kBlockNumbers];
    with_activation(p_.activation, [&](auto function) {
      for (int64_t j = 0; j < steps; ++j)
        for (int64_t i = 0; i < x.blocks; ++i) {
          const int64_t column = s.begin / kBlock + j;
          multiply(
              in_rows(x.data, p_.inputs).at(i), matrices_[1].tiles().at(column),
              p_.inputs / kDepth, before, false);
          multiply(
              in_rows(d_y.data, p_.outputs).at(i), matrices_[2].tiles().at(column),
              p_.outputs / kDepth, slopes, false);
          back_through<decltype(function)>(before, slopes);
          const int64_t place = (j * x.blocks + i) * kBlockNumbers;
          pair_block(before, hidden.at(place));
          pair_block(slopes, right.at(place));
          activate<Identity>(slopes, left.at((i * steps + j) * kBlockNumbers));
        }
    });
  }

  // `before` becomes the function's value, `slopes`, which holds its gradient, that of its argument.
  template <typename Function>
  static RM_INLINE void back_through(float* before, float* slopes) {
    for (int i = 0; i < kBlockNumbers; i += Lanes<float>::count) {
      const Vector<float> x = load(before + i), y = Function::value(x);
      store(slopes + i, load(slopes + i) * Function::slope(x, y));
      store(before + i, y);
    }
  }

  // The two right tiles of a block whose rows are summed over.
  static RM_INLINE void pair_block(const float* c, bfloat16* to) {
    pair_rows(c, kBlock, to);
    pair_rows(c + kTile, kBlock, to + kTileNumbers);
  }

  void gradient_of_x(const Slice& s, const Tiles& d_hidden, const Rows& x, int64_t first) const {
    alignas(64) float here[kBlockNumbers];
    for (int64_t j = 0; j < p_.inputs / kBlock; ++j)
      for (int64_t i = 0; i < x.blocks; ++i) {
        float* c = s.d_x ? s.d_x + (j * kTokens / kBlock + i) * kBlockNumbers : here;
        const Tiles right = matrices_[0].tiles().at(j).from(s.begin);
        multiply(d_hidden.at(i), right, s.width() / kDepth, c, s.d_x && s.begin);
        if (s.end < p_.hidden) continue;
        const int64_t row = first + i * kBlock;
        const int64_t count = std::min<int64_t>(kBlock, x.count - i * kBlock);
        store_rows(c, count, d_.x + row * p_.inputs + j * kBlock, p_.inputs);
      }
  }

  // Adds left^T right, `left` being rows of tokens, to the sums of a matrix's gradient.
  void add_sums(
      const Slice& s, const Rows& left, int64_t width, const Tiles& right, bool of_second) {
    const Room<bfloat16> columns(left.blocks * kBlock * kBlock);
    for (int64_t i = 0; i < width / kBlock; ++i) {
      bfloat16* to = columns.at(0);
      for (int64_t k = 0; k < left.blocks; ++k)
        for (int half = 0; half < 2; ++half, to += kTileNumbers)
          transposed_tile(
              left.data + k * kBlock * width + i * kBlock + half * kTile, width, to);
      for (int64_t j = 0; j < s.width() / kBlock; ++j) {
        float* sums = share(of_second, i, s.begin / kBlock + j);
        multiply(packed(columns.at(0), 0), right.at(j), left.blocks, sums, !s.is_first);
      }
    }
  }

  const Product& p_;
  const ProductGradients& d_;
  const RightMatrix* matrices_;
  bool is_single_;
  Room<float> sums_;
};

// A block of sums at its place in a matrix, one of whose strides is 1.
inline void store_block(const float* c, float* to, int64_t row, int64_t column) {
  alignas(64) float turned[kBlockNumbers];
  if (column != 1) transpose_square<kBlock>(c, turned);
  const float* from = column == 1 ? c : turned;
  const int64_t stride = column == 1 ? row : column;
  for (int i = 0; i < kBlock; ++i)
    for (int j = 0; j < kBlock; j += Lanes<float>::count)
      store(to + i * stride + j, load(from + i * kBlock + j));
}

inline void add_shares(
    const ProductLane* lanes, int count, bool of_second, int64_t row, int64_t column, Weight d) {
  alignas(64) float total[kBlockNumbers] = {};
  for (int lane = 0; lane < count; ++lane) {
    const float* share = lanes[lane].share(of_second, row, column);
    for (int i = 0; i < kBlockNumbers; i += Lanes<float>::count)
      store(total + i, load(total + i) + load(share + i));
  }
  // d is [hidden, inputs] for the first matrix, [outputs, hidden] for the second.
  const int64_t by_row = of_second ? d.row : d.column, by_column = of_second ? d.column : d.row;
  store_block(
      total, d.data + kBlock * (row * by_row + column * by_column), by_row, by_column);
}

inline void products_backward(const ProductsBackward& b) {
  const Products& all = b.forward;
  const int64_t stretches = ceil_div(all.tokens, kTokens);
  const int lanes = static_cast<int>(std::min<int64_t>(std::max(all.threads, 1), stretches));
  std::vector<RightMatrix> matrices;
  std::vector<size_t> begins;
  for (int i = 0; i < all.count; ++i) {
    const Product& p = all.products[i];
    begins.push_back(matrices.size());
    matrices.emplace_back(p.first.data, p.hidden, p.first.row, p.inputs, p.first.column);
    if (p.activation == kNoSecond) continue;
    matrices.emplace_back(p.first.data, p.inputs, p.first.column, p.hidden, p.first.row);
    matrices.emplace_back(p.second.data, p.outputs, p.second.row, p.hidden, p.second.column);
  }
  pack_all(matrices, all.threads);
  std::vector<ProductLane> work;
  work.reserve(all.count * lanes);
  for (int i = 0; i < all.count; ++i)
    for (int lane = 0; lane < lanes; ++lane)
      work.emplace_back(all.products[i], b.gradients[i], &matrices[begins[i]]);
  for_each_task(all.count * lanes, all.threads, [&](int64_t task) {
    const TileShape shape;
    const int64_t lane = task % lanes;
    work[task].run(
        lane * stretches / lanes * kTokens,
        std::min((lane + 1) * stretches / lanes * kTokens, all.tokens));
  });
  for_each_task(2 * all.count, all.threads, [&](int64_t task) {
    const Product& p = all.products[task / 2];
    const bool of_second = task % 2;
    const Weight d = of_second ? b.gradients[task / 2].second : b.gradients[task / 2].first;
    if (!d.data) return;
    for (int64_t column = 0; column < p.hidden / kBlock; ++column)
      for (int64_t row = 0; row < (of_second ? p.outputs : p.inputs) / kBlock; ++row)
        add_shares(&work[task / 2 * lanes], lanes, of_second, row, column, d);
  });
}

}  // namespace rwkv_music
