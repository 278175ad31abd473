"""One turn of `benchmarks.generation`; also runs with the packages of earlier commits.

python benchmarks/generation_turn.py PROMPT '{"model": "pop", "bars": 8, "candidates": 3}'
"""

import json
import sys
import time
from typing import Any

import torch

from rwkv_music.generation import continue_score

WARM_UP_BARS = 2


def main() -> None:
    """Generate once to warm up, then once for the figures."""
    torch.set_num_threads(1)
    prompt, request = sys.argv[1], json.loads(sys.argv[2])
    model = loaded(request.pop("model"))
    options = {"seed": 0, **request}
    if options.pop("free", False):
        from rwkv_music.generation import Constraints

        options["constraints"] = Constraints.free()
    continue_score(model, prompt, **{**options, "bars": WARM_UP_BARS})
    begin = time.process_time()
    pieces = continue_score(model, prompt, **options)
    seconds = time.process_time() - begin
    figures: dict[str, Any] = {
        "tokens": sum(len(piece.tokens) for piece in pieces),
        "processor_seconds": seconds,
    }
    if hasattr(model, "decoder"):  # not in earlier commits
        figures["model_share"] = model_share(model, prompt, options)
    print(json.dumps(figures))


def loaded(name: str) -> Any:  # noqa: ANN401 - its class depends on the commit
    """Return a model by name."""
    from rwkv_music.model import load_model

    return load_model(name)


def model_share(model: Any, prompt: str, options: dict[str, Any]) -> float:  # noqa: ANN401
    """Return the decoding step's share of the time of all steps."""
    from rwkv_music.generation.continuation import begin
    from rwkv_music.generation.prompts.prompt import Prompt
    from rwkv_music.generation.request.request import Request
    from rwkv_music.score import load_score

    read = Prompt(load_score(prompt), model.tokenizer)
    request = Request(**options)
    batch = begin(model, read, request)
    started = time.process_time()
    steps = [[token for _, token in step] for step in batch.steps()]
    whole = time.process_time() - started
    return decoding_seconds(model.decoder(request.precision), steps) / whole


def decoding_seconds(decoder: Any, steps: list[list[int]]) -> float:  # noqa: ANN401
    """Return the processor seconds of the native step alone, over the same tokens."""
    from rwkv_music.native import load_library

    call, seconds, batch = load_library().call, 0.0, 0
    for tokens in map(torch.tensor, steps):
        if len(tokens) != batch:
            batch = len(tokens)
            state = decoder.new_state(batch)
            logits = torch.empty(batch, decoder.config.vocab_size)
        arguments = decoder.native_step(tokens.numpy(), state, logits.numpy())
        started = time.process_time()
        call("decode_step", arguments)
        seconds += time.process_time() - started
    return seconds


if __name__ == "__main__":
    main()
