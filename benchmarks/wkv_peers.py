"""The peers of the WKV benchmark, all called like `wkv7`: six sequences and a state.

`step_loop` is what the formula looks like in PyTorch, left to autograd. flash-linear-attention's
kernels need a GPU; the two functions its own tests compare them with run anywhere. They are read
from the installed package file by file, since importing the package asks for Triton.
"""

import importlib.util
import math
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

Recurrence = Callable[..., tuple[Tensor, Tensor]]

_FLA_FILE = Path("ops", "generalized_delta_rule", "dplr", "naive.py")


def step_loop(
    r: Tensor, decay_logit: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """One step after the other; autograd keeps every state."""
    decay = torch.exp(-math.exp(-0.5) * torch.sigmoid(decay_logit.to(state.dtype)))
    dtype = r.dtype
    r, k, v, alpha, beta = (sequence.to(state.dtype) for sequence in (r, k, v, alpha, beta))
    outputs = []
    for t in range(r.shape[1]):
        removed = state @ alpha[:, t, :, :, None]
        state = (
            state * decay[:, t, :, None]
            + removed * beta[:, t, :, None]
            + v[:, t, :, :, None] * k[:, t, :, None]
        )
        outputs.append((state @ r[:, t, :, :, None]).squeeze(-1))
    return torch.stack(outputs, dim=1).to(dtype), state


def fla_peers() -> tuple[dict[str, Recurrence], str]:
    """The two functions of flash-linear-attention by name, or none and the reason."""
    try:
        naive = _fla_module()
    except ImportError as error:
        return {}, f"flash-linear-attention is left out: {error}"
    return {
        "fla naive, steps": _as_ours(naive.dplr_recurrence),
        "fla naive, chunks": _as_ours(naive.dplr_chunkwise),
    }, ""


def _fla_module() -> ModuleType:
    package = importlib.util.find_spec("fla")
    if package is None or not package.submodule_search_locations:
        raise ImportError("it is not installed (pip install -e '.[bench]')")
    for folder in package.submodule_search_locations:
        path = Path(folder) / _FLA_FILE
        if path.exists():
            return _module_of(importlib.util.spec_from_file_location("fla_naive", path))
    raise ImportError(f"the installed version has no fla/{_FLA_FILE.as_posix()}")


def _module_of(spec: ModuleSpec | None) -> ModuleType:
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _as_ours(run: Recurrence) -> Recurrence:
    """Theirs takes [B, H, T, N], a log decay and a state [key, value], and divides r by sqrt(N)."""

    def recurrence(
        r: Tensor,
        decay_logit: Tensor,
        k: Tensor,
        v: Tensor,
        alpha: Tensor,
        beta: Tensor,
        state: Tensor,
    ) -> tuple[Tensor, Tensor]:
        log_decay = -math.exp(-0.5) * torch.sigmoid(decay_logit.float())
        sequences = (r.float() * math.sqrt(r.shape[-1]), k, v, alpha, beta, log_decay)
        y, after = run(
            *(sequence.float().transpose(1, 2) for sequence in sequences), initial_state=state.mT
        )
        return y.transpose(1, 2).to(r.dtype), after.mT

    return recurrence
