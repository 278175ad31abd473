"""Choose the next token of each candidate: temperature, top-k and top-p over the allowed tokens.

The native library does it in a few microseconds per token, where one operator of PyTorch takes
longer. `sample_in_numpy` is the reference, and is used where the library is missing.

B candidates, V vocabulary entries.
"""

import ctypes
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Int64, UInt32

from rwkv_music.generation.request.generation_settings import SamplingSettings
from rwkv_music.native import load_library

_LOW_53_BITS = np.uint64((1 << 53) - 1)
_SMALLEST_SUM = 1e-20
"""Below it, weights relative to the likeliest token of all have lost their precision."""
_ROUNDING = 1e-4
"""Relative margin for sums of float32 probabilities."""


SAMPLED = -1
"""Stands for a token that is not given."""


class RandomStream:
    """Random numbers of one candidate: those that `torch.multinomial` draws with a generator.

    Every choice uses up two words per token of the vocabulary, so that a candidate does not depend
    on how many of them were needed.

    Args:
        seed: Seed of the Mersenne Twister; its lowest 32 bits count.
    """

    def __init__(self, seed: int) -> None:
        # torch seeds the generator in the way of NumPy's legacy class.
        state = np.random.RandomState(seed & 0xFFFFFFFF).get_state(legacy=False)["state"]
        self.words: UInt32[np.ndarray, " 625"] = np.append(state["key"], state["pos"]).astype(
            np.uint32
        )
        """The 624 words of the generator, and the position of the next one."""
        self.address = self.words.ctypes.data
        """Of `words` in memory."""

    def exponentials(self, number: int, vocab_size: int) -> Float32[np.ndarray, " number"]:
        """Return the first exponential variates of a choice, and pass over the others."""
        twister = np.random.MT19937()
        twister.state = {
            "bit_generator": "MT19937",
            "state": {"key": self.words[:-1], "pos": int(self.words[-1])},
        }
        drawn = np.random.Generator(twister).integers(0, 2**64, vocab_size, dtype=np.uint64)
        state = twister.state["state"]
        self.words[:-1], self.words[-1] = state["key"], state["pos"]
        uniform = (drawn[:number] & _LOW_53_BITS) * 2.0**-53
        return np.asarray(-np.log1p(-uniform), dtype=np.float32)


class Choices(NamedTuple):
    """One token per candidate."""

    tokens: list[int]
    nats: list[float]
    """-ln p of each token, without masks and temperature."""
    removed: list[float]
    """Probability, among the tokens that the grammar allows, of those that may not be chosen."""
    is_ended: list[bool]
    """Whether a token ends its candidate instead of following it; decided by the caller."""


class TokenSampling(ctypes.Structure):
    """`TokenSampling` in sampling.h."""

    _fields_: ClassVar = [
        *((name, ctypes.c_int64) for name in ("batch", "vocabulary")),
        *((name, ctypes.c_void_p) for name in ("logits", "legal", "allowed", "twisters")),
        *((name, ctypes.c_double) for name in ("temperature", "top_p")),
        ("top_k", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("tokens", "nats", "removed")),
    ]


class TokenSampler:
    """Samples one token per candidate, each with its own random numbers.

    Args:
        settings: Temperature, top-p, top-k.
        streams: Random numbers of each candidate.
        vocab_size: V.
    """

    def __init__(
        self, settings: SamplingSettings, streams: Sequence[RandomStream], vocab_size: int
    ) -> None:
        self._settings = settings
        self._streams = list(streams)
        self.legal: Bool[np.ndarray, "B V"] = np.zeros((len(self._streams), vocab_size), dtype=bool)
        """Tokens that the grammar allows; to be filled before `sample`."""
        self.allowed: Bool[np.ndarray, "B V"] = self.legal.copy()
        """Those of them that may be chosen, at least one per row."""
        self.tokens: Int64[np.ndarray, " B"] = np.empty(len(self._streams), dtype=np.int64)
        """Filled by the native library, as `numbers`: what was chosen."""
        self.numbers: Float64[np.ndarray, "2 B"] = np.empty((2, len(self._streams)))
        """`nats` and `removed` of `Choices`."""
        self._twisters = (ctypes.c_void_p * len(self._streams))(
            *(stream.address for stream in self._streams)
        )

    def select(self, rows: Sequence[int]) -> "TokenSampler":
        """Return a sampler of some of the candidates."""
        streams = [self._streams[row] for row in rows]
        return TokenSampler(self._settings, streams, self.legal.shape[1])

    def structure(self, logits: Float32[np.ndarray, "B V"]) -> TokenSampling:
        """Return the arguments of the native library; they hold the addresses of the arrays."""
        return TokenSampling(
            *self.legal.shape,
            *(mask.ctypes.data for mask in (logits, self.legal, self.allowed)),
            ctypes.addressof(self._twisters),
            self._settings.temperature,
            self._settings.top_p,
            self._settings.top_k or 0,
            *(array.ctypes.data for array in (self.tokens, *self.numbers)),
        )

    def sample(
        self, logits: Float32[np.ndarray, "B V"], given: Sequence[int] | None = None
    ) -> Choices:
        """Choose the next tokens.

        Args:
            logits: Logits of the model.
            given: For each candidate its token where it is known, else `SAMPLED`.
        """
        functions = load_library().functions
        if functions is None:
            return sample_in_numpy(
                logits, self.legal, self.allowed, self._settings, self._streams, given
            )
        self.tokens[:] = SAMPLED if given is None else given
        functions.rwkv_music_sample_tokens(ctypes.byref(self.structure(logits)))
        nats, removed = self.numbers.tolist()
        return Choices(self.tokens.tolist(), nats, removed, [False] * len(self.tokens))


def sample_in_numpy(
    logits: Float32[np.ndarray, "B V"],
    legal: Bool[np.ndarray, "B V"],
    allowed: Bool[np.ndarray, "B V"],
    settings: SamplingSettings,
    streams: Sequence[RandomStream],
    given: Sequence[int] | None = None,
) -> Choices:
    """Do what `TokenSampler.sample` does, without the native library."""
    largest = logits.max(axis=1, keepdims=True)
    weights = np.exp(logits - largest)
    log_sums = np.log(weights.sum(axis=1, dtype=np.float64)) + largest[:, 0]
    tokens, removed = [], []
    for row, stream in enumerate(streams):
        if given is not None and given[row] != SAMPLED:
            tokens.append(given[row])
            removed.append(0.0)
            continue
        total = weights[row][legal[row]].sum(dtype=np.float64)
        lost = weights[row][legal[row] & ~allowed[row]].sum(dtype=np.float64)
        removed.append(float(lost / total) if total > 0 else 0.0)
        ids = allowed[row].nonzero()[0]
        tokens.append(_choose_token(logits[row], weights[row], ids, settings, stream))
    nats = log_sums - logits[np.arange(len(tokens)), tokens]
    return Choices(tokens, nats.tolist(), removed, [False] * len(tokens))


def _choose_token(
    logits: Float32[np.ndarray, " V"],
    weights: Float32[np.ndarray, " V"],
    ids: Int64[np.ndarray, " n"],
    settings: SamplingSettings,
    stream: RandomStream,
) -> int:
    """Sample one of the ids, which are in ascending order."""
    if settings.temperature == 0:
        return int(ids[logits[ids].argmax()])
    probabilities = _probabilities(logits[ids], weights[ids], settings.temperature)
    order = _most_likely(probabilities, settings) if len(ids) > 1 else np.zeros(1, dtype=np.int64)
    scores = probabilities[order] / stream.exponentials(len(order), len(logits))
    return int(ids[order[scores.argmax()]])


def _probabilities(
    logits: Float32[np.ndarray, " n"], weights: Float32[np.ndarray, " n"], temperature: float
) -> Float32[np.ndarray, " n"]:
    """Return the probabilities of the allowed tokens."""
    total = weights.sum(dtype=np.float64)
    if temperature != 1 or total <= _SMALLEST_SUM:
        weights = np.exp((logits - logits.max()) / np.float32(temperature))
        total = weights.sum(dtype=np.float64)
    return np.asarray(weights / total, dtype=np.float32)


def _most_likely(
    probabilities: Float32[np.ndarray, " n"], settings: SamplingSettings
) -> Int[np.ndarray, " kept"]:
    """Return the indices that top-p and top-k keep, the likeliest first."""
    # All those below this bound together have less than 1 - top_p: top-p keeps none of them.
    bound = (1 - settings.top_p) / len(probabilities) * (1 - _ROUNDING)
    large = (probabilities >= bound).nonzero()[0]
    order = large[(-probabilities[large]).argsort(kind="stable")]
    before = np.append(np.float32(0), probabilities[order].cumsum()[:-1])
    # Keep a token while those before it have not reached top_p; the first is always kept.
    num_kept = int((before < settings.top_p).sum())
    return order[:num_kept] if settings.top_k is None else order[: min(num_kept, settings.top_k)]
