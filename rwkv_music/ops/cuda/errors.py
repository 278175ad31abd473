"""What keeps a GPU kernel from running."""


class KernelUnavailable(Exception):  # noqa: N818 - a fact about the machine, not a mistake
    """Why a kernel cannot run on this machine, in one sentence with what helps."""
