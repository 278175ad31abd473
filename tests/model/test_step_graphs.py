"""Steps replayed as graphs, with a capture that records the function instead of a GPU's work."""

from collections.abc import Callable

import torch

from rwkv_music.model import RWKV7, Decoder, ModelConfig, initialize
from rwkv_music.model.step_graphs import StepGraphs


class Recorder:
    """Replays by calling again: like a graph, it knows only the tensors of its capture."""

    def __init__(self) -> None:
        self.captures = 0
        self.replays = 0

    def __call__(self, run: Callable[[], None]) -> Callable[[], None]:
        self.captures += 1
        run()

        def replay() -> None:
            self.replays += 1
            run()

        return replay


def decoders() -> tuple[Decoder, Decoder, Recorder]:
    """Two of one model, the second with graphs."""
    model = RWKV7(ModelConfig(vocab_size=16, num_layers=2, dim=64))
    initialize(model, seed=0)
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(index)
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    plain, graphed = Decoder(model, backend="torch"), Decoder(model, backend="torch")
    recorder = Recorder()
    graphed._graphs = StepGraphs(graphed._step_in_place, capture=recorder)
    return plain, graphed, recorder


def test_replayed_steps_equal_direct_ones_for_every_batch_size() -> None:
    plain, graphed, recorder = decoders()
    for batch_size in (1, 3, 1):
        states = [decoder.new_state(batch_size) for decoder in (plain, graphed)]
        for step in range(4):
            ids = torch.arange(batch_size) + step
            expected, actual = plain.step(ids, states[0]), graphed.step(ids, states[1])
            torch.testing.assert_close(actual, expected)
            torch.testing.assert_close(states[1].wkv, states[0].wkv)
            torch.testing.assert_close(states[1].shifts, states[0].shifts)
    assert recorder.captures == 2, "one for each batch size"
    assert recorder.replays == 12


def test_a_capture_does_not_change_the_state() -> None:
    _, graphed, _ = decoders()
    first, second = graphed.new_state(), graphed.new_state()
    once = graphed.step(torch.tensor([3]), first)
    again = graphed.step(torch.tensor([3]), second)
    assert torch.equal(once, again)
    assert torch.equal(first.wkv, second.wkv)


def test_replays_do_not_overwrite_earlier_logits() -> None:
    _, graphed, _ = decoders()
    state = graphed.new_state()
    logits = graphed.step(torch.tensor([3]), state)
    kept = logits.clone()
    graphed.step(torch.tensor([5]), state)
    assert torch.equal(logits, kept)


def test_without_a_gpu_there_are_no_graphs() -> None:
    plain, _, _ = decoders()
    assert plain._graphs is None
