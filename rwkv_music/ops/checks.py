"""Input checks shared by the operators: shapes and finite values."""

from torch import Tensor

from rwkv_music.errors import InputError


def check_shape(name: str, tensor: Tensor | None, *shape: int) -> None:
    """Check the shape of a tensor, since the native library would read past its end.

    Raises:
        InputError: If the shape differs; the message has the name and both shapes.
    """
    if tensor is not None and tuple(tensor.shape) != shape:
        raise InputError(
            f"{name} must be {list(shape)} to match the other tensors, got {list(tensor.shape)}"
        )


def check_finite(tensors: dict[str, Tensor]) -> None:
    """Check that all values are finite.

    Raises:
        InputError: If a tensor contains NaN or infinity; the message has its name and the index.
    """
    for name, tensor in tensors.items():
        finite = tensor.isfinite()
        if not finite.all():
            index = tuple((~finite).nonzero()[0].tolist())
            raise InputError(
                f"{name} holds {tensor[index].item()} at {list(index)} "
                f"({int((~finite).sum())} of {tensor.numel()} values are not finite): check what "
                "computed it; in training, lower the learning rate"
            )
