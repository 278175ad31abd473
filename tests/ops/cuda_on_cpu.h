// What the CUDA source needs to run on a CPU: a block's threads as fibers in lock step.
//
// Threads of a warp must reach the same shuffles, and all threads of a block the same barriers: the
// emulation aborts where a GPU would hang or compute nonsense. Shared memory begins as NaNs and ends
// in a fence. Warps can be run in rising or falling order; a race between two of them shows as a
// difference.

#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include <ucontext.h>

#define __global__
#define __device__
#define __shared__
#define __align__(bytes)
#define __launch_bounds__(...)

struct Three {
  unsigned x, y, z;
};

static Three threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

enum Stop { AT_SHUFFLE, AT_BARRIER, AT_END };

struct Fiber {
  ucontext_t context;
  jmp_buf here;
  std::vector<char> stack;
  Stop stop;
  bool begun;
  double slot[2];
  int shuffles;
};

static std::vector<Fiber> fibers;
static Fiber* current;
static jmp_buf scheduler;
static void (*work)(const void*);
static const void* argument;
static const char* problem;

static void stop_at(Stop stop) {
  current->stop = stop;
  if (!_setjmp(current->here)) _longjmp(scheduler, 1);
}

static void begin_fiber() {
  work(argument);
  current->stop = AT_END;
  _longjmp(scheduler, 1);
}

static void resume(unsigned number) {
  current = &fibers[number];
  threadIdx.x = number;
  if (_setjmp(scheduler)) return;
  if (current->begun) _longjmp(current->here, 1);
  current->begun = true;
  setcontext(&current->context);
}

static Stop run_warp(unsigned first, unsigned last) {
  for (;;) {
    for (unsigned number = first; number < last; ++number) resume(number);
    for (unsigned number = first; number < last; ++number) {
      const Fiber &one = fibers[number], &lead = fibers[first];
      if (one.stop != lead.stop || one.shuffles != lead.shuffles) {
        problem = "threads of a warp part ways";
      }
    }
    if (problem || fibers[first].stop != AT_SHUFFLE) return fibers[first].stop;
  }
}

static void run_block(unsigned threads, bool falling) {
  const unsigned warps = (threads + 31) / 32;
  for (unsigned number = 0; number < threads; ++number) {
    Fiber& fiber = fibers[number];
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.begun = false;
    fiber.shuffles = 0;
    makecontext(&fiber.context, begin_fiber, 0);
  }
  for (;;) {
    std::vector<Stop> stops;
    for (unsigned n = 0; n < warps; ++n) {
      const unsigned warp = falling ? warps - 1 - n : n;
      const unsigned last = (warp + 1) * 32 < threads ? (warp + 1) * 32 : threads;
      stops.push_back(run_warp(warp * 32, last));
      if (problem) return;
      if (stops.back() != stops.front()) {
        problem = "warps of a block part ways";
        return;
      }
    }
    if (stops.front() == AT_END) return;
  }
}

}  // namespace emulation

static inline void __syncthreads() { emulation::stop_at(emulation::AT_BARRIER); }

template <typename T>
static inline T __shfl_xor_sync(unsigned mask, T value, int distance) {
  using namespace emulation;
  if (mask != 0xffffffffu) problem = "a shuffle of part of a warp";
  const int turn = current->shuffles++ % 2;  // two slots: a fast thread must not overwrite the last
  current->slot[turn] = value;
  stop_at(AT_SHUFFLE);
  const Fiber& other = fibers[threadIdx.x ^ distance];
  return static_cast<T>(other.slot[turn]);
}

static inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

static inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
