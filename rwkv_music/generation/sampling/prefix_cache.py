"""States of a model at the bar lines of what it has read, so that nothing is read twice."""

import hashlib
import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Integer

from rwkv_music.generation.sampling.candidate import Candidate
from rwkv_music.generation.sampling.prefill import PrefixState, as_array, read_tokens
from rwkv_music.model import Decoder, DecoderState, ModelState
from rwkv_music.tokenizer import Grammar

_CHUNK = 512
"""A prompt is read in whole bars of about this many tokens, and the states between are kept."""


class PrefixCache:
    """Finds the state behind the longest known beginning of a stream.

    States are found by the tokens before them: the same bars are never read twice, whichever score
    they come from. A state of a small model takes about 200 KB. Those that were used least recently
    are moved to a temporary folder, which is removed with the cache.

    Args:
        max_bytes: Memory for states.
    """

    def __init__(self, max_bytes: int = 64 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._states: OrderedDict[bytes, PrefixState] = OrderedDict()
        self._spilled: dict[bytes, Grammar] = {}
        self._folder: Path | None = None
        self._decoder: Decoder | None = None
        self.tokens_read = 0
        """Tokens that the model has read for prompts so far."""

    def __len__(self) -> int:
        """Number of states, in memory and on disk."""
        return len(self._states) + len(self._spilled)

    def read(
        self,
        decoder: Decoder,
        ids: Integer[np.ndarray, " tokens"],
        grammar: Grammar,
        start: ModelState | None = None,
    ) -> PrefixState:
        """Return the state behind a prompt; only bars that are not known are read.

        Args:
            decoder: Decoder of the model; another one than before empties the cache.
            ids: The prompt.
            grammar: Grammar behind the prompt.
            start: State before the prompt, such as a style's; zeros when None.
        """
        if decoder is not self._decoder:
            self.clear()
            self._decoder = decoder
        keys = _keys_at_bar_lines(ids, grammar.vocabulary.BAR, start)
        known = max((line for line, key in keys.items() if key in self), default=0)
        if known == len(ids):
            return self._get(keys[known])
        state = decoder.new_state() if start is None else DecoderState.from_model_state(start)
        if known:
            state = self._get(keys[known]).state.copy()
        for stop in _chunks(known, list(keys)):
            logits = as_array(read_tokens(decoder, ids[known:stop], state))[0]
            self.tokens_read += stop - known
            known = stop
            self._put(keys[stop], PrefixState(logits, state.copy(), grammar))
        return self._get(keys[known])

    def recorder(
        self, ids: Integer[np.ndarray, " tokens"], start: ModelState | None = None
    ) -> Callable[[Candidate, Callable[[], PrefixState]], None]:
        """Return a function that keeps the states at the bar lines of a `CandidateBatch`.

        Args:
            ids: The prompt of the candidates.
            start: State before the prompt.
        """
        beginning = _hash_of(start)
        beginning.update(_bytes(ids))

        def record(candidate: Candidate, prefix_state: Callable[[], PrefixState]) -> None:
            whole = beginning.copy()
            whole.update(_bytes(np.array(candidate.tokens, dtype=np.uint16)))
            self._put(whole.digest(), prefix_state())

        return record

    def clear(self) -> None:
        """Forget everything."""
        self._states.clear()
        self._spilled.clear()
        self._size = 0
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __contains__(self, key: object) -> bool:
        return key in self._states or key in self._spilled

    def _get(self, key: bytes) -> PrefixState:
        if key in self._spilled:
            with np.load(self._path(key)) as arrays:
                shifts, wkv = (torch.from_numpy(arrays[name]) for name in ("shifts", "wkv"))
                assert self._decoder is not None
                state = DecoderState(shifts, wkv)
                prefix = PrefixState(arrays["logits"], state, self._spilled.pop(key))
            self._path(key).unlink()
            self._put(key, prefix)
            return prefix
        self._states.move_to_end(key)
        return self._states[key]

    def _put(self, key: bytes, prefix: PrefixState) -> None:
        if key in self:
            return
        self._states[key] = prefix
        self._size += _num_bytes(prefix)
        # What was put last stays, even if it is larger than the memory allowed.
        while self._size > self._max_bytes and len(self._states) > 1:
            self._spill(*self._states.popitem(last=False))

    def _spill(self, key: bytes, prefix: PrefixState) -> None:
        self._size -= _num_bytes(prefix)
        np.savez(
            self._path(key),
            logits=prefix.logits,
            shifts=prefix.state.shifts.cpu().numpy(),
            wkv=prefix.state.wkv.cpu().numpy(),
        )
        self._spilled[key] = prefix.grammar

    def _path(self, key: bytes) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="rwkv-music-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder / f"{key.hex()}.npz"


def _num_bytes(prefix: PrefixState) -> int:
    return prefix.logits.nbytes + prefix.state.shifts.nbytes + prefix.state.wkv.nbytes


def _keys_at_bar_lines(
    ids: Integer[np.ndarray, " tokens"], bar: int, start: ModelState | None
) -> dict[int, bytes]:
    """Return the key of the tokens before each bar line, and of all of them, by their number."""
    lines = [*(ids == bar).nonzero()[0].tolist()[1:], len(ids)]
    read, before, keys = _hash_of(start), 0, {}
    for line in lines:
        read.update(_bytes(ids[before:line]))
        keys[line] = read.digest()
        before = line
    return keys


def _hash_of(start: ModelState | None) -> Any:  # noqa: ANN401 - hashlib's own
    tensors = {} if start is None else start.to_tensors()
    read = hashlib.blake2b(digest_size=16)
    for tensor in tensors.values():
        read.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return read


def _bytes(ids: Integer[np.ndarray, " tokens"]) -> bytes:
    return np.asarray(ids, dtype=np.uint16).tobytes()


def _chunks(known: int, lines: list[int]) -> list[int]:
    """Return where to stop on the way from a known line to the last one."""
    stops = []
    for line in lines:
        if line > known and (line - known >= _CHUNK or line == lines[-1]):
            stops.append(line)
            known = line
    return stops
