"""Numbers that are none, found where they come up instead of where they do harm."""

from torch import Tensor

from rwkv_music.errors import InputError


def check_finite(tensors: dict[str, Tensor]) -> None:
    """Refuse numbers that are none.

    Raises:
        InputError: Names the first tensor that holds a NaN or an infinity, and where.
    """
    for name, tensor in tensors.items():
        finite = tensor.isfinite()
        if not finite.all():
            place = tuple((~finite).nonzero()[0].tolist())
            raise InputError(
                f"{name} holds {tensor[place].item()} at {list(place)} "
                f"({int((~finite).sum())} of {tensor.numel()} numbers are not finite): look at "
                "what computed it, and lower the learning rate if this came up while training"
            )
