#pragma once
// Detection of the instruction sets of this machine.

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace rwkv_music {

#if defined(__x86_64__)

// Register sets that the operating system saves on a context switch.
inline unsigned enabled_registers() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

// Linux enables AMX tiles for a process, and all its threads, on request. Other systems are not known
// to, so AMX is not used there.
inline bool request_amx() {
#if defined(__linux__)
  constexpr long request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}

// Uses the cpuid instruction: __builtin_cpu_supports needs a runtime library, and the one of Zig's
// compiler, which builds the wheels, always returns false.
inline int instruction_set_level() {
  constexpr auto has = [](unsigned word, unsigned bits) { return (word & bits) == bits; };
  constexpr unsigned ymm = 0x06, zmm = 0xe6, amx_state = 0x60000;
  constexpr unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24, avx512_bf16 = 1u << 5;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, bit_OSXSAVE | bit_FMA | bit_F16C)) return 0;
  const unsigned enabled = enabled_registers();
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, bit_AVX2) || !has(enabled, ymm)) return 0;
  constexpr unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  if (!has(b, avx512) || !has(enabled, zmm)) return 1;
  if (!has(d, amx_bf16 | amx_tile) || !has(enabled, amx_state)) return 2;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !has(a, avx512_bf16)) return 2;
  return request_amx() ? 3 : 2;
}

#else

inline int instruction_set_level() { return 0; }

#endif

}  // namespace rwkv_music
