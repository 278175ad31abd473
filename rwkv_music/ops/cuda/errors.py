"""What keeps a GPU kernel from running."""

from rwkv_music.errors import InputError


class KernelUnavailable(InputError):  # noqa: N818 - a fact about the machine, not a mistake
    """Why a kernel cannot run on this machine, in one sentence with what helps."""
