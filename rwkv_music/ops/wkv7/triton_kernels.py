"""The WKV recurrence in Triton; `triton.py` launches it, README.md in this folder explains it.

A program walks `ROWS` value rows of one head: S and its gradient D are [ROWS, N] blocks. Sequences
are contiguous [batch, step, head, channel].
"""

import triton
import triton.language as tl


@triton.jit
def _forgotten(logit):
    """1 - d = 1 - exp(-2 x) with x = exp(-1/2) sigmoid(logit) / 2, as 2 exp(-x) sinh(x)."""
    x = 0.5 * 0.6065306597126334 / (1.0 + tl.exp(-logit))
    q = x * x
    series = 1.0 + q / 42.0 * (1.0 + q / 72.0 * (1.0 + q / 110.0))
    return 2.0 * tl.exp(-x) * x * (1.0 + q / 6.0 * (1.0 + q / 20.0 * series))


@triton.jit
def forward(
    r, logit, k, v, alpha, beta, resets, state, y, final_state, starts, removed,
    steps, heads,
    HAS_RESETS: tl.constexpr, KEEP: tl.constexpr, ROWS: tl.constexpr, N: tl.constexpr,
    CHUNK: tl.constexpr,
):  # fmt: skip
    """Outputs and the final state; with KEEP also what the backward needs."""
    program = tl.program_id(0).to(tl.int64)
    pair = program // (N // ROWS)
    rows = program % (N // ROWS) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, N)
    tile = rows[:, None] * N + columns[None, :]
    batch = pair // heads
    chunks = (steps + CHUNK - 1) // CHUNK
    s = tl.load(state + pair * N * N + tile)
    for t in range(steps):
        if KEEP:
            if t % CHUNK == 0:
                tl.store(starts + (pair * chunks + t // CHUNK) * N * N + tile, s)
        if HAS_RESETS:
            s = tl.where(tl.load(resets + batch * steps + t) != 0, 0.0, s)
        at = ((batch * steps + t) * heads + pair % heads) * N
        f = _forgotten(tl.load(logit + at + columns).to(s.dtype))
        a = tl.load(alpha + at + columns).to(s.dtype)
        b = tl.load(beta + at + columns).to(s.dtype)
        key = tl.load(k + at + columns).to(s.dtype)
        value = tl.load(v + at + rows).to(s.dtype)
        taken = tl.sum(s * a[None, :], 1)
        s = s - s * f[None, :] + taken[:, None] * b[None, :] + value[:, None] * key[None, :]
        out = tl.sum(s * tl.load(r + at + columns).to(s.dtype)[None, :], 1)
        tl.store(y + at + rows, out.to(y.dtype.element_ty))
        if KEEP:
            tl.store(removed + (pair * steps + t) * N + rows, taken)
    tl.store(final_state + pair * N * N + tile, s)


@triton.jit
def backward(
    r, logit, k, v, alpha, beta, dy, resets, starts, removed, d_final_state, d_state, d_v,
    parts, history, steps, heads, total,
    HAS_RESETS: tl.constexpr, HAS_FINAL: tl.constexpr, ROWS: tl.constexpr, N: tl.constexpr,
    CHUNK: tl.constexpr,
):  # fmt: skip
    """Gradients; those that are sums over rows as one part per program: d_r, d_k, d_beta, d_alpha,
    d(1 - d), each [batch, step, head, channel].
    """  # noqa: D205
    program = tl.program_id(0).to(tl.int64)
    pair = program // (N // ROWS)
    split = program % (N // ROWS)
    rows = split * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, N)
    tile = rows[:, None] * N + columns[None, :]
    batch = pair // heads
    chunks = (steps + CHUNK - 1) // CHUNK
    part = parts + split * 5 * total
    kept = history + program * CHUNK * ROWS * N
    own = tl.arange(0, ROWS)[:, None] * N + columns[None, :]
    d = tl.zeros([ROWS, N], dtype=starts.dtype.element_ty)
    if HAS_FINAL:
        d = tl.load(d_final_state + pair * N * N + tile)
    for behind in range(chunks):
        chunk = chunks - 1 - behind
        here = tl.minimum(CHUNK, steps - chunk * CHUNK)
        s = tl.load(starts + (pair * chunks + chunk) * N * N + tile)
        # The chunk's states are computed again from the first, and written where only this program
        # reads; the barrier makes them visible to all its threads.
        for step in range(here):
            t = chunk * CHUNK + step
            at = ((batch * steps + t) * heads + pair % heads) * N
            if HAS_RESETS:
                s = tl.where(tl.load(resets + batch * steps + t) != 0, 0.0, s)
            tl.store(kept + step * ROWS * N + own, s)
            f = _forgotten(tl.load(logit + at + columns).to(s.dtype))
            b = tl.load(beta + at + columns).to(s.dtype)
            key = tl.load(k + at + columns).to(s.dtype)
            value = tl.load(v + at + rows).to(s.dtype)
            taken = tl.load(removed + (pair * steps + t) * N + rows)
            s = s - s * f[None, :] + taken[:, None] * b[None, :] + value[:, None] * key[None, :]
            out = tl.load(dy + at + rows).to(s.dtype)
            tl.store(part + at + columns, tl.sum(s * out[:, None], 0))
        tl.debug_barrier()
        for back in range(here):
            step = here - 1 - back
            t = chunk * CHUNK + step
            at = ((batch * steps + t) * heads + pair % heads) * N
            before = tl.load(kept + step * ROWS * N + own)
            out = tl.load(dy + at + rows).to(d.dtype)
            d += out[:, None] * tl.load(r + at + columns).to(d.dtype)[None, :]
            key = tl.load(k + at + columns).to(d.dtype)
            tl.store(d_v + at + rows, tl.sum(d * key[None, :], 1).to(d_v.dtype.element_ty))
            u = tl.sum(d * tl.load(beta + at + columns).to(d.dtype)[None, :], 1)
            value = tl.load(v + at + rows).to(d.dtype)
            tl.store(part + total + at + columns, tl.sum(d * value[:, None], 0))
            taken = tl.load(removed + (pair * steps + t) * N + rows)
            tl.store(part + 2 * total + at + columns, tl.sum(d * taken[:, None], 0))
            tl.store(part + 3 * total + at + columns, tl.sum(before * u[:, None], 0))
            tl.store(part + 4 * total + at + columns, -tl.sum(d * before, 0))
            f = _forgotten(tl.load(logit + at + columns).to(d.dtype))
            a = tl.load(alpha + at + columns).to(d.dtype)
            d = d - d * f[None, :] + u[:, None] * a[None, :]
            if HAS_RESETS:
                d = tl.where(tl.load(resets + batch * steps + t) != 0, 0.0, d)
        tl.debug_barrier()
    tl.store(d_state + pair * N * N + tile, d)
