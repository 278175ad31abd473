"""The `rwkv` package as judge: its RWKV-7 and this one read the same file and say the same.

Float32 on both sides. The package rounds the decay's constant to 0.606531 and runs step by step,
so that the two differ by rounding: up to 3e-5 of the logits' spread was measured. A state with rows
and columns exchanged, or without its token shifts, is wrong by 0.7 and more.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rwkv_music.model import (
    RWKV7,
    load_model,
    load_pth,
    save_pth,
    state_from_list,
    state_to_list,
)
from tests.model.official_files import VOCAB, official_weights

REPOSITORY = Path(__file__).resolve().parents[2]
TOKENS, SEAM = 1000, 400

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("rwkv") is None,
    reason="the rwkv package, which judges our files, is not installed: pip install rwkv==0.8.32",
)


def judged(folder: Path, model: RWKV7, ids: torch.Tensor) -> dict[str, Any]:
    """What the package makes of folder/model.pth and of our state at the seam."""
    with torch.no_grad():
        _, between = model(ids[:, :SEAM])
    job = {"ids": ids[0], "seam": torch.tensor(SEAM), "state": state_to_list(between)}
    torch.save(job, folder / "job.pth")
    command = [sys.executable, "-m", "tests.model.rwkv_package", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = torch.load(folder / "answer.pth", weights_only=True)
    return answer


def assert_agreement(folder: Path, model: RWKV7) -> None:
    """Same logits from the start, and on either side of a state handed over."""
    ids = torch.randint(
        model.config.vocab_size, (1, TOKENS), generator=torch.Generator().manual_seed(0)
    )
    answer = judged(folder, model, ids)
    with torch.no_grad():
        logits, _ = model(ids)
        taken_over, _ = model(ids[:, SEAM:], state_from_list(answer["state"], model.config))
    spread = logits.std().item()
    assert spread > 0.5, "logits near zero would agree whatever they were"
    for actual, expected in (
        (answer["logits"], logits[0]),
        (answer["taken_over"], logits[0, SEAM:]),
        (taken_over[0], answer["logits"][SEAM:]),
    ):
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4 * spread)


@pytest.mark.parametrize("block_0_value", [True, False])
def test_an_official_file_gives_the_same_logits_in_the_rwkv_package(
    tmp_path: Path, block_0_value: bool
) -> None:
    torch.save(official_weights(block_0_value=block_0_value), tmp_path / "model.pth")
    model = load_pth(tmp_path / "model.pth")
    assert model.config.vocab_size == VOCAB
    assert_agreement(tmp_path, model.network)


def test_a_trained_model_gives_the_same_logits_in_the_rwkv_package(tmp_path: Path) -> None:
    model = load_model("bach")
    save_pth(model, tmp_path / "model.pth", dtype=torch.float32)
    assert_agreement(tmp_path, model.network)
