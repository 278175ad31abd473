"""The Triton kernels in Triton's interpreter: the gate of every backend, on a CPU."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import NO_TRITON

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason=NO_TRITON)
REPOSITORY = Path(__file__).parents[2]

PROGRAM = """
import json, sys
import torch
from rwkv_music.ops import Backend, register_backend, unregister_backend
from rwkv_music.ops.wkv7 import triton, wkv7
from tests.ops.recurrence import inputs, relative_error, results_and_gradients
from tests.skips import NO_TRITON

unregister_backend("triton")  # and register it for tensors on the CPU
register_backend(Backend("triton", triton.wkv7_triton, reads_bfloat16=True))
errors = {}

def check(name, tensors, resets=None, rows=64):
    triton.ROWS, triton._SPLITS = rows, 64 // rows
    truth = results_and_gradients([each.double() for each in tensors], "reference", resets)
    found = results_and_gradients(tensors, "triton", resets)
    errors[name] = max(relative_error(found[each], value) for each, value in truth.items())

for T in (1, 16, 17):
    check(f"float64, T = {T}", inputs(T, B=1, H=1))
for family in ("fast", "slow", "parallel", "hardest"):
    check(f"float64, {family}", inputs(4, family=family, B=1, H=1))
resets = torch.zeros(2, 20, dtype=torch.bool)
resets[0, [0, 5]] = resets[1, [16, 19]] = True
check("float64, resets, several sequences", inputs(20, B=2, H=1), resets)
check("float64, split rows", inputs(3, B=1, H=2), rows=16)
check("float32, T = 18", [each.float() for each in inputs(18, B=1, H=1)])
narrow = [each.bfloat16() for each in inputs(5, B=1, H=1)]
check("bfloat16, T = 5", [*narrow[:6], narrow[6].float()])

*sequences, state = inputs(20, B=1, H=1)
whole = wkv7(*sequences, state, backend="triton")
first, between = wkv7(*(each[:, :7] for each in sequences), state, backend="triton")
second, last = wkv7(*(each[:, 7:] for each in sequences), between, backend="triton")
errors["float64, two pieces"] = max(
    relative_error(torch.cat([first, second], 1), whole[0]), relative_error(last, whole[1])
)
print(json.dumps(errors))
"""
LIMITS = {"float64": 1e-11, "float32": 5e-6, "bfloat16": 1e-2}
"""The interpreter cuts bfloat16 off where a GPU rounds."""


def gate(folder: Path) -> dict[str, float]:
    """Errors by what was tried. In a process of its own: Triton reads the variable when loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=REPOSITORY, capture_output=True, text=True,
        check=False,
        env={
            **os.environ, "PYTHONPATH": str(REPOSITORY), "TRITON_INTERPRET": "1",
            "TRITON_CACHE_DIR": str(folder),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    actual: dict[str, float] = json.loads(done.stdout)
    return actual


def test_the_kernels_agree_with_the_reference(tmp_path: Path) -> None:
    actual = gate(tmp_path)
    assert len(actual) == 12
    for name, error in actual.items():
        assert error < LIMITS[name.partition(",")[0]], (name, error)
