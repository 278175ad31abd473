// Vectors as wide as the instruction set allows, in the language extensions GCC and Clang share.
// The code is written once and compiled once per instruction set.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace rwkv_music {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

#if defined(__clang__)
#define RM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define RM_UNROLL _Pragma("GCC unroll 64")
#endif
#define RM_INLINE inline __attribute__((always_inline))
#define RM_INLINE_LAMBDA __attribute__((always_inline))

template <typename Real>
struct IntegerOf;
template <>
struct IntegerOf<float> {
  using type = int32_t;
};
template <>
struct IntegerOf<double> {
  using type = int64_t;
};

template <typename Real>
struct Lanes {
  using Integer = typename IntegerOf<Real>::type;
  static constexpr int count = kVectorBytes / static_cast<int>(sizeof(Real));
  typedef Real Vector __attribute__((vector_size(kVectorBytes)));
  typedef Integer Integers __attribute__((vector_size(kVectorBytes)));
};

template <typename Real>
using Vector = typename Lanes<Real>::Vector;
template <typename Real>
using Integers = typename Lanes<Real>::Integers;

// bfloat16: the upper 16 bits of a float32.
struct bfloat16 {
  uint16_t bits;
};

template <typename Real>
RM_INLINE Vector<Real> load(const Real* from) {
  Vector<Real> x;
  std::memcpy(&x, from, sizeof(x));
  return x;
}

typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));
typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));

// Intrinsics, since GCC splits these conversions into several instructions.
RM_INLINE Words widen(Halves x) {
#if defined(__AVX512F__)
  return (Words)_mm512_cvtepu16_epi32((__m256i)x);
#elif defined(__AVX2__)
  return (Words)_mm256_cvtepu16_epi32((__m128i)x);
#else
  return __builtin_convertvector(x, Words);
#endif
}

RM_INLINE Vector<float> load(const bfloat16* from) {
  Halves halves;
  std::memcpy(&halves, from, sizeof(halves));
  return (Vector<float>)(widen(halves) << 16);
}

typedef int16_t Shorts __attribute__((vector_size(kVectorBytes)));

// Loads as many int8 as a vector has int16, and widens them.
RM_INLINE Shorts load_shorts(const int8_t* from) {
#if defined(__AVX512F__)
  return (Shorts)_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)from));
#elif defined(__AVX2__)
  return (Shorts)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)from));
#else
  typedef int8_t Bytes __attribute__((vector_size(kVectorBytes / 2)));
  Bytes bytes;
  std::memcpy(&bytes, from, sizeof(bytes));
  return __builtin_convertvector(bytes, Shorts);
#endif
}

// Lane i is w[2i] pair[0] + w[2i + 1] pair[1], where `pair` holds two int16.
RM_INLINE Integers<float> products_of_pairs(Shorts w, int32_t pair) {
#if defined(__AVX512F__)
  return (Integers<float>)_mm512_madd_epi16((__m512i)w, _mm512_set1_epi32(pair));
#elif defined(__AVX2__)
  return (Integers<float>)_mm256_madd_epi16((__m256i)w, _mm256_set1_epi32(pair));
#elif defined(__SSE2__)
  return (Integers<float>)_mm_madd_epi16((__m128i)w, _mm_set1_epi32(pair));
#else
  const Integers<float> both = (Integers<float>)w;
  return (both << 16 >> 16) * int32_t(int16_t(pair)) + (both >> 16) * (pair >> 16);
#endif
}

template <typename Real>
RM_INLINE void store(Real* to, Vector<Real> x) {
  std::memcpy(to, &x, sizeof(x));
}

// Narrows words below 2^16 to 16 bits.
RM_INLINE Halves narrow(Words x) {
#if defined(__AVX512F__)
  return (Halves)_mm512_cvtepi32_epi16((__m512i)x);
#elif defined(__AVX2__)
  const __m256i packed = _mm256_packus_epi32((__m256i)x, (__m256i)x);  // within each 128-bit half
  return (Halves)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
#else
  return __builtin_convertvector(x, Halves);
#endif
}

// Rounds to the nearest bfloat16, ties to even; NaN stays NaN.
RM_INLINE Halves round(Vector<float> x) {
#if defined(__AVX512BF16__)
  return (Halves)_mm512_cvtneps_pbh(x);
#else
  const Words bits = (Words)x;
  Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Words is_nan = (Words)(x != x);
  rounded = (is_nan & 0x7fc0u) | (~is_nan & rounded);
  return narrow(rounded);
#endif
}

RM_INLINE void store(bfloat16* to, Vector<float> x) {
  const Halves halves = round(x);
  std::memcpy(to, &halves, sizeof(halves));
}

// Word i holds x[i] (lower half) and y[i] (upper half) as bfloat16.
RM_INLINE Words pair(Vector<float> x, Vector<float> y) {
  return widen(round(x)) | (widen(round(y)) << 16);
}

// Non-temporal store, for data that is read much later or by other threads: the cache line is not read
// first. Call `finish_streams` before the data is read.
template <typename Real>
RM_INLINE void stream(Real* to, Vector<Real> x) {
#if defined(__SSE2__)
  if constexpr (std::is_same_v<Real, float>)
    if (reinterpret_cast<uintptr_t>(to) % kVectorBytes == 0) {
#if defined(__AVX512F__)
      _mm512_stream_ps(to, x);
#elif defined(__AVX2__)
      _mm256_stream_ps(to, x);
#else
      _mm_stream_ps(to, x);
#endif
      return;
    }
#endif
  store(to, x);
}

inline void finish_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

template <typename Real>
RM_INLINE Vector<Real> fill(Real x) {
  return x - Vector<Real>{};
}

template <typename Real>
RM_INLINE Vector<Real> maximum(Vector<Real> x, Vector<Real> y) {
  return x > y ? x : y;
}

template <typename Real>
RM_INLINE Vector<Real> minimum(Vector<Real> x, Vector<Real> y) {
  return x < y ? x : y;
}

// Treats x and y as rows of blocks of `Step` lanes; swaps the odd blocks of x with the even ones of y.
template <int Step, typename Real, int... I>
RM_INLINE void exchange(Vector<Real>& x, Vector<Real>& y, std::integer_sequence<int, I...>) {
  constexpr int count = Lanes<Real>::count;
#if defined(__clang__)
  const auto first = __builtin_shufflevector(x, y, ((I & Step) ? count + I - Step : I)...);
  y = __builtin_shufflevector(x, y, ((I & Step) ? count + I : I + Step)...);
#else
  const auto first = __builtin_shuffle(x, y, Integers<Real>{((I & Step) ? count + I - Step : I)...});
  y = __builtin_shuffle(x, y, Integers<Real>{((I & Step) ? count + I : I + Step)...});
#endif
  x = first;
}

template <int Step, typename Real>
RM_INLINE void exchange(Vector<Real>& x, Vector<Real>& y) {
  exchange<Step, Real>(x, y, std::make_integer_sequence<int, Lanes<Real>::count>{});
}

// Transposes a square block of as many vectors as there are lanes.
template <typename Real, int Step = 1>
RM_INLINE void transpose_tile(Vector<Real> (&tile)[Lanes<Real>::count]) {
  constexpr int lanes = Lanes<Real>::count;
  if constexpr (Step < lanes) {
    RM_UNROLL
    for (int i = 0; i < lanes; ++i)
      if (!(i & Step)) exchange<Step, Real>(tile[i], tile[i + Step]);
    transpose_tile<Real, 2 * Step>(tile);
  }
}

// Transposes a square matrix of size `Size`.
template <int Size, typename Real>
RM_INLINE void transpose_square(const Real* from, Real* to) {
  constexpr int lanes = Lanes<Real>::count;
  for (int i = 0; i < Size; i += lanes)
    for (int j = 0; j < Size; j += lanes) {
      Vector<Real> tile[lanes];
      RM_UNROLL
      for (int row = 0; row < lanes; ++row) tile[row] = load(from + (i + row) * Size + j);
      transpose_tile<Real>(tile);
      RM_UNROLL
      for (int row = 0; row < lanes; ++row) store(to + (j + row) * Size + i, tile[row]);
    }
}

template <typename Real, int Count, int Step>
RM_INLINE Vector<Real> sums_from(Vector<Real>* parts) {
  constexpr int lanes = Lanes<Real>::count;
  if constexpr (Step == lanes) {
    return parts[0];
  } else {
    constexpr int remaining = Count > 1 ? Count / 2 : 1;
    RM_UNROLL
    for (int i = 0; i < remaining; ++i) {
      Vector<Real> x = parts[Count > 1 ? 2 * i : 0], y = parts[Count > 1 ? 2 * i + 1 : 0];
      exchange<Step, Real>(x, y);
      parts[i] = x + y;
    }
    return sums_from<Real, remaining, 2 * Step>(parts);
  }
}

template <typename Real>
RM_INLINE Real sum(Vector<Real> x) {
  return sums_from<Real, 1, 1>(&x)[0];
}

// Sets to[i] to the sum over the lanes of parts[i]; Count is a power of two. Much cheaper than separate
// sums. Overwrites `parts`.
template <typename Real, int Count>
RM_INLINE void sums_to(Vector<Real> (&parts)[Count], Real* to) {
  constexpr int lanes = Lanes<Real>::count;
  constexpr int block = Count < lanes ? Count : lanes;
  RM_UNROLL
  for (int i = 0; i < Count; i += block) {
    const Vector<Real> totals = sums_from<Real, block, 1>(parts + i);
    std::memcpy(to + i, &totals, block * sizeof(Real));
  }
}

}  // namespace rwkv_music
