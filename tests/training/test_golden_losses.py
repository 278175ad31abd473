"""Twenty losses of a tiny run, written down: a change that should not change numbers must not.

Written anew by `python -m tests.training.test_golden_losses` from the repository's root. A change
of these numbers needs its reason in the commit message.
"""

import json
from pathlib import Path

import numpy as np

from rwkv_music.data import Windows
from rwkv_music.data.augmentation import RandomAugmentation
from rwkv_music.data.loading.window_loader import WindowLoader
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training import Trainer, TrainingConfig
from tests.music import piece

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "losses.json"
STEPS = 20


def losses() -> list[float]:
    """The losses of a run that is fixed in everything."""
    tokenizer = Tokenizer()
    windows = Windows(
        [piece(8, seed=seed) for seed in range(6)], tokenizer, prompt_bars=2, completion_bars=2
    )
    batches = WindowLoader(
        windows, batch_size=4, seed=0, augment=RandomAugmentation(vocabulary=tokenizer.vocabulary)
    )
    model = RWKV7(ModelConfig(vocab_size=tokenizer.vocab_size, num_layers=2, dim=64))
    initialize(model, seed=0)
    config = TrainingConfig.preset("tiny", corpus="", out="", steps=STEPS)
    return [report.loss_train for report in Trainer(model, batches, config)]


def test_twenty_losses_are_the_recorded_ones() -> None:
    # Other processors round otherwise; a wrong shift, mask or gradient is far beyond this.
    np.testing.assert_allclose(losses(), json.loads(GOLDEN.read_text()), rtol=1e-4)


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps([round(loss, 5) for loss in losses()], indent=1) + "\n")
