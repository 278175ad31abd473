"""What the trainer is shown: the music as it is, or changed on the way."""

from collections.abc import Callable
from typing import Any

import pytest

from rwkv_music.training import TrainingConfig
from rwkv_music.training.data_module import DataModule

SEEN_BATCHES = 6


@pytest.mark.parametrize("carry_state", [False, True])
def test_augmentation_changes_the_batches_unless_it_is_off(
    new_config: Callable[..., TrainingConfig], *, carry_state: bool
) -> None:
    """Rows of windows hold ids of the pieces, in any order; changed pieces hold others."""

    def shown(**settings: Any) -> tuple[set[int], set[int]]:
        config = new_config(carry_state=carry_state, context_length=64, **settings)
        data = DataModule.from_config(config)
        vocabulary = data.tokenizer.vocabulary
        stream = data.open_loader()
        try:
            ids = {
                int(token) for _ in range(SEEN_BATCHES) for token in next(stream).tokens.unique()
            }
        finally:
            stream.close()
        written = {int(token) for piece in data.train_pieces for token in piece.ids}
        return ids - {vocabulary.PAD}, written

    as_it_is, written = shown(augmentation=False)
    assert as_it_is <= written
    changed, _ = shown()
    assert not changed <= written
