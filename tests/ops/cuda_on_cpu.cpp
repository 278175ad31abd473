// The CUDA source compiled for a CPU, and a way to launch its kernels; see cuda_on_cpu.h.

#include "cuda_on_cpu.h"

using std::exp;
using std::expm1;

#include SOURCE

constexpr int FENCE = 1024;
Real shared[101376 / 4 + FENCE];

namespace {

template <typename Arguments, void (*kernel)(Arguments)>
void call(const void* arguments) {
  kernel(*static_cast<const Arguments*>(arguments));
}

struct Kernel {
  const char* name;
  void (*work)(const void*);
};

#define KERNEL(name, arguments) {#name, call<const arguments, name>},
const Kernel KERNELS[] = {EVERY_KERNEL};  // of SOURCE, such as KERNEL(wkv7_forward, Forward)

}  // namespace

// Null, or what went wrong. `numbers` is the size of shared memory, in numbers.
extern "C" const char* launch(const char* name, const void* arguments, unsigned blocks,
                              unsigned threads, unsigned numbers, bool falling) {
  using namespace emulation;
  work = nullptr;
  for (const Kernel& kernel : KERNELS) {
    if (!std::strcmp(kernel.name, name)) work = kernel.work;
  }
  if (!work) return "there is no such kernel";
  if (numbers + FENCE > sizeof shared / sizeof *shared) return "too much shared memory";
  argument = arguments;
  problem = nullptr;
  fibers.resize(threads);
  for (Fiber& fiber : fibers) fiber.stack.resize(64 * 1024);
  blockDim.x = threads;
  gridDim.x = blocks;
  const Real nan = std::numeric_limits<Real>::quiet_NaN();
  for (unsigned block = 0; block < blocks && !problem; ++block) {
    blockIdx.x = falling ? blocks - 1 - block : block;
    for (unsigned n = 0; n < numbers; ++n) shared[n] = nan;
    for (int n = 0; n < FENCE; ++n) shared[numbers + n] = Real(12345);
    run_block(threads, falling);
    for (int n = 0; n < FENCE; ++n) {
      if (shared[numbers + n] != Real(12345)) problem = "a write beyond shared memory";
    }
  }
  return problem;
}
