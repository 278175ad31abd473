// Products of bfloat16 matrices, in blocks of 32 rows by 32 columns of the result. With AMX, one
// instruction multiplies a tile of 16 rows by 32 elements with a tile of 16 columns; without AMX, plain
// loops compute the same, for tests.
//
// A left operand is stored in tiles of 16 rows by 32 elements of the summed dimension ("depth"). A right
// operand is stored in tiles of 16 pairs of depth by 16 columns: two elements adjacent in depth are
// adjacent in memory.
#pragma once

#include <algorithm>
#include <memory>

#include "lanes.h"

namespace rwkv_music {

constexpr int kTile = 16;               // rows of a tile
constexpr int kDepth = 2 * kTile;       // depth of one instruction
constexpr int kBlock = 2 * kTile;       // rows and columns of a block of the result
constexpr int kTileSize = kTile * kDepth;
constexpr int kBlockSize = kBlock * kBlock;

// Memory layout of the tiles of an operand; strides count elements.
struct Tiles {
  const bfloat16* first;
  int64_t row;    // between rows of a tile
  int64_t depth;  // between tiles along the depth
  int64_t other;  // between tiles of 16 rows (or columns)
  int64_t block;  // between blocks of 32 rows (or columns)

  Tiles at(int64_t index) const { return {first + index * block, row, depth, other, block}; }
  // Skips the first `skipped` elements of the depth, a multiple of 32.
  Tiles from(int64_t skipped) const {
    return {first + skipped / kDepth * depth, row, depth, other, block};
  }
};

// Blocks stored contiguously: two tiles side by side, then along the depth.
inline Tiles packed(const bfloat16* first, int64_t total_depth) {
  const int64_t depth = 2 * kTileSize;
  return {first, kDepth, depth, kTileSize, total_depth / kDepth * depth};
}

// A left operand stored as rows.
inline Tiles in_rows(const bfloat16* first, int64_t width) {
  return {first, width, kDepth, kTile * width, kBlock * width};
}

#if defined(__AMX_BF16__)

// Configures this thread's tiles while it exists.
class TileShape {
 public:
  TileShape() {
    alignas(64) uint8_t shape[64] = {1};
    for (int tile = 0; tile < 8; ++tile) {
      shape[16 + 2 * tile] = 64;  // bytes per row
      shape[48 + tile] = kTile;   // rows
    }
    _tile_loadconfig(shape);
  }
  ~TileShape() { _tile_release(); }
  TileShape(const TileShape&) = delete;
};

// c[32][32] = (c if `add`, else 0) + left right, over `steps` steps of depth.
inline void multiply(const Tiles& left, const Tiles& right, int64_t steps, float* c, bool add) {
  constexpr int bytes = kBlock * sizeof(float);
  float* lower = c + kTile * kBlock;
  if (add) {
    _tile_loadd(0, c, bytes);
    _tile_loadd(1, c + kTile, bytes);
    _tile_loadd(2, lower, bytes);
    _tile_loadd(3, lower + kTile, bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t step = 0; step < steps; ++step) {
    const bfloat16 *a = left.first + step * left.depth, *b = right.first + step * right.depth;
    _tile_loadd(4, a, left.row * 2);
    _tile_loadd(6, b, right.row * 2);
    _tile_loadd(5, a + left.other, left.row * 2);
    _tile_loadd(7, b + right.other, right.row * 2);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, bytes);
  _tile_stored(1, c + kTile, bytes);
  _tile_stored(2, lower, bytes);
  _tile_stored(3, lower + kTile, bytes);
}

#else

struct TileShape {
  TileShape() {}
};

inline float to_float(bfloat16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline void multiply(const Tiles& left, const Tiles& right, int64_t steps, float* c, bool add) {
  if (!add) std::fill(c, c + kBlockSize, 0.0f);
  for (int64_t step = 0; step < steps; ++step)
    for (int i = 0; i < kBlock; ++i)
      for (int k = 0; k < kDepth; ++k) {
        const float a = to_float(
            left.first[step * left.depth + i / kTile * left.other + i % kTile * left.row + k]);
        const bfloat16* pairs = right.first + step * right.depth + k / 2 * right.row + k % 2;
        for (int j = 0; j < kBlock; ++j)
          c[i * kBlock + j] += a * to_float(pairs[j / kTile * right.other + j % kTile * 2]);
      }
}

#endif

// Interleaves sixteen pairs of rows of 16 columns: rows 2 i and 2 i + 1 become to[i].
template <typename Number>
RM_INLINE void pair_rows(const Number* from, int64_t row, bfloat16* to) {
  for (int i = 0; i < kTile; ++i)
    for (int c = 0; c < kTile; c += Lanes<float>::count) {
      const Number* source = from + 2 * i * row + c;
      const Words words = pair(load(source), load(source + row));
      std::memcpy(to + i * kDepth + 2 * c, &words, sizeof(words));
    }
}

// Transposes the pairs of a tile: pair j of row i becomes pair i of row j.
RM_INLINE void transpose_pairs(const bfloat16* from, bfloat16* to) {
  alignas(64) float in[kTile * kTile], out[kTile * kTile];
  std::memcpy(in, from, sizeof(in));
  transpose_square<kTile>(in, out);
  std::memcpy(to, out, sizeof(out));
}

// Left tile of the transposed matrix: its rows are 16 columns of `from`, its depth 32 rows.
RM_INLINE void transposed_tile(const bfloat16* from, int64_t row, bfloat16* to) {
  alignas(64) bfloat16 pairs[kTileSize];
  pair_rows(from, row, pairs);
  transpose_pairs(pairs, to);
}

// Right tile of a float32 matrix, one of whose two strides is 1.
RM_INLINE void right_tile(const float* from, int64_t depth, int64_t column, bfloat16* to) {
  if (column == 1) return pair_rows(from, depth, to);
  alignas(64) bfloat16 rows[kTileSize];
  for (int c = 0; c < kTile; ++c)
    for (int k = 0; k < kDepth; k += Lanes<float>::count)
      store(rows + c * kDepth + k, load(from + c * column + k));
  transpose_pairs(rows, to);
}

// Uninitialized memory, aligned for vectors.
template <typename Number>
class Buffer {
 public:
  explicit Buffer(int64_t count) : memory_(new char[count * sizeof(Number) + kAlignment]) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    data_ = reinterpret_cast<Number*>((address + kAlignment - 1) / kAlignment * kAlignment);
  }
  Number* at(int64_t index) const { return data_ + index; }

 private:
  static constexpr uintptr_t kAlignment = 64;
  std::unique_ptr<char[]> memory_;
  Number* data_;
};

}  // namespace rwkv_music
