"""Triton kernels of the WKV recurrence, launched by `triton.py`; see README.md in this folder.

A program computes `ROWS` value rows of one head: S and its gradient D are [ROWS, N] blocks.
Sequences are contiguous [batch, step, head, channel].
"""

import triton
import triton.language as tl


@triton.jit
def _forget_amount(logit):
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
    """Compute outputs and final state; with KEEP also store what the backward pass needs."""
    program = tl.program_id(0).to(tl.int64)
    head_index = program // (N // ROWS)
    rows = program % (N // ROWS) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, N)
    tile = rows[:, None] * N + columns[None, :]
    batch = head_index // heads
    chunks = (steps + CHUNK - 1) // CHUNK
    s = tl.load(state + head_index * N * N + tile)
    for t in range(steps):
        if KEEP:
            if t % CHUNK == 0:
                tl.store(starts + (head_index * chunks + t // CHUNK) * N * N + tile, s)
        if HAS_RESETS:
            s = tl.where(tl.load(resets + batch * steps + t) != 0, 0.0, s)
        index = ((batch * steps + t) * heads + head_index % heads) * N
        f = _forget_amount(tl.load(logit + index + columns).to(s.dtype))
        a = tl.load(alpha + index + columns).to(s.dtype)
        b = tl.load(beta + index + columns).to(s.dtype)
        key = tl.load(k + index + columns).to(s.dtype)
        value = tl.load(v + index + rows).to(s.dtype)
        s_alpha = tl.sum(s * a[None, :], 1)
        s = s - s * f[None, :] + s_alpha[:, None] * b[None, :] + value[:, None] * key[None, :]
        out = tl.sum(s * tl.load(r + index + columns).to(s.dtype)[None, :], 1)
        tl.store(y + index + rows, out.to(y.dtype.element_ty))
        if KEEP:
            tl.store(removed + (head_index * steps + t) * N + rows, s_alpha)
    tl.store(final_state + head_index * N * N + tile, s)


@triton.jit
def backward(
    r, logit, k, v, alpha, beta, dy, resets, starts, removed, d_final_state, d_state, d_v,
    partial_sums, state_memory, steps, heads, total,
    HAS_RESETS: tl.constexpr, HAS_FINAL: tl.constexpr, ROWS: tl.constexpr, N: tl.constexpr,
    CHUNK: tl.constexpr,
):  # fmt: skip
    """Compute the gradients.

    Sums over rows, d_r, d_k, d_beta, d_alpha and d(1 - d), are stored as partial sums per program,
    each [batch, step, head, channel].
    """
    program = tl.program_id(0).to(tl.int64)
    head_index = program // (N // ROWS)
    split = program % (N // ROWS)
    rows = split * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, N)
    tile = rows[:, None] * N + columns[None, :]
    batch = head_index // heads
    chunks = (steps + CHUNK - 1) // CHUNK
    partial_sum = partial_sums + split * 5 * total
    states = state_memory + program * CHUNK * ROWS * N
    block = tl.arange(0, ROWS)[:, None] * N + columns[None, :]
    d = tl.zeros([ROWS, N], dtype=starts.dtype.element_ty)
    if HAS_FINAL:
        d = tl.load(d_final_state + head_index * N * N + tile)
    for from_end in range(chunks):
        chunk = chunks - 1 - from_end
        chunk_steps = tl.minimum(CHUNK, steps - chunk * CHUNK)
        s = tl.load(starts + (head_index * chunks + chunk) * N * N + tile)
        # Recompute the chunk's states from the stored one into memory that only this program reads;
        # the barrier makes them visible to all its threads.
        for step in range(chunk_steps):
            t = chunk * CHUNK + step
            index = ((batch * steps + t) * heads + head_index % heads) * N
            if HAS_RESETS:
                s = tl.where(tl.load(resets + batch * steps + t) != 0, 0.0, s)
            tl.store(states + step * ROWS * N + block, s)
            f = _forget_amount(tl.load(logit + index + columns).to(s.dtype))
            b = tl.load(beta + index + columns).to(s.dtype)
            key = tl.load(k + index + columns).to(s.dtype)
            value = tl.load(v + index + rows).to(s.dtype)
            s_alpha = tl.load(removed + (head_index * steps + t) * N + rows)
            s = s - s * f[None, :] + s_alpha[:, None] * b[None, :] + value[:, None] * key[None, :]
            out = tl.load(dy + index + rows).to(s.dtype)
            tl.store(partial_sum + index + columns, tl.sum(s * out[:, None], 0))
        tl.debug_barrier()
        for from_chunk_end in range(chunk_steps):
            step = chunk_steps - 1 - from_chunk_end
            t = chunk * CHUNK + step
            index = ((batch * steps + t) * heads + head_index % heads) * N
            state_before = tl.load(states + step * ROWS * N + block)
            out = tl.load(dy + index + rows).to(d.dtype)
            d += out[:, None] * tl.load(r + index + columns).to(d.dtype)[None, :]
            key = tl.load(k + index + columns).to(d.dtype)
            tl.store(d_v + index + rows, tl.sum(d * key[None, :], 1).to(d_v.dtype.element_ty))
            u = tl.sum(d * tl.load(beta + index + columns).to(d.dtype)[None, :], 1)
            value = tl.load(v + index + rows).to(d.dtype)
            tl.store(partial_sum + total + index + columns, tl.sum(d * value[:, None], 0))
            s_alpha = tl.load(removed + (head_index * steps + t) * N + rows)
            tl.store(partial_sum + 2 * total + index + columns, tl.sum(d * s_alpha[:, None], 0))
            tl.store(
                partial_sum + 3 * total + index + columns, tl.sum(state_before * u[:, None], 0)
            )
            tl.store(partial_sum + 4 * total + index + columns, -tl.sum(d * state_before, 0))
            f = _forget_amount(tl.load(logit + index + columns).to(d.dtype))
            a = tl.load(alpha + index + columns).to(d.dtype)
            d = d - d * f[None, :] + u[:, None] * a[None, :]
            if HAS_RESETS:
                d = tl.where(tl.load(resets + batch * steps + t) != 0, 0.0, d)
        tl.debug_barrier()
    tl.store(d_state + head_index * N * N + tile, d)
