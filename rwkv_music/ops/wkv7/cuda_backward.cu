// Backward pass of cuda_kernel.cu; both files are compiled as one source.

// Processes chunks from the last to the first. Within a chunk, HISTORY_STEPS steps at a time: their
// states are recomputed from the stored one and kept in shared memory, then the steps are processed backwards.
// The gradient of the state, D in README.md, is held in both layouts, so that sums along rows and along
// columns need only a few shuffles. The states are needed by columns only.

// Layout of shared memory in the backward pass, in elements.
constexpr int F = 0, K = CHUNK * N, BETA = 2 * K, ALPHA = 3 * K, R = 4 * K;
constexpr int V = 5 * K, DY = V + CHUNK * ROWS, REMOVED = DY + CHUNK * ROWS;
constexpr int U = REMOVED + CHUNK * ROWS, RESET = U + 2 * ROWS, HISTORY = RESET + CHUNK;

enum Column { D_R, D_K, D_BETA, D_ALPHA, D_LOGIT };

struct BackwardPass {
  const Backward& a;
  const BlockPosition block;
  const int lane, row, part, column;
  int first;  // first step of the chunk

  __device__ explicit BackwardPass(const Backward& arguments)
      : a(arguments),
        block(arguments.heads),
        lane(threadIdx.x % ROW_THREADS),
        row(threadIdx.x / ROW_THREADS),
        part(threadIdx.x % COLUMN_THREADS),
        column(threadIdx.x / COLUMN_THREADS),
        first(0) {}

  __device__ long long offset(int t, int channel) const {
    return ((block.batch * a.steps + t) * a.heads + block.head) * N + channel;
  }

  __device__ Real read(const Sequence& s, int step, int channel) const {
    const int t = first + step;
    if (t >= a.steps) return Real(0);
    return to_real(s.data[block.batch * s.batch + t * s.step + block.head * s.head + channel]);
  }

  __device__ void load_chunk() const {
    for (int index = threadIdx.x; index < CHUNK * N; index += THREADS) {
      const int step = index / N, channel = index % N;
      const bool in_range = first + step < a.steps;
      shared[F + index] = in_range ? forget_amount(read(a.logit, step, channel)) : Real(0);
      shared[K + index] = read(a.k, step, channel);
      shared[BETA + index] = read(a.beta, step, channel);
      shared[ALPHA + index] = read(a.alpha, step, channel);
      shared[R + index] = read(a.r, step, channel);
    }
    for (int index = threadIdx.x; index < CHUNK * ROWS; index += THREADS) {
      const int step = index / ROWS, value = block.split * ROWS + index % ROWS;
      const int t = first + step;
      shared[V + index] = read(a.v, step, value);
      shared[DY + index] = read(a.dy, step, value);
      shared[REMOVED + index] =
          t < a.steps ? a.removed[(block.pair * a.steps + t) * N + value] : Real(0);
    }
    if (threadIdx.x < CHUNK) {
      const int t = first + threadIdx.x;
      shared[RESET + threadIdx.x] = a.resets && t < a.steps && a.resets[block.batch * a.steps + t];
    }
  }

  __device__ bool is_reset(int step) const { return shared[RESET + step] != Real(0); }

  // Loads the state before the chunk, by columns.
  __device__ void load_start(Real (&s)[PER_THREAD]) const {
    const Real* from = a.starts + block.start_row(a.steps, first, block.split * ROWS);
#pragma unroll
    for (int e = 0; e < PER_THREAD; ++e) {
      s[e] = from[element_index<COLUMN_THREADS>(e, part) * N + column];
    }
  }

  // Computes S_t from S_{t-1}, which a reset has already set to zeros.
  __device__ void forward(Real (&s)[PER_THREAD], int step) const {
    const int position = step * N + column;
    const Real f = shared[F + position], k = shared[K + position], beta = shared[BETA + position];
    Real removed[PER_THREAD], v[PER_THREAD];
    load_values<COLUMN_THREADS>(removed, shared + REMOVED + step * ROWS, part);
    load_values<COLUMN_THREADS>(v, shared + V + step * ROWS, part);
#pragma unroll
    for (int e = 0; e < PER_THREAD; ++e) {
      s[e] -= s[e] * f;
      s[e] += beta * removed[e];
      s[e] += k * v[e];
    }
  }

  // Stores one of the five sums over the rows of this block, for one column.
  __device__ void store_column_sum(Column quantity, int step, Real sum) const {
    const int t = first + step;
    if (t >= a.steps || quantity % COLUMN_THREADS != part) return;
    const long long position = offset(t, column);
    if (SPLITS > 1) {
      a.partial_sums[(block.split * 5LL + quantity) * a.total + position] = sum;
    } else {
      if (quantity == D_LOGIT) sum *= forget_slope(read(a.logit, step, column));
      a.d_columns[quantity][position] = to_io(sum);
    }
  }

  __device__ Vec4* history(int slot) const {
    return reinterpret_cast<Vec4*>(shared + HISTORY) + slot * (PER_THREAD / 4) * THREADS + threadIdx.x;
  }

  // Recomputes the states of HISTORY_STEPS steps from `begin` on into shared memory, and computes d_r,
  // which needs only them.
  __device__ void recompute_states(int begin) const {
    Real s[PER_THREAD];
    load_start(s);
#pragma unroll 1
    for (int step = 0; step < begin; ++step) {
      if (is_reset(step)) set_zero(s);
      forward(s, step);
    }
#pragma unroll 1
    for (int slot = 0; slot < HISTORY_STEPS; ++slot) {
      const int step = begin + slot;
      if (is_reset(step)) set_zero(s);
#pragma unroll
      for (int e = 0; e < PER_THREAD; e += 4) {
        history(slot)[e / 4 * THREADS] = Vec4{{s[e], s[e + 1], s[e + 2], s[e + 3]}};
      }
      forward(s, step);
      Real dy[PER_THREAD];
      load_values<COLUMN_THREADS>(dy, shared + DY + step * ROWS, part);
      store_column_sum(D_R, step, sum_over<COLUMN_THREADS>(product(s, dy)));
    }
  }

  // Backward pass of one step. `by_row` and `by_column` are D in both layouts.
  __device__ void step_back(
      Real (&by_row)[PER_THREAD], Real (&by_column)[PER_THREAD], int step, int slot) const {
    Real* u_of_rows = shared + U + step % 2 * ROWS;
    const int t = first + step;
    // By rows: D <- D + dy r^T, dv = D k, u = D beta.
    Real values[PER_THREAD];
    load_values<ROW_THREADS>(values, shared + R + step * N, lane);
    const Real dy = shared[DY + step * ROWS + row];
#pragma unroll
    for (int e = 0; e < PER_THREAD; ++e) by_row[e] += dy * values[e];
    load_values<ROW_THREADS>(values, shared + K + step * N, lane);
    const Real dv = sum_over<ROW_THREADS>(product(by_row, values));
    load_values<ROW_THREADS>(values, shared + BETA + step * N, lane);
    const Real u = sum_over<ROW_THREADS>(product(by_row, values));
    if (lane == 0) {
      u_of_rows[row] = u;
      if (t < a.steps) a.d_v[offset(t, block.split * ROWS + row)] = to_io(dv);
    }
    // By columns: the same D, and its sums.
    const int position = step * N + column;
    load_values<COLUMN_THREADS>(values, shared + DY + step * ROWS, part);
    const Real r = shared[R + position];
#pragma unroll
    for (int e = 0; e < PER_THREAD; ++e) by_column[e] += values[e] * r;
    load_values<COLUMN_THREADS>(values, shared + V + step * ROWS, part);
    store_column_sum(D_K, step, sum_over<COLUMN_THREADS>(product(by_column, values)));
    load_values<COLUMN_THREADS>(values, shared + REMOVED + step * ROWS, part);
    store_column_sum(D_BETA, step, sum_over<COLUMN_THREADS>(product(by_column, values)));
    // D <- D diag(d) + u alpha^T: by rows with this row's u, by columns with the u of all rows.
    load_values<ROW_THREADS>(values, shared + F + step * N, lane);
#pragma unroll
    for (int e = 0; e < PER_THREAD; ++e) by_row[e] -= by_row[e] * values[e];
    load_values<ROW_THREADS>(values, shared + ALPHA + step * N, lane);
#pragma unroll
    for (int e = 0; e < PER_THREAD; ++e) by_row[e] += u * values[e];
    __syncthreads();
    Real state_before[PER_THREAD];
#pragma unroll
    for (int e = 0; e < PER_THREAD; e += 4) {
      const Vec4 vec = history(slot)[e / 4 * THREADS];
#pragma unroll
      for (int i = 0; i < 4; ++i) state_before[e + i] = vec.lane[i];
    }
    store_column_sum(D_LOGIT, step, -sum_over<COLUMN_THREADS>(product(by_column, state_before)));
    load_values<COLUMN_THREADS>(values, u_of_rows, part);
    store_column_sum(D_ALPHA, step, sum_over<COLUMN_THREADS>(product(state_before, values)));
    const Real alpha = shared[ALPHA + position], f_here = shared[F + position];
#pragma unroll
    for (int e = 0; e < PER_THREAD; ++e) {
      by_column[e] -= by_column[e] * f_here;
      by_column[e] += values[e] * alpha;
    }
    if (is_reset(step)) {
      set_zero(by_row);
      set_zero(by_column);
    }
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) wkv7_backward(const Backward a) {
  BackwardPass pass(a);
  const long long matrix = pass.block.state_row(pass.block.split * ROWS);
  Real by_row[PER_THREAD], by_column[PER_THREAD];
  set_zero(by_row);
  set_zero(by_column);
  if (a.d_final_state) {
    load_values<ROW_THREADS>(by_row, a.d_final_state + matrix + pass.row * N, pass.lane);
#pragma unroll
    for (int e = 0; e < PER_THREAD; ++e) {
      const int row = element_index<COLUMN_THREADS>(e, pass.part);
      by_column[e] = a.d_final_state[matrix + row * N + pass.column];
    }
  }
  const int last = static_cast<int>(a.steps - 1) / CHUNK * CHUNK;
  for (pass.first = last; pass.first >= 0; pass.first -= CHUNK) {
    __syncthreads();
    pass.load_chunk();
    __syncthreads();
    for (int begin = CHUNK - HISTORY_STEPS; begin >= 0; begin -= HISTORY_STEPS) {
      pass.recompute_states(begin);
#pragma unroll 1
      for (int slot = HISTORY_STEPS - 1; slot >= 0; --slot) {
        pass.step_back(by_row, by_column, begin + slot, slot);
      }
    }
  }
#pragma unroll
  for (int e = 0; e < PER_THREAD; ++e) {
    a.d_state[matrix + pass.row * N + element_index<ROW_THREADS>(e, pass.lane)] = by_row[e];
  }
}

// With several splits: adds the partial sums of their blocks.
extern "C" __global__ void wkv7_finish(const Backward a) {
  const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
  long long index = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; index < a.total; index += stride) {
#pragma unroll
    for (int quantity = 0; quantity < 5; ++quantity) {
      Real sum = 0;
#pragma unroll
      for (int split = 0; split < SPLITS; ++split) {
        sum += a.partial_sums[(split * 5LL + quantity) * a.total + index];
      }
      if (quantity == D_LOGIT) {
        const long long row = index / N;  // index over [batch, step, head]
        const long long head = row % a.heads, t = row / a.heads % a.steps;
        const long long batch = row / a.heads / a.steps;
        const Sequence& s = a.logit;
        sum *= forget_slope(to_real(
            s.data[batch * s.batch + t * s.step + head * s.head + index % N]));
      }
      a.d_columns[quantity][index] = to_io(sum);
    }
  }
}
