"""Low-rank additions to a model's large matrices, made and merged by the `peft` library."""

from typing import Any

from rwkv_music.errors import MissingExtraError
from rwkv_music.model import RWKV7

_MATRICES = ("receptance", "key", "value", "output")
"""Of time mixing; channel mixing has a `key` and a `value` as well."""


def imported_peft() -> Any:  # noqa: ANN401 - a module
    """The library.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError("tuning with LoRA", "peft", "tune") from error
    return peft


def with_lora(model: RWKV7, *, rank: int) -> Any:  # noqa: ANN401 - peft is imported when used
    """The model with trainable additions of a rank to each large matrix, all else frozen.

    The additions begin at zero, so that the model is at first what it was. Their scale is 2, as in
    Hu et al., arXiv:2106.09685, whatever the rank.

    Args:
        model: Its matrices are replaced in place by peft's; `merged` gives a plain model back.
        rank: Of each addition.

    Raises:
        MissingExtraError: If peft is not installed.
    """
    peft = imported_peft()
    settings = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(_MATRICES))
    return peft.LoraModel(model, settings, "default")


def merged(adapted: Any) -> RWKV7:  # noqa: ANN401 - what `with_lora` returned
    """The plain model whose matrices contain the additions."""
    model: RWKV7 = adapted.merge_and_unload()
    return model.requires_grad_(requires_grad=True)
