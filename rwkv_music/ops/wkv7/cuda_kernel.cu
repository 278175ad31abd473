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

// ---- backward ----
//
// Chunk by chunk from the last one. Inside a chunk, WALK steps at a time: their states are computed
// forward from the stored one, kept in shared memory, and walked back. The gradient of the state, D
// in README.md, is held in both layouts, so that sums along rows and along columns are both a
// thread's own, up to a few shuffles. The states are needed by columns only.

// Shared memory of the backward, in numbers from its beginning.
constexpr int F = 0, K = CHUNK * N, BETA = 2 * K, ALPHA = 3 * K, R = 4 * K;
constexpr int V = 5 * K, DY = V + CHUNK * ROWS, REMOVED = DY + CHUNK * ROWS;
constexpr int U = REMOVED + CHUNK * ROWS, RESET = U + 2 * ROWS, HISTORY = RESET + CHUNK;

enum Column { D_R, D_K, D_BETA, D_ALPHA, D_LOGIT };

struct Walk {
  const Backward& a;
  const Place at;
  const int lane, row, part, column;
  int first;  // step of the chunk

  __device__ explicit Walk(const Backward& given)
      : a(given),
        at(given.heads),
        lane(threadIdx.x % LANES),
        row(threadIdx.x / LANES),
        part(threadIdx.x % SHARE),
        column(threadIdx.x / SHARE),
        first(0) {}

  __device__ long long offset(int t, int channel) const {
    return ((at.batch * a.steps + t) * a.heads + at.head) * N + channel;
  }

  __device__ Real read(const Sequence& s, int step, int channel) const {
    const int t = first + step;
    if (t >= a.steps) return Real(0);
    return to_real(s.data[at.batch * s.batch + t * s.step + at.head * s.head + channel]);
  }

  __device__ void read_chunk() const {
    for (int number = threadIdx.x; number < CHUNK * N; number += THREADS) {
      const int step = number / N, channel = number % N;
      const bool there = first + step < a.steps;
      shared[F + number] = there ? forgotten(read(a.logit, step, channel)) : Real(0);
      shared[K + number] = read(a.k, step, channel);
      shared[BETA + number] = read(a.beta, step, channel);
      shared[ALPHA + number] = read(a.alpha, step, channel);
      shared[R + number] = read(a.r, step, channel);
    }
    for (int number = threadIdx.x; number < CHUNK * ROWS; number += THREADS) {
      const int step = number / ROWS, value = at.split * ROWS + number % ROWS;
      const int t = first + step;
      shared[V + number] = read(a.v, step, value);
      shared[DY + number] = read(a.dy, step, value);
      shared[REMOVED + number] =
          t < a.steps ? a.removed[(at.pair * a.steps + t) * N + value] : Real(0);
    }
    if (threadIdx.x < CHUNK) {
      const int t = first + threadIdx.x;
      shared[RESET + threadIdx.x] = a.resets && t < a.steps && a.resets[at.batch * a.steps + t];
    }
  }

  __device__ bool is_reset(int step) const { return shared[RESET + step] != Real(0); }

  // The state before the chunk, by columns.
  __device__ void start(Real (&s)[OWN]) const {
    const Real* from = a.starts + at.start_row(a.steps, first, at.split * ROWS);
#pragma unroll
    for (int e = 0; e < OWN; ++e) {
      s[e] = from[place<SHARE>(e, part) * N + column];
    }
  }

  // S_t from S_{t-1}, which a reset has cleared already.
  __device__ void forward(Real (&s)[OWN], int step) const {
    const int here = step * N + column;
    const Real f = shared[F + here], k = shared[K + here], beta = shared[BETA + here];
    Real removed[OWN], v[OWN];
    take<SHARE>(removed, shared + REMOVED + step * ROWS, part);
    take<SHARE>(v, shared + V + step * ROWS, part);
#pragma unroll
    for (int e = 0; e < OWN; ++e) {
      s[e] -= s[e] * f;
      s[e] += beta * removed[e];
      s[e] += k * v[e];
    }
  }

  // One of the five sums over the rows of this block, for one column.
  __device__ void emit(Column which, int step, Real sum) const {
    const int t = first + step;
    if (t >= a.steps || which % SHARE != part) return;
    const long long here = offset(t, column);
    if (SPLITS > 1) {
      a.parts[(at.split * 5LL + which) * a.total + here] = sum;
    } else {
      if (which == D_LOGIT) sum *= slope(read(a.logit, step, column));
      a.d_columns[which][here] = to_io(sum);
    }
  }

  __device__ Four* history(int kept) const {
    return reinterpret_cast<Four*>(shared + HISTORY) + kept * (OWN / 4) * THREADS + threadIdx.x;
  }

  // States of WALK steps from `begin` on into shared memory, each thread its own numbers; and d_r,
  // which needs nothing else.
  __device__ void remember(int begin) const {
    Real s[OWN];
    start(s);
#pragma unroll 1
    for (int step = 0; step < begin; ++step) {
      if (is_reset(step)) clear(s);
      forward(s, step);
    }
#pragma unroll 1
    for (int kept = 0; kept < WALK; ++kept) {
      const int step = begin + kept;
      if (is_reset(step)) clear(s);
#pragma unroll
      for (int e = 0; e < OWN; e += 4) {
        history(kept)[e / 4 * THREADS] = Four{{s[e], s[e + 1], s[e + 2], s[e + 3]}};
      }
      forward(s, step);
      Real dy[OWN];
      take<SHARE>(dy, shared + DY + step * ROWS, part);
      emit(D_R, step, sum_over<SHARE>(product(s, dy)));
    }
  }

  // One step back. `by_row` and `by_column` are D in both layouts.
  __device__ void back(Real (&by_row)[OWN], Real (&by_column)[OWN], int step, int kept) const {
    Real* all_u = shared + U + step % 2 * ROWS;
    const int t = first + step;
    // Along rows: D <- D + dy r^T, dv = D k, u = D beta.
    Real own[OWN];
    take<LANES>(own, shared + R + step * N, lane);
    const Real dy = shared[DY + step * ROWS + row];
#pragma unroll
    for (int e = 0; e < OWN; ++e) by_row[e] += dy * own[e];
    take<LANES>(own, shared + K + step * N, lane);
    const Real dv = sum_over<LANES>(product(by_row, own));
    take<LANES>(own, shared + BETA + step * N, lane);
    const Real u = sum_over<LANES>(product(by_row, own));
    if (lane == 0) {
      all_u[row] = u;
      if (t < a.steps) a.d_v[offset(t, at.split * ROWS + row)] = to_io(dv);
    }
    // Along columns the same D, and its sums.
    const int here = step * N + column;
    take<SHARE>(own, shared + DY + step * ROWS, part);
    const Real r = shared[R + here];
#pragma unroll
    for (int e = 0; e < OWN; ++e) by_column[e] += own[e] * r;
    take<SHARE>(own, shared + V + step * ROWS, part);
    emit(D_K, step, sum_over<SHARE>(product(by_column, own)));
    take<SHARE>(own, shared + REMOVED + step * ROWS, part);
    emit(D_BETA, step, sum_over<SHARE>(product(by_column, own)));
    // D <- D diag(d) + u alpha^T, by rows with this row's u, by columns with all of them.
    take<LANES>(own, shared + F + step * N, lane);
#pragma unroll
    for (int e = 0; e < OWN; ++e) by_row[e] -= by_row[e] * own[e];
    take<LANES>(own, shared + ALPHA + step * N, lane);
#pragma unroll
    for (int e = 0; e < OWN; ++e) by_row[e] += u * own[e];
    __syncthreads();
    Real before[OWN];
#pragma unroll
    for (int e = 0; e < OWN; e += 4) {
      const Four four = history(kept)[e / 4 * THREADS];
#pragma unroll
      for (int i = 0; i < 4; ++i) before[e + i] = four.at[i];
    }
    emit(D_LOGIT, step, -sum_over<SHARE>(product(by_column, before)));
    take<SHARE>(own, all_u, part);
    emit(D_ALPHA, step, sum_over<SHARE>(product(before, own)));
    const Real alpha = shared[ALPHA + here], f_here = shared[F + here];
#pragma unroll
    for (int e = 0; e < OWN; ++e) {
      by_column[e] -= by_column[e] * f_here;
      by_column[e] += own[e] * alpha;
    }
    if (is_reset(step)) {
      clear(by_row);
      clear(by_column);
    }
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) wkv7_backward(const Backward a) {
  Walk walk(a);
  const long long matrix = walk.at.state_row(walk.at.split * ROWS);
  Real by_row[OWN], by_column[OWN];
  clear(by_row);
  clear(by_column);
  if (a.d_final_state) {
    take<LANES>(by_row, a.d_final_state + matrix + walk.row * N, walk.lane);
#pragma unroll
    for (int e = 0; e < OWN; ++e) {
      by_column[e] = a.d_final_state[matrix + place<SHARE>(e, walk.part) * N + walk.column];
    }
  }
  const int last = static_cast<int>(a.steps - 1) / CHUNK * CHUNK;
  for (walk.first = last; walk.first >= 0; walk.first -= CHUNK) {
    __syncthreads();
    walk.read_chunk();
    __syncthreads();
    for (int begin = CHUNK - WALK; begin >= 0; begin -= WALK) {
      walk.remember(begin);
#pragma unroll 1
      for (int kept = WALK - 1; kept >= 0; --kept) walk.back(by_row, by_column, begin + kept, kept);
    }
  }
#pragma unroll
  for (int e = 0; e < OWN; ++e) {
    a.d_state[matrix + walk.row * N + place<LANES>(e, walk.lane)] = by_row[e];
  }
}

// With several splits: adds up what their blocks found.
extern "C" __global__ void wkv7_finish(const Backward a) {
  const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
  long long number = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; number < a.total; number += stride) {
#pragma unroll
    for (int which = 0; which < 5; ++which) {
      Real sum = 0;
#pragma unroll
      for (int split = 0; split < SPLITS; ++split) {
        sum += a.parts[(split * 5LL + which) * a.total + number];
      }
      if (which == D_LOGIT) {
        const long long row = number / N;  // of [batch, step, head]
        const long long head = row % a.heads, t = row / a.heads % a.steps;
        const long long batch = row / a.heads / a.steps;
        const Sequence& s = a.logit;
        sum *= slope(to_real(
            s.data[batch * s.batch + t * s.step + head * s.head + number % N]));
      }
      a.d_columns[which][number] = to_io(sum);
    }
  }
}
