"""Refusals that the operators share: wrong shapes, and numbers that are none."""

from torch import Tensor

from rwkv_music.errors import InputError


def check_shape(name: str, tensor: Tensor | None, *shape: int) -> None:
    """Refuse a tensor of another shape; the native library would read past its end.

    Raises:
        InputError: Names the tensor and both shapes.
    """
    if tensor is not None and tuple(tensor.shape) != shape:
        raise InputError(
            f"{name} must be {list(shape)} to go with the other tensors, got {list(tensor.shape)}"
        )


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
