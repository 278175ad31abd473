#pragma once
// Which instruction sets this machine has.

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace rwkv_music {

#if defined(__x86_64__)

// The registers that the operating system saves: without it a wide one would lose its numbers.
inline unsigned saved_registers() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

// The processor is asked directly: __builtin_cpu_supports needs a runtime library that Zig's
// compiler, which makes our wheels, brings in a form that answers "no" to everything.
inline int level_of_this_machine() {
  constexpr auto has = [](unsigned word, unsigned bits) { return (word & bits) == bits; };
  constexpr unsigned ymm = 0x06, zmm = 0xe6;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, bit_OSXSAVE | bit_FMA | bit_F16C)) return 0;
  const unsigned saved = saved_registers();
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, bit_AVX2) || !has(saved, ymm)) return 0;
  constexpr unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  return has(b, avx512) && has(saved, zmm) ? 2 : 1;
}

#else

inline int level_of_this_machine() { return 0; }

#endif

}  // namespace rwkv_music
