// The WKV recurrence of RWKV-7 on a GPU, forward and backward; see README.md in this folder.
//
// Compiled at run time, without any header, with the macros
//   IO    dtype of sequences in memory: 0 float, 1 bfloat16, 2 double
//   ROWS  value rows of a head that one block computes: 64, 32, 16 or 8
// The tests compile the same source for the CPU and run the threads of a block one after the other
// between barriers.
//
// A thread holds PER_THREAD elements of each matrix. In the layout by rows, ROW_THREADS adjacent
// threads share a row of the state (a value channel); in the layout by columns, COLUMN_THREADS share a column.

#if IO == 2
typedef double Real;
#else
typedef float Real;
#endif
#if IO == 1
typedef unsigned short Io;
#else
typedef Real Io;
#endif

constexpr int N = 64;
constexpr int STAGE = ROWS == 16 ? 4 : 8;  // steps that the forward pass prefetches
constexpr int CHUNK = 16;                  // steps between two stored states
constexpr int SPLITS = N / ROWS;
constexpr int ROW_THREADS = ROWS == 8 ? 8 : 4;
constexpr int THREADS = ROWS * ROW_THREADS;
constexpr int COLUMN_THREADS = THREADS / N;
constexpr int PER_THREAD = N / ROW_THREADS;
constexpr int HISTORY_STEPS = 256 / ROWS < CHUNK ? 256 / ROWS : CHUNK;  // states kept in shared memory
// Blocks per multiprocessor that registers must allow; older GPUs have shared memory for one.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
constexpr int BLOCKS = ROWS == 64 ? 2 : 1;
#else
constexpr int BLOCKS = 1;
#endif
static_assert(ROWS / COLUMN_THREADS == PER_THREAD, "equal elements per thread");

constexpr Real DECAY_RATE = Real(0.60653065971263342);  // exp(-1/2)

struct Sequence {  // [batch, step, head, channel]; strides count elements
  const Io* data;
  long long batch, step, head;
};

struct Forward {
  long long steps, heads;
  Sequence r, logit, k, v, alpha, beta;
  const unsigned char* resets;  // [batch, step], or null
  const Real* state;            // [batch, head, value, key], as is final_state
  Io* y;                        // [batch, step, head, value]
  Real* final_state;
  Real* starts;   // [batch, head, chunk, value, key]: the state before each chunk, or null
  Real* removed;  // [batch, head, step, value]: S alpha, or null
};

struct Backward {
  long long steps, heads, total;  // total: elements of a sequence
  Sequence r, logit, k, v, alpha, beta, dy;
  const unsigned char* resets;
  const Real* starts;
  const Real* removed;
  const Real* d_final_state;  // or null for zeros
  Real* d_state;
  Io* d_v;
  Io* d_columns[5];  // d_r, d_k, d_beta, d_alpha, d_logit
  Real* partial_sums;       // [split, 5, total]: sums over the rows of a block; unused with one split
};

struct alignas(4 * sizeof(Real)) Vec4 {
  Real lane[4];
};

__device__ inline Real to_real(Io x) {
#if IO == 1
  return __uint_as_float(static_cast<unsigned>(x) << 16);
#else
  return x;
#endif
}

__device__ inline Io to_io(Real x) {
#if IO == 1
  const unsigned bits = __float_as_uint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<Io>((bits >> 16) | 0x40u);  // stays NaN
  return static_cast<Io>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);  // to nearest, ties to even
#else
  return x;
#endif
}

__device__ inline Real sigmoid(Real x) { return Real(1) / (Real(1) + exp(-x)); }

// 1 - d, without cancellation at decays near 1.
__device__ inline Real forget_amount(Real logit) { return -expm1(-DECAY_RATE * sigmoid(logit)); }

// Its derivative; uses sigmoid(-x), since 1 - sigmoid(x) would cancel.
__device__ inline Real forget_slope(Real logit) {
  return DECAY_RATE * (Real(1) - forget_amount(logit)) * sigmoid(logit) * sigmoid(-logit);
}

// Index of element e of thread p in a row (or column) shared by COUNT threads. Groups of four elements
// of adjacent threads are adjacent, so that they are in different banks of shared memory.
template <int COUNT>
__device__ inline int element_index(int e, int p) {
  return (e / 4) * (4 * COUNT) + 4 * p + e % 4;
}

template <int COUNT>
__device__ inline void load_values(Real (&values)[PER_THREAD], const Real* from, int p) {
#pragma unroll
  for (int e = 0; e < PER_THREAD; e += 4) {
    const Vec4 vec = *reinterpret_cast<const Vec4*>(from + element_index<COUNT>(e, p));
#pragma unroll
    for (int i = 0; i < 4; ++i) values[e + i] = vec.lane[i];
  }
}

__device__ inline Real product(const Real (&a)[PER_THREAD], const Real (&b)[PER_THREAD]) {
  Real sums[4] = {};
#pragma unroll
  for (int e = 0; e < PER_THREAD; ++e) sums[e % 4] += a[e] * b[e];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// The sum over COUNT adjacent threads, returned to each of them.
template <int COUNT>
__device__ inline Real sum_over(Real x) {
#pragma unroll
  for (int distance = 1; distance < COUNT; distance *= 2) {
    x += __shfl_xor_sync(0xffffffffu, x, distance);
  }
  return x;
}

__device__ inline void set_zero(Real (&values)[PER_THREAD]) {
#pragma unroll
  for (int e = 0; e < PER_THREAD; ++e) values[e] = Real(0);
}

// The head, and the part of its rows, that this block computes.
struct BlockPosition {
  int batch, head, pair, split;  // pair: index over the heads of all sequences
  __device__ explicit BlockPosition(long long heads) {
    split = blockIdx.x % SPLITS;
    pair = blockIdx.x / SPLITS;
    batch = pair / static_cast<int>(heads);
    head = pair % static_cast<int>(heads);
  }

  // Offset of a row of a state.
  __device__ long long state_row(int value) const {
    return (static_cast<long long>(pair) * N + value) * N;
  }

  // Offset of a row of the state before a chunk.
  __device__ long long start_row(long long steps, int step, int value) const {
    const long long chunks = (steps + CHUNK - 1) / CHUNK;
    return ((pair * chunks + step / CHUNK) * N + value) * N;
  }
};

extern __shared__ __align__(4 * sizeof(Real)) Real shared[];

// ---- forward ----

constexpr int FETCHED_VALUES = STAGE * N / THREADS;
constexpr int FETCHED_ROWS = STAGE * ROWS / THREADS;
// Layout of one stage in shared memory, in elements.
constexpr int STAGE_R = 0, STAGE_F = STAGE * N, STAGE_K = 2 * STAGE_F, STAGE_ALPHA = 3 * STAGE_F;
constexpr int STAGE_BETA = 4 * STAGE_F, STAGE_V = 5 * STAGE_F;
constexpr int STAGE_RESET = STAGE_V + STAGE * ROWS, STAGE_SIZE = STAGE_RESET + STAGE;

// One stage of a head's sequences, held in registers between global and shared memory.
struct Stage {
  Io r[FETCHED_VALUES], logit[FETCHED_VALUES], k[FETCHED_VALUES];
  Io alpha[FETCHED_VALUES], beta[FETCHED_VALUES], v[FETCHED_ROWS];
  bool reset;

  __device__ void fetch(const Forward& a, const BlockPosition& block, int first) {
    const int t = first + threadIdx.x / N;
    const int channel = threadIdx.x % N;
    read<N>(r, a.r, a, block, t, channel);
    read<N>(logit, a.logit, a, block, t, channel);
    read<N>(k, a.k, a, block, t, channel);
    read<N>(alpha, a.alpha, a, block, t, channel);
    read<N>(beta, a.beta, a, block, t, channel);
    const int value = block.split * ROWS + threadIdx.x % ROWS;
    read<ROWS>(v, a.v, a, block, first + threadIdx.x / ROWS, value);
    const int values = first + threadIdx.x;
    reset = a.resets && threadIdx.x < STAGE && values < a.steps
                ? a.resets[block.batch * a.steps + values]
                : false;
  }

  // Reads every THREADS-th element of CHANNELS channels per step, from step t on.
  template <int CHANNELS, int COUNT>
  __device__ static void read(Io (&to)[COUNT], const Sequence& s, const Forward& a,
                              const BlockPosition& block, int t, int channel) {
    const Io* from = s.data + block.batch * s.batch + t * s.step + block.head * s.head + channel;
#pragma unroll
    for (int n = 0; n < COUNT; ++n) {
      const int steps_ahead = n * (THREADS / CHANNELS);
      to[n] = t + steps_ahead < a.steps ? from[steps_ahead * s.step] : Io(0);
    }
  }

  // Steps past the end leave the state unchanged.
  __device__ void store(Real* to, long long steps_left) const {
    const int thread = threadIdx.x;
#pragma unroll
    for (int n = 0; n < FETCHED_VALUES; ++n) {
      const int index = n * THREADS + thread;
      to[STAGE_R + index] = to_real(r[n]);
      to[STAGE_F + index] = index / N < steps_left ? forget_amount(to_real(logit[n])) : Real(0);
      to[STAGE_K + index] = to_real(k[n]);
      to[STAGE_ALPHA + index] = to_real(alpha[n]);
      to[STAGE_BETA + index] = to_real(beta[n]);
    }
#pragma unroll
    for (int n = 0; n < FETCHED_ROWS; ++n) {
      to[STAGE_V + n * THREADS + thread] = to_real(v[n]);
    }
    if (thread < STAGE) to[STAGE_RESET + thread] = reset;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) wkv7_forward(const Forward a) {
  const BlockPosition block(a.heads);
  const int lane = threadIdx.x % ROW_THREADS, row = threadIdx.x / ROW_THREADS;
  const int value = block.split * ROWS + row;

  Real s[PER_THREAD];
  load_values<ROW_THREADS>(s, a.state + block.state_row(value), lane);
  Stage next_stage;
  next_stage.fetch(a, block, 0);
  for (int first = 0; first < a.steps; first += STAGE) {
    Real* stage = shared + first / STAGE % 2 * STAGE_SIZE;
    next_stage.store(stage, a.steps - first);
    __syncthreads();
    next_stage.fetch(a, block, first + STAGE);
    if (a.starts && first % CHUNK == 0) {
      Real* start_rows = a.starts + block.start_row(a.steps, first, value);
#pragma unroll
      for (int e = 0; e < PER_THREAD; e += 4) {
        *reinterpret_cast<Vec4*>(start_rows + element_index<ROW_THREADS>(e, lane)) =
            Vec4{{s[e], s[e + 1], s[e + 2], s[e + 3]}};
      }
    }
#pragma unroll 1
    for (int step = 0; step < STAGE; ++step) {
      const Real* rows = stage + step * N;
      Real values[PER_THREAD];
      if (stage[STAGE_RESET + step] != Real(0)) set_zero(s);
      load_values<ROW_THREADS>(values, rows + STAGE_ALPHA, lane);
      const Real removed = sum_over<ROW_THREADS>(product(s, values));
      load_values<ROW_THREADS>(values, rows + STAGE_F, lane);
#pragma unroll
      for (int e = 0; e < PER_THREAD; ++e) s[e] -= s[e] * values[e];
      load_values<ROW_THREADS>(values, rows + STAGE_BETA, lane);
#pragma unroll
      for (int e = 0; e < PER_THREAD; ++e) s[e] += removed * values[e];
      load_values<ROW_THREADS>(values, rows + STAGE_K, lane);
      const Real v = stage[STAGE_V + step * ROWS + row];
#pragma unroll
      for (int e = 0; e < PER_THREAD; ++e) s[e] += v * values[e];
      load_values<ROW_THREADS>(values, rows + STAGE_R, lane);
      const Real y = sum_over<ROW_THREADS>(product(s, values));
      const int t = first + step;
      if (t < a.steps) {
        if (lane == 0) a.y[((block.batch * a.steps + t) * a.heads + block.head) * N + value] = to_io(y);
        if (lane == 1 && a.removed) a.removed[(block.pair * a.steps + t) * N + value] = removed;
      }
    }
  }
#pragma unroll
  for (int e = 0; e < PER_THREAD; ++e) {
    a.final_state[block.state_row(value) + element_index<ROW_THREADS>(e, lane)] = s[e];
  }
}
