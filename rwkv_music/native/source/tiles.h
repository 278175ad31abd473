// Products of bfloat16 matrices, 32 rows by 32 columns of the result at a time. The processor's tiles
// (AMX) do them, 16 rows of 32 numbers by 16 columns in one instruction; without tiles, plain loops
// do the same for whoever wants to check it.
//
// A left operand lies in tiles of 16 rows by 32 numbers of what is summed over ("depth"). A right one
// lies in tiles of 16 pairs of depth by 16 columns: two numbers that follow one another in depth lie
// side by side.
#pragma once

#include <algorithm>
#include <memory>

#include "lanes.h"

namespace rwkv_music {

constexpr int kTile = 16;               // rows of a tile
constexpr int kDepth = 2 * kTile;       // what one instruction sums over
constexpr int kBlock = 2 * kTile;       // rows and columns of the result at a time
constexpr int kTileNumbers = kTile * kDepth;
constexpr int kBlockNumbers = kBlock * kBlock;

// Where the tiles of an operand lie; distances count numbers.
struct Tiles {
  const bfloat16* first;
  int64_t row;    // from one row of a tile to the next
  int64_t depth;  // from one tile to the next along the depth
  int64_t other;  // to the tile of the next 16 rows (or columns)
  int64_t block;  // to the tiles of the next 32 of them

  Tiles at(int64_t number) const { return {first + number * block, row, depth, other, block}; }
  // Without the first numbers of the depth, a multiple of 32.
  Tiles from(int64_t number) const {
    return {first + number / kDepth * depth, row, depth, other, block};
  }
};

// Each block's tiles in one piece, two beside each other and then along the depth.
inline Tiles packed(const bfloat16* first, int64_t whole_depth) {
  const int64_t depth = 2 * kTileNumbers;
  return {first, kDepth, depth, kTileNumbers, whole_depth / kDepth * depth};
}

// A left operand whose rows lie one behind the other.
inline Tiles in_rows(const bfloat16* first, int64_t width) {
  return {first, width, kDepth, kTile * width, kBlock * width};
}

#if defined(__AMX_BF16__)

// While one lives, this thread's tiles have their shape.
class TileShape {
 public:
  TileShape() {
    alignas(64) uint8_t shape[64] = {1};
    for (int tile = 0; tile < 8; ++tile) {
      shape[16 + 2 * tile] = 64;  // bytes of a row
      shape[48 + tile] = kTile;   // rows
    }
    _tile_loadconfig(shape);
  }
  ~TileShape() { _tile_release(); }
  TileShape(const TileShape&) = delete;
};

// c[32][32] = (c if `add`, else 0) + left right, over so many steps of depth.
inline void multiply(const Tiles& left, const Tiles& right, int64_t steps, float* c, bool add) {
  constexpr int bytes = kBlock * sizeof(float);
  float* below = c + kTile * kBlock;
  if (add) {
    _tile_loadd(0, c, bytes);
    _tile_loadd(1, c + kTile, bytes);
    _tile_loadd(2, below, bytes);
    _tile_loadd(3, below + kTile, bytes);
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
  _tile_stored(2, below, bytes);
  _tile_stored(3, below + kTile, bytes);
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
  if (!add) std::fill(c, c + kBlockNumbers, 0.0f);
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

// Sixteen pairs of rows, each of 16 columns: row 2 i and the one after it become to[i].
template <typename Number>
RM_INLINE void pair_rows(const Number* from, int64_t row, bfloat16* to) {
  for (int i = 0; i < kTile; ++i)
    for (int c = 0; c < kTile; c += Lanes<float>::count) {
      const Number* at = from + 2 * i * row + c;
      const Words words = pair(load(at), load(at + row));
      std::memcpy(to + i * kDepth + 2 * c, &words, sizeof(words));
    }
}

// Exchanges the pairs of a tile: those of row i become the i-th of every row.
RM_INLINE void transpose_pairs(const bfloat16* from, bfloat16* to) {
  alignas(64) float in[kTile * kTile], out[kTile * kTile];
  std::memcpy(in, from, sizeof(in));
  transpose_square<kTile>(in, out);
  std::memcpy(to, out, sizeof(out));
}

// A left tile of the transposed matrix: its rows are 16 columns of `from`, its depth 32 rows.
RM_INLINE void transposed_tile(const bfloat16* from, int64_t row, bfloat16* to) {
  alignas(64) bfloat16 pairs[kTileNumbers];
  pair_rows(from, row, pairs);
  transpose_pairs(pairs, to);
}

// A right tile of a matrix in float32, of whose two strides one is 1.
RM_INLINE void right_tile(const float* from, int64_t depth, int64_t column, bfloat16* to) {
  if (column == 1) return pair_rows(from, depth, to);
  alignas(64) bfloat16 rows[kTileNumbers];
  for (int c = 0; c < kTile; ++c)
    for (int k = 0; k < kDepth; k += Lanes<float>::count)
      store(rows + c * kDepth + k, load(from + c * column + k));
  transpose_pairs(rows, to);
}

// Room for numbers that are written before they are read, at an address that vectors like.
template <typename Number>
class Room {
 public:
  explicit Room(int64_t count) : memory_(new char[count * sizeof(Number) + kAlignment]) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    first_ = reinterpret_cast<Number*>((address + kAlignment - 1) / kAlignment * kAlignment);
  }
  Number* at(int64_t place) const { return first_ + place; }

 private:
  static constexpr uintptr_t kAlignment = 64;
  std::unique_ptr<char[]> memory_;
  Number* first_;
};

}  // namespace rwkv_music
