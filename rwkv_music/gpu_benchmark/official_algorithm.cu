// The recurrence by the algorithm of RWKV's official trainer, for comparison.
//
// One block of N threads per head. Forward: thread i holds row i of S; every CHUNK steps S is saved
// transposed, and S alpha is saved at every step. Backward: thread i holds column i of S, which it
// steps back by dividing by the decay, and row i and column i of the gradient of S.
// Source of the algorithm: BlinkDL/RWKV-LM, RWKV-v7/train_temp (no code was copied). Sequences are
// bfloat16, contiguous [batch, step, head, N], with a multiple of CHUNK steps and no initial state.

typedef unsigned short Io;
typedef float Real;

constexpr int N = 64;
constexpr int CHUNK = 16;

struct Forward {
  long long steps, heads;
  const Io *r, *w, *k, *v, *a, *b;
  Io* y;
  Real *saved, *removed;  // [batch, head, chunk, N, N] and [batch, step, head, N]
};

struct Backward {
  long long steps, heads;
  const Io *r, *w, *k, *v, *a, *b, *dy;
  const Real *saved, *removed;
  Io *dr, *dw, *dk, *dv, *da, *db;
};

__device__ inline Real to_real(Io x) { return __uint_as_float(static_cast<unsigned>(x) << 16); }

__device__ inline Io to_io(Real x) {
  const unsigned bits = __float_as_uint(x);
  return static_cast<Io>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

extern __shared__ __align__(4 * sizeof(Real)) Real shared[];

extern "C" __global__ void __launch_bounds__(N) official_forward(const Forward o) {
  Real *r = shared, *w = r + N, *k = w + N, *a = k + N, *b = a + N;
  const int i = threadIdx.x;
  const long long batch = blockIdx.x / o.heads, head = blockIdx.x % o.heads;
  Real s[N] = {};
  for (int t = 0; t < o.steps; ++t) {
    const long long offset = ((batch * o.steps + t) * o.heads + head) * N + i;
    __syncthreads();
    r[i] = to_real(o.r[offset]);
    w[i] = exp(-exp(to_real(o.w[offset])));
    k[i] = to_real(o.k[offset]);
    a[i] = to_real(o.a[offset]);
    b[i] = to_real(o.b[offset]);
    __syncthreads();
    Real removed = 0, y = 0;
#pragma unroll
    for (int j = 0; j < N; ++j) removed += a[j] * s[j];
    const Real v = to_real(o.v[offset]);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      s[j] = s[j] * w[j] + removed * b[j] + k[j] * v;
      y += s[j] * r[j];
    }
    o.removed[offset] = removed;
    o.y[offset] = to_io(y);
    if ((t + 1) % CHUNK == 0) {
      const long long chunk = blockIdx.x * (o.steps / CHUNK) + t / CHUNK;
#pragma unroll
      for (int j = 0; j < N; ++j) o.saved[(chunk * N + j) * N + i] = s[j];
    }
  }
}

extern "C" __global__ void __launch_bounds__(N) official_backward(const Backward o) {
  Real *r = shared, *w = r + N, *k = w + N, *v = k + N, *a = v + N, *b = a + N, *dy = b + N;
  Real *removed = dy + N, *u = removed + N;
  const int i = threadIdx.x;
  const long long batch = blockIdx.x / o.heads, head = blockIdx.x % o.heads;
  Real column[N], d_row[N] = {}, d_column[N] = {};
  for (int t = static_cast<int>(o.steps) - 1; t >= 0; --t) {
    const long long offset = ((batch * o.steps + t) * o.heads + head) * N + i;
    __syncthreads();
    const Real rate = -exp(to_real(o.w[offset])), my_w = exp(rate);
    const Real my_r = to_real(o.r[offset]), my_k = to_real(o.k[offset]), my_v = to_real(o.v[offset]);
    const Real my_a = to_real(o.a[offset]), my_b = to_real(o.b[offset]), my_dy = to_real(o.dy[offset]);
    r[i] = my_r;
    w[i] = my_w;
    k[i] = my_k;
    v[i] = my_v;
    a[i] = my_a;
    b[i] = my_b;
    dy[i] = my_dy;
    removed[i] = o.removed[offset];
    __syncthreads();
    if ((t + 1) % CHUNK == 0) {
      const long long chunk = blockIdx.x * (o.steps / CHUNK) + t / CHUNK;
#pragma unroll
      for (int j = 0; j < N; ++j) column[j] = o.saved[(chunk * N + i) * N + j];
    }
    Real dr = 0;
#pragma unroll
    for (int j = 0; j < N; ++j) dr += column[j] * dy[j];
    o.dr[offset] = to_io(dr);
    const Real inverse = Real(1) / my_w;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      column[j] = (column[j] - my_k * v[j] - my_b * removed[j]) * inverse;
      d_row[j] += my_dy * r[j];
      d_column[j] += my_r * dy[j];
    }
    Real dw = 0, dk = 0, dv = 0, db = 0, my_u = 0;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      dw += d_column[j] * column[j];
      dk += d_column[j] * v[j];
      dv += d_row[j] * k[j];
      my_u += d_row[j] * b[j];
      db += d_column[j] * removed[j];
    }
    o.dw[offset] = to_io(dw * my_w * rate);
    o.dk[offset] = to_io(dk);
    o.dv[offset] = to_io(dv);
    o.db[offset] = to_io(db);
    u[i] = my_u;
    __syncthreads();
    Real da = 0;
#pragma unroll
    for (int j = 0; j < N; ++j) da += column[j] * u[j];
    o.da[offset] = to_io(da);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      d_row[j] = d_row[j] * w[j] + my_u * a[j];
      d_column[j] = d_column[j] * my_w + my_a * u[j];
    }
  }
}
