#pragma once
// Which instruction sets this machine has.

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace rwkv_music {

#if defined(__x86_64__)

// The registers that the operating system saves: without it a wide one would lose its numbers.
inline unsigned saved_registers() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

// Linux hands out the room for tiles to processes that ask for it, and so to all their threads. Other
// systems are not known to: there we do without.
inline bool may_use_tiles() {
#if defined(__linux__)
  constexpr long request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}

// The processor is asked directly: __builtin_cpu_supports needs a runtime library that Zig's
// compiler, which makes our wheels, brings in a form that answers "no" to everything.
inline int level_of_this_machine() {
  constexpr auto has = [](unsigned word, unsigned bits) { return (word & bits) == bits; };
  constexpr unsigned ymm = 0x06, zmm = 0xe6, tiles = 0x60000;
  constexpr unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24, avx512_bf16 = 1u << 5;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, bit_OSXSAVE | bit_FMA | bit_F16C)) return 0;
  const unsigned saved = saved_registers();
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, bit_AVX2) || !has(saved, ymm)) return 0;
  constexpr unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  if (!has(b, avx512) || !has(saved, zmm)) return 1;
  if (!has(d, amx_bf16 | amx_tile) || !has(saved, tiles)) return 2;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !has(a, avx512_bf16)) return 2;
  return may_use_tiles() ? 3 : 2;
}

#else

inline int level_of_this_machine() { return 0; }

#endif

}  // namespace rwkv_music
