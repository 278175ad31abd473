"""The native library on its way to the user: compiled, put into a wheel, installed, checked."""

import ctypes
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from hatchling.builders.wheel import WheelBuilder

from rwkv_music.native import build

REPOSITORY = Path(__file__).resolve().parents[1]
TOOLS = REPOSITORY / "tools"
INGREDIENTS = (
    "rwkv_music", "widgets", "notebooks", "examples",
    "hatch_build.py", "pyproject.toml", "README.md", "LICENSE",
)  # fmt: skip
TINY = '#define RM_EXPORT extern "C" __attribute__((visibility("default")))\n'

needs_compiler = pytest.mark.skipif(
    build.find_compiler(build.host_target()) is None, reason="no C++ compiler is installed"
)


@pytest.fixture
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH without a single program, and no Zig."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ziglang" else find_spec(name)
    )
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a wheel is made of, without the library that was compiled in this checkout."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in INGREDIENTS:
        if (REPOSITORY / name).is_dir():
            leave_out = shutil.ignore_patterns("__pycache__", "lib", "models")
            shutil.copytree(REPOSITORY / name, copy / name, ignore=leave_out)
        else:
            shutil.copy(REPOSITORY / name, copy)
    return copy


@pytest.fixture
def tiny_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The source of a library of one function, which the build then takes."""
    monkeypatch.setattr(build, "SOURCE", tmp_path / "source")
    path = tmp_path / "source" / "library.cpp"
    path.parent.mkdir()
    path.write_text(TINY + "RM_EXPORT int rwkv_music_sources() { return 1; }\n", encoding="utf-8")
    return path


def wheel_of(checkout: Path) -> Path:
    """The wheel that hatchling builds."""
    (path,) = WheelBuilder(str(checkout)).build(
        directory=str(checkout / "dist"), versions=["standard"]
    )
    return Path(path)


def natives_in(wheel: Path) -> list[str]:
    """The native library's files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    return [name.rpartition("/")[2] for name in names if "/native/lib/" in name]


def checker() -> ModuleType:
    """tools/check_wheels.py."""
    pytest.importorskip("lief", reason="lief, which reads libraries, is not installed")
    spec = importlib.util.spec_from_file_location("check_wheels", TOOLS / "check_wheels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_the_wheel_is_pure_and_one_sentence_says_so(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = wheel_of(checkout)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert natives_in(wheel) == []
    assert capsys.readouterr().out.count("No C++ compiler was found") == 1


def test_a_compiler_that_fails_does_not_end_an_installation(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", f"{sys.executable} -c 1/0")
    wheel = wheel_of(checkout)
    assert wheel.name.endswith("-py3-none-any.whl")
    shown = "".join(capsys.readouterr())
    assert "ZeroDivisionError" in shown
    assert "The native CPU library is left out" in shown


@pytest.mark.usefixtures("no_compiler")
def test_a_wheel_for_an_unknown_machine_is_refused_with_the_known_ones(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RWKV_MUSIC_WHEEL", "amiga")
    with pytest.raises(ValueError, match=r"is 'amiga': choose any, linux-x86-64, .*macos-arm64"):
        wheel_of(checkout)


@pytest.mark.usefixtures("no_compiler")
def test_a_wheel_that_was_asked_for_is_never_made_without_its_library(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RWKV_MUSIC_WHEEL", "linux-arm64")
    with pytest.raises(ValueError, match="compiling for linux-arm64 needs the package ziglang"):
        wheel_of(checkout)


@needs_compiler
def test_a_library_is_compiled_again_only_when_its_sources_changed(
    tmp_path: Path, tiny_source: Path
) -> None:
    folder = tmp_path / "lib"
    assert build.present_library(folder) == []
    built = build.renew_library(folder)
    assert [path.name for path in built] == build.host_target().names
    written = [path.stat().st_ino for path in built]
    assert [path.stat().st_ino for path in build.renew_library(folder)] == written
    tiny_source.write_text(tiny_source.read_text() + "// new\n", encoding="utf-8")
    assert build.present_library(folder) == []


@needs_compiler
def test_a_library_that_no_longer_compiles_leaves_no_old_one_behind(
    tmp_path: Path, tiny_source: Path
) -> None:
    folder = tmp_path / "lib"
    build.compile_library(folder)
    tiny_source.write_text("not C++", encoding="utf-8")
    with pytest.raises(build.BuildError, match=r"library\.cpp .*failed:\n.*error"):
        build.renew_library(folder)
    assert list(folder.iterdir()) == []


@needs_compiler
@pytest.mark.skipif(sys.platform == "win32", reason="the old compiler is played by a shell script")
def test_an_old_compiler_leaves_out_the_variants_it_does_not_know(
    tiny_source: Path, tmp_path: Path
) -> None:
    newest = list(build.host_target().variants.values())[-1]
    if not newest:
        pytest.skip("this kind of machine has one variant only")
    real = " ".join(build.find_compiler(build.host_target()) or ())
    script = tmp_path / "c++"
    script.write_text(f'#!/bin/sh\ncase "$*" in *{newest[-1]}*) exit 1;; esac\nexec {real} "$@"\n')
    script.chmod(0o755)
    folder = tmp_path / "lib"
    built = build.compile_library(folder, compiler=[str(script)])
    assert [path.name for path in built] == build.host_target().names[:-1]
    assert build.present_library(folder) == built
    built[-1].unlink()
    assert build.present_library(folder) == []


def test_the_functions_of_the_library_are_read_from_its_sources(tiny_source: Path) -> None:
    tiny_source.with_name("more.h").write_text(
        "// RM_EXPORT void in_a_comment();\n"
        "RM_EXPORT const float* of_two_lines(const float* x,\n                 int n) {}\n"
    )
    assert build.exported_functions() == ["rwkv_music_sources", "of_two_lines"]


def linux_lends_tiles() -> bool:
    """Whether a process here may use AMX: a kernel, or a sandbox around it, may refuse."""
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data) == 0


@needs_compiler
@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux tells what a processor has")
@pytest.mark.skipif(
    build.host_target().architecture != "x86-64",
    reason="the library has several variants on x86-64 only",
)
def test_the_library_finds_what_the_processor_has() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].split("\n")[0].split())
    avx2 = {"avx2", "fma", "f16c"} <= flags
    avx512 = avx2 and {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags
    amx = avx512 and {"amx_tile", "amx_bf16", "avx512_bf16"} <= flags and linux_lends_tiles()
    library = build.renew_library()[0]
    code = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).rwkv_music_level())"
    done = subprocess.run([sys.executable, "-c", code, library], capture_output=True, check=True)
    assert int(done.stdout) == avx2 + avx512 + amx


@needs_compiler
def test_the_check_finds_nothing_wrong_with_this_machines_library() -> None:
    check, target = checker(), build.host_target()
    for path in build.renew_library():
        assert check.problems(check.read_library(path), target) == []


def test_the_check_names_what_is_wrong_with_a_library() -> None:
    check = checker()
    names = frozenset(build.exported_functions())
    library = check.Library(
        "x86-64",
        names - {"rwkv_music_sources"} | {"secret"},
        ("libc.so.6", "libgomp.so.1"),
        (2, 34),
    )
    assert check.problems(library, build.TARGETS["linux-arm64"]) == [
        "it is for x86-64",
        "it lacks rwkv_music_sources",
        "it also exports secret",
        "it needs libgomp.so.1",
        "it needs system (2, 34), the tag says (2, 17)",
    ]


def test_the_check_refuses_a_wheel_without_its_libraries(tmp_path: Path) -> None:
    wheel = tmp_path / "rwkv_music-1-py3-none-win_amd64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("rwkv_music/native/lib/rwkv_music-avx2.dll", "")
    with pytest.raises(
        ValueError, match=r"contains rwkv_music-avx2\.dll, not .*rwkv_music-baseline"
    ):
        checker().check_wheel(wheel)


@pytest.mark.long
@pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None,
    reason="ziglang, which compiles for other machines, is not installed: pip install ziglang",
)
@pytest.mark.parametrize("name", build.TARGETS)
def test_a_wheel_for_another_machine_passes_the_check(
    name: str, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RWKV_MUSIC_WHEEL", name)
    verdicts = checker().check_wheel(wheel_of(checkout))
    assert [variant for variant, _ in verdicts] == list(build.TARGETS[name].variants)
