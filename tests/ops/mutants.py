"""Errors to plant in the kernels: one for each term of each backward, as text and its replacement.

A mutant is (file below rwkv_music, text that occurs once, what to put there). Those that change
a sign turn a sum into a difference; the tests of gradients must notice every one.
"""

RECURRENCE = "native/source/recurrence.h"
WKV = "native/source/wkv7.h"
FUNCTIONS = "native/source/functions.h"
MIXING = "native/source/time_mixing_backward.h"
SHIFT = "native/source/token_shift.h"
RELU = "native/source/squared_relu.h"
TILES = "native/source/tiles.h"
PRODUCTS = "native/source/products.h"
PRODUCTS_BACK = "native/source/products_backward.h"
CUDA = "ops/wkv7/cuda_*.cu"
"""Both of its files, one behind the other."""
REFERENCE = "ops/wkv7/reference.py"

Mutant = tuple[str, str, str]

RECURRENT: list[Mutant] = [
    (RECURRENCE, "dr[i % 2] += s[i] * current.y", "dr[i % 2] -= s[i] * current.y"),
    (RECURRENCE, "load(d[t].r + c) + dr[0] + dr[1]", "load(d[t].r + c) + dr[0] - dr[1]"),
    (
        RECURRENCE,
        "s[i] -= s[i] * f;\n        s[i] += beta",
        "s[i] += s[i] * f;\n        s[i] += beta",
    ),
    (RECURRENCE, "s[i] += beta * current.removed", "s[i] -= beta * current.removed"),
    (RECURRENCE, "s[i] += k * current.v", "s[i] -= k * current.v"),
    (
        RECURRENCE,
        "if (chunk.reset[t]) {\n        RM_UNROLL\n        for (int i = 0; i < kBackwardRows",
        "if (false) {\n        RM_UNROLL\n        for (int i = 0; i < kBackwardRows",
    ),
    (
        RECURRENCE,
        "(chunk, half, chunk.count, first, middle, middle",
        "(chunk, half, chunk.count, first, begin, middle",
    ),
    (
        RECURRENCE,
        "recompute_states<false>(chunk, 0, half,",
        "recompute_states<false>(chunk, 0, half - 1,",
    ),
    (RECURRENCE, "ds[i][c] += r * current.y", "ds[i][c] -= r * current.y"),
    (RECURRENCE, "dk += ds[i][c] * current.v", "dk -= ds[i][c] * current.v"),
    (RECURRENCE, "dbeta += ds[i][c] * current.removed", "dbeta -= ds[i][c] * current.removed"),
    (RECURRENCE, "parts[i] += ds[i][c] * k;", "parts[i] -= ds[i][c] * k;"),
    (RECURRENCE, "parts[rows + i] += ds[i][c] * b;", "parts[rows + i] -= ds[i][c] * b;"),
    (RECURRENCE, "df -= ds[i][c] * s;", "df += ds[i][c] * s;"),
    (RECURRENCE, "dalpha += s * u[i];", "dalpha -= s * u[i];"),
    (RECURRENCE, "ds[i][c] -= ds[i][c] * f;", "ds[i][c] += ds[i][c] * f;"),
    (RECURRENCE, "ds[i][c] += alpha * u[i];", "ds[i][c] -= alpha * u[i];"),
    (RECURRENCE, "if (chunk.reset[t]) ds[i][c] = V{};", ""),
    (WKV, "load(d_step.f + c) * load(slope + c)", "-load(d_step.f + c) * load(slope + c)"),
    (FUNCTIONS, "* s * (inverse * s);", "* s * (Real(1) + inverse * s);"),
    (FUNCTIONS, "slope = (Real(1) - forget)", "slope = (Real(1) + forget)"),
]
"""The recurrence itself, in the native library."""

MIXED: list[Mutant] = [
    (MIXING, "store(d_gate + c, d_gated *", "store(d_gate + c, -d_gated *"),
    (MIXING, "load(p.norm_bias + c) + v * bonus", "load(p.norm_bias + c) - v * bonus"),
    (MIXING, "load(dp.norm_weight + c) + d_sum", "load(dp.norm_weight + c) - d_sum"),
    (MIXING, "load(dp.norm_bias + c) + d_sum", "load(dp.norm_bias + c) - d_sum"),
    (MIXING, "store(d.v + c, d_sum * bonus)", "store(d.v + c, -d_sum * bonus)"),
    (MIXING, "d_bonus_parts += d_sum * v", "d_bonus_parts -= d_sum * v"),
    (MIXING, "d_normed_parts += d_normed", "d_normed_parts -= d_normed"),
    (MIXING, "products += d_normed * normed", "products -= d_normed * normed"),
    (MIXING, "- d_mean - normed * projection", "+ d_mean - normed * projection"),
    (MIXING, "- normed * projection) * scale", "+ normed * projection) * scale"),
    (MIXING, "store(d.r + c, k * r_k * d_bonus)", "store(d.r + c, -k * r_k * d_bonus)"),
    (MIXING, "store(d.k + c, r * r_k * d_bonus)", "store(d.k + c, -r * r_k * d_bonus)"),
    (MIXING, "load(dp.r_k + c) + r * k", "load(dp.r_k + c) - r * k"),
    (
        MIXING,
        "dv * (load(value_first + c) - load(v + c))",
        "dv * (load(v + c) - load(value_first + c))",
    ),
    (MIXING, "store(d_v + c, dv * (Real(1) - s))", "store(d_v + c, dv * (Real(1) + s))"),
    (MIXING, "store(d_value_first + c, dv * s)", "store(d_value_first + c, -dv * s)"),
    (MIXING, "load(dp.v0 + c) + d_logit", "load(dp.v0 + c) - d_logit"),
    (
        MIXING,
        "projections += (load(d.beta + c) * a - load",
        "projections += (load(d.beta + c) * a + load",
    ),
    (MIXING, "(d_beta * a - load(d.alpha + c) + q", "(d_beta * a + load(d.alpha + c) + q"),
    (MIXING, "+ q * projection) * inverse", "- q * projection) * inverse"),
    (MIXING, "(d_beta * q + dk_used * k * k_a)", "(d_beta * q - dk_used * k * k_a)"),
    (MIXING, "(d_beta * q + dk_used", "(-d_beta * q + dk_used"),
    (MIXING, "* k_a) + d_scaled * k_k", "* k_a) - d_scaled * k_k"),
    (MIXING, "dk_used * (Real(1) + (a", "dk_used * (Real(1) - (a"),
    (MIXING, "load(dp.a0 + c) + d_a", "load(dp.a0 + c) - d_a"),
    (MIXING, "load(dp.k_k + c) + d_scaled", "load(dp.k_k + c) - d_scaled"),
    (MIXING, "load(dp.k_a + c) + dk_used", "load(dp.k_a + c) - dk_used"),
    (MIXING, "load(d.f + c) * slope", "-load(d.f + c) * slope"),
    (MIXING, "load(dp.w0 + c) + d_logit", "load(dp.w0 + c) - d_logit"),
]
"""Time mixing around the recurrence."""

SHIFTED: list[Mutant] = [
    (
        SHIFT,
        "total += load(static_cast<const Out*>(s.out[j])",
        "total -= load(static_cast<const Out*>(s.out[j])",
    ),
    (SHIFT, "direct += d;", "direct -= d;"),
    (SHIFT, "shifted += d * load", "shifted -= d * load"),
    (SHIFT, "load(d_mix) + d * difference", "load(d_mix) - d * difference"),
    (SHIFT, "load(d_n + c) + direct - shifted", "load(d_n + c) + direct + shifted"),
    (SHIFT, "store(d_n + c, load(d_n + c) + direct", "store(d_n + c, direct"),
    (SHIFT, "store(d_previous + c, shifted)", "store(d_previous + c, -shifted)"),
    (SHIFT, "if (reset) std::fill(d_n.begin(), d_n.end(), Real(0));", ""),
    (SHIFT, "total += d_centred;", "total -= d_centred;"),
    (SHIFT, "products += d_centred * centred;", "products -= d_centred * centred;"),
    (SHIFT, "load(d_weight + c) + d * centred", "load(d_weight + c) - d * centred"),
    (SHIFT, "load(d_bias + c) + d)", "load(d_bias + c) - d)"),
    (SHIFT, "d_centred - mean - centred * projection", "d_centred + mean - centred * projection"),
    (SHIFT, "- mean - centred * projection", "- mean + centred * projection"),
    (SHIFT, "    else if (!is_reset(s, segment.batch, segment.end))", "    else if (true)"),
    (RELU, "load(d_from) * Real(2)", "load(d_from) * Real(-2)"),
]
"""Token shift and the squared ReLU."""

MULTIPLIED: list[Mutant] = [
    (TILES, "if (!add) std::fill(", "if (add) std::fill("),
    (TILES, "c[i * kBlock + j] += a *", "c[i * kBlock + j] -= a *"),
    (TILES, "i / kTile * left.other", "i / kTile * left.depth"),
    (TILES, "pairs[j / kTile * right.other +", "pairs[j / kTile * right.depth +"),
    (TILES, "skipped / kDepth * depth, row", "skipped / kTile * depth, row"),
    (TILES, "pair(load(source), load(source + row))", "pair(load(source + row), load(source))"),
    (TILES, "load(from + c * column + k)", "load(from + c * column + kDepth - 1 - k)"),
    (PRODUCTS, "half * kTile * column_, depth_", "(1 - half) * kTile * column_, depth_"),
    (
        PRODUCTS,
        "copy_.resize(blocks * kBlock * width)",
        "copy_.resize(blocks * kBlock * width, {0x4000})",
    ),
    (PRODUCTS, "return positive(x) * positive(x)", "return positive(x) * x * x"),
    (PRODUCTS, "return 2.0f * positive(x)", "return -2.0f * positive(x)"),
    (PRODUCTS, "return 1.0f - y * y", "return 1.0f + y * y"),
    (PRODUCTS, "return y * (1.0f - y)", "return y * (1.0f + y)"),
    (PRODUCTS, "return fill(1.0f)", "return fill(-1.0f)"),
    (
        PRODUCTS,
        "std::min<int64_t>(kBlock, rows.count - i",
        "std::min<int64_t>(kBlock - 1, rows.count - i",
    ),
    (PRODUCTS, "p.first.column, p.hidden, p.first.row", "p.first.row, p.hidden, p.first.column"),
    (
        PRODUCTS,
        "p.second.column, p.outputs, p.second.row",
        "p.second.row, p.outputs, p.second.column",
    ),
    (
        PRODUCTS_BACK,
        "load(gradients + i) * Function::slope(x, y)",
        "load(gradients + i) + Function::slope(x, y)",
    ),
    (PRODUCTS_BACK, "store(activations + i, y);", "store(activations + i, x);"),
    (PRODUCTS_BACK, "pair_block(activations, hidden", "pair_block(gradients, hidden"),
    (PRODUCTS_BACK, "pair_block(gradients, right", "pair_block(activations, right"),
    (
        PRODUCTS_BACK,
        "activate<IdentityFunction>(gradients, left",
        "activate<IdentityFunction>(activations, left",
    ),
    (PRODUCTS_BACK, "p_.inputs / kDepth, activations", "p_.inputs / kDepth, gradients"),
    (PRODUCTS_BACK, "c, s.d_x && s.begin);", "c, false);"),
    (PRODUCTS_BACK, "sums, !s.is_first);", "sums, false);"),
    (PRODUCTS_BACK, "token == first,", "slice == 0,"),
    (PRODUCTS_BACK, "if (s.end < p_.hidden) continue;", "if (s.begin) continue;"),
    (
        PRODUCTS_BACK,
        "matrices_[0].tiles().at(j).from(s.begin)",
        "matrices_[0].tiles().at(j).from(0)",
    ),
    (
        PRODUCTS_BACK,
        "in_rows(d_y.data, p_.hidden).from(s.begin)",
        "in_rows(d_y.data, p_.hidden).from(0)",
    ),
    (PRODUCTS_BACK, "int64_t column = s.begin / kBlock + j", "int64_t column = j"),
    (
        PRODUCTS_BACK,
        "partial_sums(is_second, i, s.begin / kBlock + j)",
        "partial_sums(is_second, i, j)",
    ),
    (PRODUCTS_BACK, "int64_t j = s.begin; j < s.end", "int64_t j = 0; j < s.end - s.begin"),
    (
        PRODUCTS_BACK,
        "load(total + i) + load(partial_sums + i)",
        "load(total + i) - load(partial_sums + i)",
    ),
    (
        PRODUCTS_BACK,
        "add_sums(s, d_y, p_.outputs, packed(hidden",
        "add_sums(s, d_y, p_.outputs, packed(right",
    ),
    (
        PRODUCTS_BACK,
        "add_sums(s, x, p_.inputs, packed(right",
        "add_sums(s, x, p_.inputs, packed(hidden",
    ),
    (PRODUCTS_BACK, "if (column != 1) transpose_square", "if (column == 1) transpose_square"),
    (PRODUCTS_BACK, "is_second ? p_.inputs * p_.hidden : 0", "0"),
    (
        PRODUCTS_BACK,
        "std::min((worker + 1) * segments / workers * kSegmentTokens, all.tokens)",
        "std::min((worker + 1) * segments / workers * kSegmentTokens, all.tokens - 1)",
    ),
]
"""Products in tiles, with loops in place of the processor's instructions."""

IN_PYTHON: list[Mutant] = [
    (
        REFERENCE,
        "d_state = d_state + _outer(dy[:, t], r[:, t])",
        "d_state = d_state - _outer(dy[:, t], r[:, t])",
    ),
    (REFERENCE, "d_r[:, t] = _columns", "d_r[:, t] = -_columns"),
    (REFERENCE, "d_log[:, t] = (d_state", "d_log[:, t] = -(d_state"),
    (REFERENCE, "d_k[:, t] = _columns", "d_k[:, t] = -_columns"),
    (REFERENCE, "d_v[:, t] = _rows", "d_v[:, t] = -_rows"),
    (REFERENCE, "u = _rows_times", "u = -_rows_times"),
    (REFERENCE, "d_beta[:, t] = _columns", "d_beta[:, t] = -_columns"),
    (REFERENCE, "d_alpha[:, t] = _columns", "d_alpha[:, t] = -_columns"),
    (
        REFERENCE,
        "d_state * decay[:, t].unsqueeze(-2) + _outer",
        "d_state * decay[:, t].unsqueeze(-2) - _outer",
    ),
    (REFERENCE, "d_state = d_state * kept[", "d_state = d_state * (kept + 1)["),
    (REFERENCE, "d_logit = d_log *", "d_logit = -d_log *"),
]
"""The reference's hand-written backward."""

ON_GPU: list[Mutant] = [
    (CUDA, "s[e] -= s[e] * values[e];", "s[e] += s[e] * values[e];"),
    (CUDA, "s[e] += removed * values[e];", "s[e] -= removed * values[e];"),
    (CUDA, "s[e] += v * values[e];", "s[e] -= v * values[e];"),
    (CUDA, "if (stage[STAGE_RESET + step] != Real(0)) set_zero(s);", ""),
    (
        CUDA,
        "? forget_amount(to_real(logit[n])) : Real(0);",
        "? forget_amount(to_real(logit[n])) : Real(1);",
    ),
    (CUDA, "return -expm1(-DECAY_RATE", "return expm1(-DECAY_RATE"),
    (CUDA, "* sigmoid(logit) * sigmoid(-logit)", "* sigmoid(logit) * sigmoid(logit)"),
    (CUDA, "a.starts && first % CHUNK == 0", "a.starts && first % CHUNK == STAGE"),
    (CUDA, "s[e] -= s[e] * f;", "s[e] += s[e] * f;"),
    (CUDA, "s[e] += beta * removed[e];", "s[e] -= beta * removed[e];"),
    (CUDA, "s[e] += k * v[e];", "s[e] -= k * v[e];"),
    (CUDA, "by_row[e] += dy * values[e];", "by_row[e] -= dy * values[e];"),
    (CUDA, "by_column[e] += values[e] * r;", "by_column[e] -= values[e] * r;"),
    (CUDA, "store_column_sum(D_LOGIT, step, -sum", "store_column_sum(D_LOGIT, step, sum"),
    (CUDA, "store_column_sum(D_K, step, sum", "store_column_sum(D_K, step, -sum"),
    (CUDA, "store_column_sum(D_BETA, step, sum", "store_column_sum(D_BETA, step, -sum"),
    (CUDA, "store_column_sum(D_ALPHA, step, sum", "store_column_sum(D_ALPHA, step, -sum"),
    (CUDA, "store_column_sum(D_R, step, sum", "store_column_sum(D_R, step, -sum"),
    (CUDA, "= to_io(dv);", "= to_io(-dv);"),
    (CUDA, "by_row[e] -= by_row[e] * values[e];", "by_row[e] += by_row[e] * values[e];"),
    (CUDA, "by_row[e] += u * values[e];", "by_row[e] -= u * values[e];"),
    (CUDA, "by_column[e] -= by_column[e] * f_here;", "by_column[e] += by_column[e] * f_here;"),
    (CUDA, "by_column[e] += values[e] * alpha;", "by_column[e] -= values[e] * alpha;"),
    (CUDA, "      set_zero(by_row);\n", ""),
    (CUDA, "      set_zero(by_column);\n    }\n  }\n};", "    }\n  }\n};"),
    (CUDA, "sum *= forget_slope(read(a.logit", "sum *= -forget_slope(read(a.logit"),
    (CUDA, "sum *= forget_slope(to_real", "sum *= -forget_slope(to_real"),
    (CUDA, "sum += a.partial_sums[", "sum -= a.partial_sums["),
    (CUDA, "    __syncthreads();\n    Real state_before", "    Real state_before"),
    (CUDA, "    __syncthreads();\n    next_stage.fetch", "    next_stage.fetch"),
    (CUDA, "step % 2 * ROWS;", "0;"),
]
"""The CUDA kernel: signs, resets, barriers, and the double buffer of u."""

NATIVE = [*RECURRENT, *MIXED, *SHIFTED, *MULTIPLIED]
SAMPLE = [
    RECURRENT[11],
    SHIFTED[7],
    MULTIPLIED[10],
    MULTIPLIED[24],
    IN_PYTHON[8],
    *ON_GPU[20:22],
    ON_GPU[-2],
]
"""A few for every build; the others are planted by `make test-long`."""
