// The WKV recurrence of RWKV-7 on a GPU, forward and backward; README.md in this folder explains it.
//
// Compiled at run time, without any header, and given
//   IO    what sequences are read and written in: 0 float, 1 bfloat16, 2 double
//   ROWS  value rows of a head that one block walks: 64, 32, 16 or 8
// The tests compile the same text for the CPU, where a block's threads run in lock step.
//
// A thread holds OWN numbers of each matrix. In the layout by rows, LANES neighbouring threads share
// a row of the state (a value channel); in the layout by columns, SHARE of them share a column.

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
constexpr int STAGE = ROWS == 16 ? 4 : 8;  // steps that the forward reads ahead
constexpr int CHUNK = 16;                  // steps between two stored states
constexpr int SPLITS = N / ROWS;
constexpr int LANES = ROWS == 8 ? 8 : 4;
constexpr int THREADS = ROWS * LANES;
constexpr int SHARE = THREADS / N;
constexpr int OWN = N / LANES;
constexpr int WALK = 256 / ROWS < CHUNK ? 256 / ROWS : CHUNK;  // states that shared memory holds
// Blocks on a multiprocessor for which registers must suffice; older chips have shared memory for one.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
constexpr int BLOCKS = ROWS == 64 ? 2 : 1;
#else
constexpr int BLOCKS = 1;
#endif
static_assert(ROWS / SHARE == OWN, "both layouts give a thread as many numbers");

constexpr Real RATE = Real(0.60653065971263342);  // exp(-1/2)

struct Sequence {  // [batch, step, head, channel]; strides count numbers
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
  Real* starts;   // [batch, head, chunk, value, key]: the state before every CHUNK-th step, or null
  Real* removed;  // [batch, head, step, value]: S alpha of every step, or null
};

struct Backward {
  long long steps, heads, total;  // total: numbers of a sequence
  Sequence r, logit, k, v, alpha, beta, dy;
  const unsigned char* resets;
  const Real* starts;
  const Real* removed;
  const Real* d_final_state;  // or null for zeros
  Real* d_state;
  Io* d_v;
  Io* d_columns[5];  // d_r, d_k, d_beta, d_alpha, d_logit
  Real* parts;       // [split, 5, total]: the sums over the rows of a block, unless there is one split
};

struct alignas(4 * sizeof(Real)) Four {
  Real at[4];
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

// 1 - d: a decay near 1 would lose the digits that it consists of.
__device__ inline Real forgotten(Real logit) { return -expm1(-RATE * sigmoid(logit)); }

// Its derivative; 1 - sigmoid(x) instead of sigmoid(-x) would lose digits as well.
__device__ inline Real slope(Real logit) {
  return RATE * (Real(1) - forgotten(logit)) * sigmoid(logit) * sigmoid(-logit);
}

// Where number e of a thread lies in a row (or column) that COUNT threads share, this being the
// p-th: fours of neighbouring threads lie side by side, in different banks of shared memory.
template <int COUNT>
__device__ inline int place(int e, int p) {
  return (e / 4) * (4 * COUNT) + 4 * p + e % 4;
}

template <int COUNT>
__device__ inline void take(Real (&own)[OWN], const Real* from, int p) {
#pragma unroll
  for (int e = 0; e < OWN; e += 4) {
    const Four four = *reinterpret_cast<const Four*>(from + place<COUNT>(e, p));
#pragma unroll
    for (int i = 0; i < 4; ++i) own[e + i] = four.at[i];
  }
}

__device__ inline Real product(const Real (&a)[OWN], const Real (&b)[OWN]) {
  Real sums[4] = {};
#pragma unroll
  for (int e = 0; e < OWN; ++e) sums[e % 4] += a[e] * b[e];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// The sum over COUNT neighbouring threads, known to all of them.
template <int COUNT>
__device__ inline Real sum_over(Real x) {
#pragma unroll
  for (int distance = 1; distance < COUNT; distance *= 2) {
    x += __shfl_xor_sync(0xffffffffu, x, distance);
  }
  return x;
}

__device__ inline void clear(Real (&own)[OWN]) {
#pragma unroll
  for (int e = 0; e < OWN; ++e) own[e] = Real(0);
}

// Which part of which head this block walks.
struct Place {
  int batch, head, pair, split;  // pair counts heads of all sequences
  __device__ explicit Place(long long heads) {
    split = blockIdx.x % SPLITS;
    pair = blockIdx.x / SPLITS;
    batch = pair / static_cast<int>(heads);
    head = pair % static_cast<int>(heads);
  }

  // Where a row of a state begins.
  __device__ long long state_row(int value) const {
    return (static_cast<long long>(pair) * N + value) * N;
  }

  // Where a row of the state before a chunk begins.
  __device__ long long start_row(long long steps, int step, int value) const {
    const long long chunks = (steps + CHUNK - 1) / CHUNK;
    return ((pair * chunks + step / CHUNK) * N + value) * N;
  }
};

extern __shared__ __align__(4 * sizeof(Real)) Real shared[];

// ---- forward ----

constexpr int FETCHED = STAGE * N / THREADS;
constexpr int FETCHED_ROWS = STAGE * ROWS / THREADS;
// Shared memory of one stage, in numbers from its beginning.
constexpr int R_AHEAD = 0, F_AHEAD = STAGE * N, K_AHEAD = 2 * F_AHEAD, ALPHA_AHEAD = 3 * F_AHEAD;
constexpr int BETA_AHEAD = 4 * F_AHEAD, V_AHEAD = 5 * F_AHEAD;
constexpr int RESET_AHEAD = V_AHEAD + STAGE * ROWS, STAGE_SIZE = RESET_AHEAD + STAGE;

// One stage of a head's sequences, on its way from global memory to shared memory.
struct Stage {
  Io r[FETCHED], logit[FETCHED], k[FETCHED], alpha[FETCHED], beta[FETCHED], v[FETCHED_ROWS];
  bool reset;

  __device__ void fetch(const Forward& a, const Place& at, int first) {
    const int t = first + threadIdx.x / N;
    const int channel = threadIdx.x % N;
    read<N>(r, a.r, a, at, t, channel);
    read<N>(logit, a.logit, a, at, t, channel);
    read<N>(k, a.k, a, at, t, channel);
    read<N>(alpha, a.alpha, a, at, t, channel);
    read<N>(beta, a.beta, a, at, t, channel);
    const int value = at.split * ROWS + threadIdx.x % ROWS;
    read<ROWS>(v, a.v, a, at, first + threadIdx.x / ROWS, value);
    const int own = first + threadIdx.x;
    reset = a.resets && threadIdx.x < STAGE && own < a.steps
                ? a.resets[at.batch * a.steps + own]
                : false;
  }

  // Every THREADS-th number of so many channels a step, from step t on.
  template <int CHANNELS, int COUNT>
  __device__ static void read(Io (&into)[COUNT], const Sequence& s, const Forward& a,
                              const Place& at, int t, int channel) {
    const Io* from = s.data + at.batch * s.batch + t * s.step + at.head * s.head + channel;
#pragma unroll
    for (int n = 0; n < COUNT; ++n) {
      const int later = n * (THREADS / CHANNELS);
      into[n] = t + later < a.steps ? from[later * s.step] : Io(0);
    }
  }

  // Steps past the end neither forget nor remove nor add.
  __device__ void put(Real* into, long long left) const {
    const int thread = threadIdx.x;
#pragma unroll
    for (int n = 0; n < FETCHED; ++n) {
      const int number = n * THREADS + thread;
      into[R_AHEAD + number] = to_real(r[n]);
      into[F_AHEAD + number] = number / N < left ? forgotten(to_real(logit[n])) : Real(0);
      into[K_AHEAD + number] = to_real(k[n]);
      into[ALPHA_AHEAD + number] = to_real(alpha[n]);
      into[BETA_AHEAD + number] = to_real(beta[n]);
    }
#pragma unroll
    for (int n = 0; n < FETCHED_ROWS; ++n) {
      into[V_AHEAD + n * THREADS + thread] = to_real(v[n]);
    }
    if (thread < STAGE) into[RESET_AHEAD + thread] = reset;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) wkv7_forward(const Forward a) {
  const Place at(a.heads);
  const int lane = threadIdx.x % LANES, row = threadIdx.x / LANES;
  const int value = at.split * ROWS + row;

  Real s[OWN];
  take<LANES>(s, a.state + at.state_row(value), lane);
  Stage ahead;
  ahead.fetch(a, at, 0);
  for (int first = 0; first < a.steps; first += STAGE) {
    Real* now = shared + first / STAGE % 2 * STAGE_SIZE;
    ahead.put(now, a.steps - first);
    __syncthreads();
    ahead.fetch(a, at, first + STAGE);
    if (a.starts && first % CHUNK == 0) {
      Real* start = a.starts + at.start_row(a.steps, first, value);
#pragma unroll
      for (int e = 0; e < OWN; e += 4) {
        *reinterpret_cast<Four*>(start + place<LANES>(e, lane)) =
            Four{{s[e], s[e + 1], s[e + 2], s[e + 3]}};
      }
    }
#pragma unroll 1
    for (int step = 0; step < STAGE; ++step) {
      const Real* rows = now + step * N;
      Real own[OWN];
      if (now[RESET_AHEAD + step] != Real(0)) clear(s);
      take<LANES>(own, rows + ALPHA_AHEAD, lane);
      const Real removed = sum_over<LANES>(product(s, own));
      take<LANES>(own, rows + F_AHEAD, lane);
#pragma unroll
      for (int e = 0; e < OWN; ++e) s[e] -= s[e] * own[e];
      take<LANES>(own, rows + BETA_AHEAD, lane);
#pragma unroll
      for (int e = 0; e < OWN; ++e) s[e] += removed * own[e];
      take<LANES>(own, rows + K_AHEAD, lane);
      const Real v = now[V_AHEAD + step * ROWS + row];
#pragma unroll
      for (int e = 0; e < OWN; ++e) s[e] += v * own[e];
      take<LANES>(own, rows + R_AHEAD, lane);
      const Real y = sum_over<LANES>(product(s, own));
      const int t = first + step;
      if (t < a.steps) {
        if (lane == 0) a.y[((at.batch * a.steps + t) * a.heads + at.head) * N + value] = to_io(y);
        if (lane == 1 && a.removed) a.removed[(at.pair * a.steps + t) * N + value] = removed;
      }
    }
  }
#pragma unroll
  for (int e = 0; e < OWN; ++e) {
    a.final_state[at.state_row(value) + place<LANES>(e, lane)] = s[e];
  }
}
