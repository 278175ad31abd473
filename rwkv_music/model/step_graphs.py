"""Decoding steps as CUDA graphs.

On a GPU, launching the many small kernels of a step takes longer than running them; a graph
launches all of them at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

_WARM_UP = 3
"""Runs before a capture, in which libraries select their kernels."""


@runtime_checkable
class StepState(Protocol):
    """Two tensors that a step changes in place."""

    shifts: Tensor
    wkv: Tensor


@dataclass(frozen=True)
class _Captured:
    """A captured step with the tensors that it reads and writes, whose addresses are fixed."""

    replay: Callable[[], None]
    ids: Tensor
    shifts: Tensor
    wkv: Tensor
    logits: Tensor


class StepGraphs:
    """A step that is captured once for each batch size and replayed afterwards.

    Args:
        step: Takes ids, shifts and wkv, changes the latter two in place, and returns logits. It may
            not synchronize with the GPU, and its kernels may not depend on the values.
        capture: Runs a function and returns a function that repeats it; `capture_graph` when None.
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

    def __call__(self, ids: Tensor, state: StepState) -> Tensor:
        """Return a copy of the logits; the state is changed in place."""
        graph = self._captured.get(len(ids))
        if graph is None:
            graph = self._captured[len(ids)] = self._capture_step(ids, state)
        graph.ids.copy_(ids)
        graph.shifts.copy_(state.shifts)
        graph.wkv.copy_(state.wkv)
        graph.replay()
        state.shifts.copy_(graph.shifts)
        state.wkv.copy_(graph.wkv)
        return graph.logits.clone()

    def _capture_step(self, ids: Tensor, state: StepState) -> _Captured:
        ids, shifts, wkv = ids.clone(), state.shifts.clone(), state.wkv.clone()
        logits = torch.empty_like(self._step(ids, shifts.clone(), wkv.clone()))

        def run() -> None:
            logits.copy_(self._step(ids, shifts, wkv))

        return _Captured(self._capture(run), ids, shifts, wkv, logits)


def capture_graph(run: Callable[[], None]) -> Callable[[], None]:
    """Capture a function that reads and writes fixed tensors as a CUDA graph; return its replay."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
