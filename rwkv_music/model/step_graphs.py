"""Decoding steps as CUDA graphs.

On a GPU, launching the many small kernels of a step one by one takes longer than running them. A
graph launches all of them at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

_WARM_UP = 3
"""Runs before a capture: libraries choose their kernels in the first ones."""


@runtime_checkable
class State(Protocol):
    """Two tensors that a step changes in place."""

    shifts: Tensor
    wkv: Tensor


@dataclass(frozen=True)
class _Captured:
    """A step with the tensors that it reads and writes, which stay where they are."""

    replay: Callable[[], None]
    ids: Tensor
    shifts: Tensor
    wkv: Tensor
    logits: Tensor


class StepGraphs:
    """A step that is captured once for each batch size and replayed from then on.

    Args:
        step: Takes ids, shifts and wkv, changes the latter two in place, and returns logits. It may
            not wait for the GPU, and must do the same whatever the numbers are.
        capture: Runs a function and returns what runs it again; CUDA's graphs by default.
    """

    def __init__(
        self,
        step: Callable[[Tensor, Tensor, Tensor], Tensor],
        *,
        capture: Callable[[Callable[[], None]], Callable[[], None]] | None = None,
    ) -> None:
        self._step = step
        self._capture = capture or capture_graph
        self._captured: dict[int, _Captured] = {}

    def __call__(self, ids: Tensor, state: State) -> Tensor:
        """Logits that are the caller's to keep; the state is changed in place."""
        found = self._captured.get(len(ids))
        if found is None:
            found = self._captured[len(ids)] = self._captured_for(ids, state)
        found.ids.copy_(ids)
        found.shifts.copy_(state.shifts)
        found.wkv.copy_(state.wkv)
        found.replay()
        state.shifts.copy_(found.shifts)
        state.wkv.copy_(found.wkv)
        return found.logits.clone()

    def _captured_for(self, ids: Tensor, state: State) -> _Captured:
        ids, shifts, wkv = ids.clone(), state.shifts.clone(), state.wkv.clone()
        logits = torch.empty_like(self._step(ids, shifts.clone(), wkv.clone()))

        def run() -> None:
            logits.copy_(self._step(ids, shifts, wkv))

        return _Captured(self._capture(run), ids, shifts, wkv, logits)


def capture_graph(run: Callable[[], None]) -> Callable[[], None]:
    """A CUDA graph of a function that reads and writes tensors where they are."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(_WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
