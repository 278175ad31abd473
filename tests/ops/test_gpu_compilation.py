"""Every GPU kernel compiles for every chip, without a GPU, and keeps all it holds in registers."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from rwkv_music.ops.cuda import Gpu, KernelUnavailable, nvrtc
from rwkv_music.ops.wkv7 import cuda
from tests.skips import NO_TRITON

REPOSITORY = Path(__file__).parents[2]
SHARED_MEMORY = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}
"""KiB that one block may have, by compute capability times ten; CUDA C++ Programming Guide."""
REGISTERS = 65_536
"""Of a multiprocessor, on all of these."""


def fitting(arch: int) -> list[int]:
    """The splits of a head that a chip has shared memory for."""
    room = 1024 * SHARED_MEMORY[arch]
    return [rows for rows in cuda.ROWS if 4 * cuda.shared_elements(rows, backward=True) <= room]


EVERY = [(arch, dtype, rows) for arch in SHARED_MEMORY for dtype in (torch.float32, torch.bfloat16)
         for rows in fitting(arch)]  # fmt: skip
SOME = [
    *((arch, torch.bfloat16, fitting(arch)[0]) for arch in SHARED_MEMORY),
    *((90, torch.float32, rows) for rows in cuda.ROWS),
]
"""The fullest of each chip, and every split of one."""


@dataclass(frozen=True)
class Usage:
    """What the assembler says of one kernel."""

    registers: int
    spilled_bytes: int
    stack_bytes: int


def compiled(arch: int, dtype: torch.dtype, rows: int) -> tuple[bytes, dict[str, Usage]]:
    """Machine code, and what each kernel uses."""
    try:
        nvrtc.load_nvrtc()
    except KernelUnavailable as error:
        pytest.skip(str(error))
    options = (f"-DIO={cuda.DTYPE_CODES[dtype]}", f"-DROWS={rows}", "--ptxas-options=-v")
    actual = nvrtc.compile_source(cuda.source_text(), f"sm_{arch}", options)
    assert "warning" not in actual.log, actual.log
    usage = {
        name: Usage(int(registers), int(stores) + int(loads), int(stack))
        for name, stack, stores, loads, registers in re.findall(
            r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
            r"(\d+) bytes spill loads.*?Used (\d+) registers",
            actual.log, re.DOTALL,
        )
    }  # fmt: skip
    return actual.image, usage


def check(arch: int, dtype: torch.dtype, rows: int) -> None:
    image, usage = compiled(arch, dtype, rows)
    assert image.startswith(b"\x7fELF")
    assert set(usage) == {"wkv7_forward", "wkv7_backward", "wkv7_finish"}
    print(
        f"sm_{arch} {dtype} {rows} rows:",
        {name: kernel.registers for name, kernel in usage.items()},
    )
    for name, kernel in usage.items():
        assert kernel.spilled_bytes == kernel.stack_bytes == 0, (name, kernel)
    for name in ("wkv7_forward", "wkv7_backward"):
        # Registers are handed out in eights per thread.
        blocks = REGISTERS // (-(-usage[name].registers // 8) * 8 * cuda.threads_of(rows))
        enough = 2 if rows == 64 and SHARED_MEMORY[arch] > 200 else 1
        assert blocks >= enough, (name, usage[name])


@pytest.mark.parametrize(("arch", "dtype", "rows"), SOME)
def test_some_kernels_compile_without_spilling(arch: int, dtype: torch.dtype, rows: int) -> None:
    check(arch, dtype, rows)


@pytest.mark.long
@pytest.mark.parametrize(("arch", "dtype", "rows"), EVERY)
def test_every_kernel_compiles_without_spilling(arch: int, dtype: torch.dtype, rows: int) -> None:
    check(arch, dtype, rows)


def test_every_chip_has_room_for_a_split() -> None:
    assert fitting(75) == [8]
    assert fitting(80) == fitting(86) == fitting(90) == list(cuda.ROWS)
    for arch, room in SHARED_MEMORY.items():
        gpu = Gpu(0, arch, 100, 1024 * room)
        assert cuda.rows_for(10_000, gpu) == fitting(arch)[0]


def test_float32_computes_nothing_in_float64() -> None:
    try:
        nvrtc.load_nvrtc()
    except KernelUnavailable as error:
        pytest.skip(str(error))
    actual = nvrtc.compile_source(cuda.source_text(), "compute_80", ("-DIO=0", "-DROWS=32"))
    ptx = actual.image.decode()
    assert ".f64" not in ptx
    assert "ld.shared.v4.b32" in ptx or "ld.shared.v4.f32" in ptx, "vectors are read one by one"


def test_what_does_not_compile_is_told_with_its_first_error() -> None:
    try:
        nvrtc.load_nvrtc()
    except KernelUnavailable as error:
        pytest.skip(str(error))
    with pytest.raises(KernelUnavailable, match=r"did not compile the kernel for sm_80: .*abacus"):
        nvrtc.compile_source("__device__ int f() { return abacus; }", "sm_80")


TRITON = """
import subprocess, sys, tempfile
from pathlib import Path
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from rwkv_music.ops.wkv7 import triton_kernels

CONSTANTS = dict(HAS_RESETS=True, KEEP=True, HAS_FINAL=True, ROWS=16, N=64, CHUNK=16)
STATES = "state final_state starts removed d_final_state d_state parts history".split()
SIZES = dict(steps="i32", heads="i32", total="i64", resets="*i1", **dict.fromkeys(STATES, "*fp32"))
tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
for arch in map(int, sys.argv[1:]):
    for kernel in (triton_kernels.forward, triton_kernels.backward):
        names = kernel.arg_names
        signature = {n: "constexpr" if n in CONSTANTS else SIZES.get(n, "*bf16") for n in names}
        constants = {(names.index(n),): CONSTANTS[n] for n in names if n in CONSTANTS}
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        found = triton.compile(source, target=GPUTarget("cuda", arch, 32))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kernel.cubin"
            path.write_bytes(found.asm["cubin"])
            told = subprocess.check_output([tool, "--dump-resource-usage", path], text=True)
        print(arch, kernel.fn.__name__, told.strip().splitlines()[-1])
"""


def test_triton_kernels_compile_without_spilling(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason=NO_TRITON)
    archs = [str(arch) for arch in SHARED_MEMORY if arch != 75]  # Triton wants 8.0 for bfloat16
    done = subprocess.run(
        [sys.executable, "-c", TRITON, *archs], cwd=REPOSITORY, capture_output=True, text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TRITON_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    actual = re.findall(r"^(\d+) (\w+) .*REG:(\d+) STACK:(\d+).*LOCAL:(\d+)", done.stdout, re.M)
    assert len(actual) == 2 * len(archs)
    for arch, name, _, stack, local in actual:
        assert stack == local == "0", (arch, name)
