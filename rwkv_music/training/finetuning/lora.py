"""Low-rank additions to a model's large matrices, made and merged by the `peft` library."""

from typing import Any

from rwkv_music.errors import MissingExtraError
from rwkv_music.model import RWKV7

_TARGET_MODULES = ("receptance", "key", "value", "output")
"""Matrices of time mixing; channel mixing has a `key` and a `value` as well."""


def imported_peft() -> Any:  # noqa: ANN401 - a module
    """Import and return the `peft` library.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError("tuning with LoRA", "peft", "tune") from error
    return peft


def with_lora(model: RWKV7, *, rank: int) -> Any:  # noqa: ANN401 - peft is imported when used
    """Add trainable low-rank matrices to each large matrix and freeze everything else.

    The additions start at zero, so that the model's output does not change at first. Their scale is
    2 for every rank, as in Hu et al., arXiv:2106.09685.

    Args:
        model: Its matrices are replaced in place by peft's; `merged` returns a plain model.
        rank: Rank of each addition.

    Raises:
        MissingExtraError: If peft is not installed.
    """
    peft = imported_peft()
    settings = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(_TARGET_MODULES))
    return peft.LoraModel(model, settings, "default")


def merged(adapted: Any) -> RWKV7:  # noqa: ANN401 - what `with_lora` returned
    """Return the plain model with the additions merged into its matrices."""
    model: RWKV7 = adapted.merge_and_unload()
    return model.requires_grad_(requires_grad=True)
