"""CUDA kernels: compilation, cache, loading and launching, with a fake driver."""

import contextlib
import ctypes
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
import torch

from rwkv_music.cli import benchmark_command, main
from rwkv_music.errors import InputError
from rwkv_music.ops import backends, registry
from rwkv_music.ops.cuda import Gpu, KernelUnavailable, cubins, driver, gpu, nvrtc
from rwkv_music.ops.wkv7 import cuda, wkv7


class Argument(ctypes.Structure):
    _fields_ = [("number", ctypes.c_int64)]


@pytest.fixture(scope="module")
def fake_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build the fake driver with: install gcc")
    path = tmp_path_factory.mktemp("driver") / "fake_driver.so"
    source = Path(__file__).with_name("fake_driver.c")
    subprocess.run([compiler, "-shared", "-fPIC", str(source), "-o", str(path)], check=True)
    return path


@pytest.fixture
def fake(fake_library: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(fake_library))
    for name in ("refuse_load", "refuse_launch", "loads", "attribute_value"):
        ctypes.c_int.in_dll(library, name).value = 0
    monkeypatch.setattr(driver, "load_driver", lambda: library)
    monkeypatch.setenv("RWKV_MUSIC_CACHE", str(tmp_path / "cache"))
    return library


def number(library: ctypes.CDLL, name: str) -> int:
    return ctypes.c_int.in_dll(library, name).value


def test_a_launch_passes_sizes_stream_and_arguments(fake: ctypes.CDLL) -> None:
    module = driver.Module(b"code")
    module.launch("kernel", Argument(7**20), blocks=5, threads=64, shared=1024, stream=0x30)
    assert list((ctypes.c_uint * 3).in_dll(fake, "last_launch")) == [5, 64, 1024]
    assert ctypes.c_void_p.in_dll(fake, "last_stream").value == 0x30
    assert ctypes.c_int64.in_dll(fake, "last_argument").value == 7**20
    assert number(fake, "attribute_value") == 0


def test_a_launch_requests_shared_memory_above_the_default(fake: ctypes.CDLL) -> None:
    module = driver.Module(b"code")
    module.launch("kernel", Argument(0), blocks=1, threads=1, shared=49152, stream=0)
    assert number(fake, "attribute_value") == 0
    module.launch("kernel", Argument(0), blocks=1, threads=1, shared=49153, stream=0)
    assert number(fake, "attribute_value") == 49153


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (2, r"cuLaunchKernel failed with CUDA_ERROR_OUT_OF_MEMORY: .* reduce the batch size"),
        (222, r"failed with error 222: the driver is older than the compiler; update the NVIDIA"),
        (999, r"failed with error 999: update the NVIDIA driver if this happens again"),
    ],
)
def test_a_driver_error_has_its_name_and_a_remedy(
    code: int, sentence: str, fake: ctypes.CDLL
) -> None:
    module = driver.Module(b"code")
    ctypes.c_int.in_dll(fake, "refuse_launch").value = code
    with pytest.raises(KernelUnavailable, match=sentence):
        module.launch("kernel", Argument(0), blocks=1, threads=1, shared=0, stream=0)


def test_a_thread_without_a_context_gets_that_of_its_gpu(fake: ctypes.CDLL) -> None:
    context = ctypes.c_void_p.in_dll(fake, "context")
    context.value = None
    driver.ensure_context(2)
    assert context.value == 42
    driver.ensure_context(3)
    assert context.value == 42, "an existing context was replaced"


def test_a_missing_function_is_an_error(fake: ctypes.CDLL) -> None:
    with pytest.raises(driver.DriverError, match="cuModuleGetFunction failed with error 500"):
        driver.Module(b"code").launch("other", Argument(0), blocks=1, threads=1, shared=0, stream=0)


def test_without_a_driver_the_remedy_is_to_install_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver.sys, "platform", "win32")  # no machine of the tests has nvcuda.dll
    with pytest.raises(KernelUnavailable, match=r"no NVIDIA driver \(nvcuda.dll was not found\)"):
        driver.load_driver.__wrapped__()


def test_machine_code_is_compiled_once_and_checked_when_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RWKV_MUSIC_CACHE", str(tmp_path))
    made: list[bytes] = []

    def make() -> bytes:
        made.append(b"code")
        return made[-1]

    def get_code(key: str = "key") -> bytes:
        return cubins.cached("kernel", key, make)

    assert get_code() == get_code() == b"code"
    assert len(made) == 1
    get_code("another key")
    assert len(made) == 2
    paths = sorted((tmp_path / "cubins").iterdir())
    assert len(paths) == 2
    for broken in (b"", b"x" * 40, paths[0].read_bytes()[:-1]):
        for path in paths:
            path.write_bytes(broken)
        before = len(made)
        assert get_code() == b"code"
        assert len(made) == before + 1, f"{broken!r} was accepted as machine code"
        assert get_code() == b"code"
        assert len(made) == before + 1, "the damaged file was not replaced"


def test_an_unwritable_cache_gives_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RWKV_MUSIC_CACHE", str(tmp_path / "file"))
    with pytest.warns(
        RuntimeWarning, match=r"cannot be cached .* RWKV_MUSIC_CACHE to a writable folder"
    ):
        assert cubins.cached("kernel", "key", lambda: b"code") == b"code"


@pytest.fixture
def a_gpu(fake: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A GPU with a fake compiler and a fake driver."""
    monkeypatch.setattr(torch.cuda, "device", lambda index: contextlib.nullcontext())
    monkeypatch.setattr(nvrtc, "target_of", lambda capability: f"sm_{capability}")
    monkeypatch.setattr(nvrtc, "nvrtc_version", lambda: (13, 0))
    monkeypatch.setattr(
        nvrtc, "compile_source", lambda source, target, options: nvrtc.Compiled(source.encode(), "")
    )
    return Gpu(0, 90, 132, 232_448)


def test_cached_code_that_the_driver_rejects_is_compiled_again(
    a_gpu: Gpu, fake: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_gpu.kernels("kernel", "good", [])
    assert number(fake, "loads") == 1
    a_gpu.kernels("kernel", "good", [])
    assert number(fake, "loads") == 2
    monkeypatch.setattr(cubins, "_read", lambda path: b"broken")  # whole, but of another driver
    a_gpu.kernels("kernel", "good", [])
    assert number(fake, "loads") == 4


def test_invalid_code_is_an_error_after_a_second_compilation(a_gpu: Gpu) -> None:
    with pytest.raises(KernelUnavailable, match=r"CUDA_ERROR_INVALID_IMAGE: .* update the NVIDIA"):
        a_gpu.kernels("kernel", "broken", [])


def test_out_of_memory_is_not_retried(a_gpu: Gpu, fake: ctypes.CDLL) -> None:
    ctypes.c_int.in_dll(fake, "refuse_load").value = 2
    with pytest.raises(KernelUnavailable, match="the GPU is out of memory"):
        a_gpu.kernels("kernel", "good", [])
    assert number(fake, "loads") == 1


def test_chips_older_than_the_compiler_are_refused_and_newer_ones_get_ptx(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nvrtc, "supported_architectures", lambda: (75, 80, 90))
    monkeypatch.setattr(nvrtc, "nvrtc_version", lambda: (13, 5))
    assert nvrtc.target_of(80) == "sm_80"
    assert nvrtc.target_of(130) == "compute_90"
    with pytest.raises(
        KernelUnavailable, match=r"compute capability 7.0, but NVRTC 13.5 supports 7.5 and newer"
    ):
        nvrtc.target_of(70)


def test_a_gpu_with_too_little_shared_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "gpu_of", lambda index: Gpu(0, 60, 10, 48 * 1024))
    with pytest.raises(KernelUnavailable, match=r"has 49152 bytes of shared memory, but 5\d+ are"):
        cuda.require(0, torch.float32)


def test_amd_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", "6.4")
    with pytest.raises(KernelUnavailable, match="this torch is built for AMD GPUs"):
        gpu.gpu_of.__wrapped__(0)


class OnGpu:
    """The attributes of a GPU tensor that `choose_backend` reads."""

    device = torch.device("cuda:0")
    dtype = torch.float32


def refuse(monkeypatch: pytest.MonkeyPatch, **reasons: str) -> None:
    """Make the loading of kernels fail."""
    monkeypatch.setattr(backends, "_reported", set())
    monkeypatch.setattr(
        backends, "_why_no_gpu_kernel", lambda name, index, dtype: reasons.get(name)
    )


@pytest.mark.usefixtures("without_type_checks")
def test_on_a_gpu_the_cuda_kernel_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch)
    assert backends.choose_backend(OnGpu(), 64) == "cuda"  # type: ignore[arg-type]
    assert backends.choose_backend(OnGpu(), 32) == "chunked"  # type: ignore[arg-type]
    assert backends.choose_backend(torch.zeros(1), 32) == "chunked"


@pytest.mark.usefixtures("without_type_checks")
def test_a_fallback_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, cuda="no driver: install one", triton="no Triton: pip install triton")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            assert backends.choose_backend(OnGpu(), 64) == "chunked"  # type: ignore[arg-type]
    assert [str(warning.message).partition(":")[0] for warning in caught] == [
        "the WKV kernel 'cuda' is not used", "the WKV kernel 'triton' is not used",
    ]  # fmt: skip


@pytest.mark.usefixtures("without_type_checks")
def test_the_warning_names_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, cuda="no driver: install one")
    message = "'cuda' is not used: no driver: install one; falling back to 'triton'"
    with pytest.warns(RuntimeWarning, match=message):
        assert backends.choose_backend(OnGpu(), 64) == "triton"  # type: ignore[arg-type]
    refuse(monkeypatch, triton="none")
    monkeypatch.setattr(backends, "_GPU_KERNELS", ("triton",))
    with pytest.warns(
        RuntimeWarning, match="'triton' is not used: none; falling back to 'chunked'"
    ):
        backends.choose_backend(OnGpu(), 64)  # type: ignore[arg-type]


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("how", ["argument", "variable"])
def test_a_requested_backend_is_never_replaced(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, cuda="no driver: install one")
    if how == "variable":
        monkeypatch.setenv(registry.BACKEND_VARIABLE, "cuda")
    with pytest.raises(InputError, match="backend 'cuda' cannot run here: no driver: install one"):
        backends.choose_backend(OnGpu(), 64, "cuda" if how == "argument" else None)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["cuda", "triton"])
def test_a_gpu_kernel_requested_on_the_cpu_is_refused(backend: str) -> None:
    x = torch.zeros(1, 2, 1, 64)
    with pytest.raises(InputError, match=f"'{backend}' cannot run here: it runs on a GPU, the ten"):
        wkv7(x, x, x, x, x, x, backend=backend)


def test_the_order_of_preference_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch)
    assert backends.available_backends("cuda")[:3] == ["cuda", "triton", "chunked"]
    assert not {"cuda", "triton"} & set(backends.available_backends("cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert backends.available_backends()[:2] == ["cuda", "triton"]
    assert backends.describe_backends().startswith("cuda on the GPU; ")
    refuse(monkeypatch, cuda="no driver")
    assert backends.describe_backends().startswith(
        "triton on the GPU (cuda is not used: no driver)"
    )


def test_the_command_line_reports_gpu_errors_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(given: object) -> int:
        raise error

    monkeypatch.setattr(benchmark_command, "run", run)
    error: Exception = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    assert main(["benchmark", "gpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rwkv-music: the GPU is out of memory: reduce --batch-size")
    error = driver.DriverError.__new__(driver.DriverError)
    error.args = ("cuLaunchKernel failed",)
    assert main(["benchmark", "gpu"]) == 2
    assert capsys.readouterr().err == "rwkv-music: cuLaunchKernel failed\n"
    error = RuntimeError("a bug of ours")
    with pytest.raises(RuntimeError, match="a bug of ours"):
        main(["benchmark", "gpu"])
