"""constraints.txt is renewed by one command."""

from pathlib import Path

import pytest

from tests.tools.test_torch_index import load_tool

REPOSITORY = Path(__file__).resolve().parents[2]
RENEW = load_tool("renew_constraints")

BEFORE = """# tested versions
appnope==1.0.0 ; sys_platform == 'darwin'
torch==2.13.0
numpy==2.4.5
gone==1
"""
RESOLVED = """appnope==1.1.0 ; sys_platform == "macos"
Numpy==2.5.0 ; implementation_name != 'PyPy'
new==3 ; python_version < "3.12"
httpx2-jsfetch==1.0 ; sys_platform == 'emscripten'
nvidia-cublas==13.4
nvidia-ml-py==13.615
torch==2.13.0
triton==3.9.0
"""


def test_versions_are_new_and_comments_and_markers_stay() -> None:
    assert RENEW.renewed(BEFORE, RESOLVED) == (
        "# tested versions\n"
        "appnope==1.1.0 ; sys_platform == 'darwin'\n"
        "new==3 ; python_version < '3.12'\n"
        "numpy==2.5.0\n"
        "nvidia-ml-py==13.615\n"
        "torch==2.13.0\n"
    )


def test_a_package_pinned_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a is pinned twice: a==1 and a==2"):
        RENEW.pins("a==1\na==2\n")


@pytest.mark.long
def test_every_pin_has_a_wheel_for_every_python_and_platform() -> None:
    pytest.importorskip("uv")
    assert RENEW.missing_wheels(REPOSITORY / "constraints.txt") == []


@pytest.mark.long
def test_the_pins_fit_what_the_project_asks_for() -> None:
    pytest.importorskip("uv")
    text = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    assert RENEW.renewed(text, RENEW.resolved(text, upgrade=False)) == text
