"""What torch must know of the native operators: shapes, gradients, autocast, compilation."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from rwkv_music.native import load_library
from rwkv_music.ops.wkv7 import wkv7
from tests.ops.recurrence import inputs
from tests.skips import NO_NATIVE_LIBRARY

pytestmark = pytest.mark.skipif(load_library().functions is None, reason=NO_NATIVE_LIBRARY)
GENERATOR = torch.Generator().manual_seed(0)
B, T, H, N = 2, 35, 1, 64
"""35 steps: more than one chunk of 32."""


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=dtype).requires_grad_()


def some_resets() -> Tensor:
    resets = torch.zeros(B, T, dtype=torch.bool)
    resets[0, 3] = resets[1, 0] = resets[1, 32] = True
    return resets


def calls(dtype: torch.dtype) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Each operator with arguments that reach all its branches."""
    ops = torch.ops.rwkv_music
    wkv = [tensor.to(dtype).requires_grad_() for tensor in inputs(T, B=B, H=H)]
    mixed = [draw(B, T, H * N, dtype=dtype) for _ in range(8)]
    heads = draw(H, 8, N, dtype=dtype)
    state = draw(B, H, N, N, dtype=dtype)
    shift = [draw(B, T, N, dtype=dtype), draw(N, dtype=dtype), draw(N, dtype=dtype)]
    shift += [draw(6, N, dtype=dtype), draw(B, N, dtype=dtype)]
    return {
        "wkv7": (ops.wkv7.default, (*wkv, None, True)),
        "wkv7 with resets": (ops.wkv7.default, (*wkv, some_resets(), True)),
        "mix_heads": (ops.mix_heads.default, (mixed, heads, state, some_resets(), True)),
        "mix_heads of layer 0": (ops.mix_heads.default, (mixed[:6], heads, state, None, True)),
        "token_shift": (ops.token_shift.default, (*shift, some_resets(), dtype)),
        "squared_relu": (ops.squared_relu.default, (draw(7, 5, dtype=dtype),)),
    }


@pytest.mark.parametrize("name", calls(torch.float32))
def test_torch_finds_nothing_wrong_with_an_operator(name: str) -> None:
    operator, arguments = calls(torch.float32)[name]
    opcheck(operator, arguments)


@pytest.mark.parametrize("name", calls(torch.float64))
def test_gradients_agree_with_finite_differences(name: str) -> None:
    operator, arguments = calls(torch.float64)[name]
    leaves = [
        tensor for argument in arguments
        for tensor in (argument if isinstance(argument, list) else [argument])
        if isinstance(tensor, Tensor) and tensor.requires_grad
    ]  # fmt: skip
    kept_only = {"wkv7": 2, "mix_heads": 2}.get(name.split(maxsplit=1)[0])

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = iter(tensors)
        actual = operator(
            *(
                [next(given) for _ in argument] if isinstance(argument, list)
                else next(given) if isinstance(argument, Tensor) and argument.requires_grad
                else argument
                for argument in arguments
            )
        )  # fmt: skip
        # What is kept for the backward has no gradient.
        return tuple(actual)[:kept_only] if not isinstance(actual, Tensor) else (actual,)

    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    leaves = [tensor.requires_grad_() for tensor in inputs(3, B=1, H=1)]
    y, _ = wkv7(*leaves[:6], leaves[6], backend="native")
    first = torch.autograd.grad(y.square().sum(), leaves, create_graph=True)
    with pytest.raises(RuntimeError, match=r"does not require grad|backward"):
        torch.autograd.grad(first[0].sum(), leaves[1])


def test_torch_compiles_operators_and_a_model_into_one_graph_each() -> None:
    # In a process of its own: the tests' checks of types at run time cannot be compiled.
    script = """
import torch
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.ops import products
from rwkv_music.ops.wkv7 import wkv7
from tests.ops.recurrence import inputs

tensors = [each.float() for each in inputs(35)]
compiled = torch.compile(lambda *x: wkv7(*x[:6], x[6]), fullgraph=True, backend="aot_eager")
torch.testing.assert_close(compiled(*tensors), wkv7(*tensors[:6], tensors[6]))

model = RWKV7(ModelConfig(vocab_size=11, num_layers=2, dim=64))
initialize(model, seed=0)
ids = torch.randint(11, (2, 9), generator=torch.Generator().manual_seed(0))

def gradients(run):
    model.zero_grad()
    run(ids)[0].square().mean().backward()
    return [each.grad for each in model.parameters()]

expected = gradients(model)
found = gradients(torch.compile(model, fullgraph=True, backend="aot_eager"))
torch.testing.assert_close(found, expected)

products.has_amx = lambda: True  # on other machines, loops do what the tiles would
with torch.autocast("cpu", torch.bfloat16):
    expected = gradients(model)
    found = gradients(torch.compile(model, fullgraph=True, backend="aot_eager"))
torch.testing.assert_close(found, expected, rtol=0.02, atol=1e-4)
print(len(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env=_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


@pytest.mark.parametrize("call", ["the door", "the operator"])
def test_autocast_takes_the_widest_type_and_leaves_the_state_alone(call: str) -> None:
    tensors = [tensor.float() for tensor in inputs(T, B=B, H=H)]
    mixture = [*tensors[:2], *(tensor.bfloat16() for tensor in tensors[2:6]), tensors[6]]
    with torch.autocast("cpu", torch.bfloat16):
        if call == "the door":
            y, state = wkv7(*mixture[:6], mixture[6], backend="native")
        else:
            y, state, *_ = torch.ops.rwkv_music.wkv7(*mixture, None, False)
    assert (y.dtype, state.dtype) == (torch.float32, torch.float32)
    expected = wkv7(*(tensor.float() for tensor in mixture[:6]), mixture[6], backend="native")
    torch.testing.assert_close((y, state), expected)


@pytest.mark.parametrize("variant", ["baseline", "avx2", "avx512", "amx"])
def test_every_variant_of_this_machine_computes_the_same(variant: str) -> None:
    """Every operator in float64, products in tiles of bfloat16, the recurrence in float32."""
    script = (
        "from tests.ops.recurrence import inputs, relative_error, results_and_gradients\n"
        "given = [each.float() for each in inputs(70)]\n"
        "truth = results_and_gradients(inputs(70), 'reference')\n"
        "found = results_and_gradients(given, 'native')\n"
        "print(max(relative_error(found[name], value) for name, value in truth.items()))\n"
        "from tests.ops import native_check\n"
        "print(native_check.largest_error())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env={**_environment(), "RWKV_MUSIC_NATIVE": variant},
    )  # fmt: skip
    if "asks for" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    in_float32, in_gate = map(float, done.stdout.split())
    assert in_float32 < 1e-6
    assert in_gate < 1e-9


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("off", "chunked (PyTorch); the native library is not used: switched off by RWKV"),
        (
            "baseline",
            "native on the CPU (baseline variant, asked for by RWKV_MUSIC_NATIVE; "
            "bfloat16 matrix products by PyTorch)",
        ),
        ("abacus", "RWKV_MUSIC_NATIVE is 'abacus': set it to off, baseline, avx2, avx512, amx"),
    ],
)
def test_the_library_can_be_switched_off_and_says_so(asked: str, answer: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rwkv_music", "--version", "--verbose"],
        capture_output=True, text=True, check=False,
        env={**_environment(), "RWKV_MUSIC_NATIVE": asked},
    )  # fmt: skip
    assert answer in done.stdout + done.stderr


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
