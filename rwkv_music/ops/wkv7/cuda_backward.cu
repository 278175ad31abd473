// The backward of cuda_kernel.cu; both are compiled as one text.

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
