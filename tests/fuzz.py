"""Hostile music files generated from a seed: broken bytes and structural oddities.

`hostile_file(number)` is deterministic: the number in a failing test generates the same file
again.
"""

from typing import NamedTuple

import numpy as np

from tests.fuzz_texts import hostile_text
from tests.music import tune
from tests.tokens import random_score

END = b"\x00\xff\x2f\x00"


class HostileFile(NamedTuple):
    """A generated file."""

    name: str
    content: bytes


def hostile_file(number: int) -> HostileFile:
    """Return the file with that number; one in 20 is a text format, the others are MIDI."""
    rng = np.random.default_rng([7, number])
    if number % 20 == 19:
        return HostileFile(*hostile_text(number, rng))
    makers = (*_MUTATIONS, *_ODDITIES)
    maker = makers[int(rng.integers(len(makers)))]
    return HostileFile(f"{number}-{maker.__name__.strip('_')}.mid", maker(rng))


def _valid(rng: np.random.Generator) -> bytes:
    if rng.random() < 0.5:
        return tune(bars=int(rng.integers(1, 5)), seed=int(rng.integers(99))).dumps_midi()
    ticks = int(rng.choice([1, 24, 96, 480, 960, 32_767]))
    return random_score(rng, ticks=max(ticks, 4), free=True, parts=12).dumps_midi()


def _length(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _chunk(body: bytes, kind: bytes = b"MTrk") -> bytes:
    return kind + _length(len(body)) + body


def _file(*tracks: bytes, file_format: int = 1, division: int = 96) -> bytes:
    values = (file_format, len(tracks) & 0xFFFF, division)
    header = b"".join(value.to_bytes(2, "big") for value in values)
    return _chunk(header, b"MThd") + b"".join(_chunk(track) for track in tracks)


def _vlq(value: int, *, padding: int = 0) -> bytes:
    written = [value & 0x7F]
    while value := value >> 7:
        written.append(0x80 | (value & 0x7F))
    return b"\x80" * padding + bytes(reversed(written))


def _note(pitch: int, ticks: int, *, delta: int = 0) -> bytes:
    return _vlq(delta) + bytes((0x90, pitch, 80)) + _vlq(ticks) + bytes((0x80, pitch, 0))


# Mutations of valid files.


def _flipped_bits(rng: np.random.Generator) -> bytes:
    content = bytearray(_valid(rng))
    for position in rng.integers(0, len(content), int(rng.integers(1, 30))):
        content[position] ^= 1 << int(rng.integers(8))
    return bytes(content)


def _replaced_bytes(rng: np.random.Generator) -> bytes:
    content = bytearray(_valid(rng))
    for position in rng.integers(14, len(content), int(rng.integers(1, 30))):
        content[position] = int(rng.integers(256))
    return bytes(content)


def _truncated(rng: np.random.Generator) -> bytes:
    content = _valid(rng)
    return content[: int(rng.integers(0, len(content)))]


def _cut_out(rng: np.random.Generator) -> bytes:
    content = _valid(rng)
    start = int(rng.integers(0, len(content)))
    return content[:start] + content[start + int(rng.integers(1, 60)) :]


def _put_in(rng: np.random.Generator) -> bytes:
    content = _valid(rng)
    position = int(rng.integers(0, len(content)))
    return content[:position] + rng.bytes(int(rng.integers(1, 60))) + content[position:]


def _shuffled_chunks(rng: np.random.Generator) -> bytes:
    first, *tracks = _valid(rng).split(b"MTrk")
    chosen = rng.integers(0, len(tracks), int(rng.integers(0, 2 * len(tracks) + 1)))
    chunks = [b"MTrk" + tracks[position] for position in chosen]
    chunks.insert(int(rng.integers(len(chunks) + 1)), first)
    return b"".join(chunks)


def _wrong_header(rng: np.random.Generator) -> bytes:
    content = bytearray(_valid(rng))
    position = int(rng.integers(4, 14))
    content[position] = int(rng.choice([0, 1, 2, 3, 0x7F, 0x80, 0xFF]))
    return bytes(content)


def _wrong_lengths(rng: np.random.Generator) -> bytes:
    content = bytearray(_valid(rng))
    position = 14
    while (position := content.find(b"MTrk", position)) >= 0:
        position += 4
        if rng.random() < 0.5:
            content[position : position + 4] = _length(
                int(rng.integers(0, 1 << int(rng.integers(33))))
            )
    return bytes(content)


def _wrapped(rng: np.random.Generator) -> bytes:
    before, after = rng.bytes(int(rng.integers(200))), rng.bytes(int(rng.integers(200)))
    return before + _valid(rng) + after


# Structural oddities.


def _noise(rng: np.random.Generator) -> bytes:
    noise = rng.bytes(int(rng.integers(3000)))
    return noise if rng.random() < 0.3 else _file(noise, division=int(rng.integers(1, 0x8000)))


def _huge_numbers(rng: np.random.Generator) -> bytes:
    events = b""
    highest = int(rng.integers(3, 36))
    for _ in range(int(rng.integers(1, 40))):
        delta = 1 << int(rng.integers(0, highest))
        events += _vlq(delta, padding=int(rng.integers(0, 4))) + bytes((0x90, 60, 80))
        events += _vlq(1 << int(rng.integers(0, min(29, highest)))) + bytes((0x80, 60, 0))
    meta = b"\x00\xff\x01" + _vlq(1 << int(rng.integers(0, 40)))
    return _file(events + (meta if rng.random() < 0.3 else END), division=int(rng.integers(1, 500)))


def _many_tempos(rng: np.random.Generator) -> bytes:
    count = int(rng.choice([10, 1000, 100_000], p=[0.5, 0.45, 0.05]))
    values = rng.integers(0, 1 << 24, count)
    changes = b"".join(
        b"\x01\xff\x51\x03" + int(value).to_bytes(3, "big") for value in values.tolist()
    )
    return _file(changes + END, _note(60, count) + END)


def _odd_meters(rng: np.random.Generator) -> bytes:
    events = b""
    hardest = int(rng.choice([65, 256]))
    powers = [2, 3, 4] if hardest < 256 else [0, 1, 2, 3, 6, 7, 8, 32, 255]
    for _ in range(int(rng.integers(1, 60))):
        numerator, power = int(rng.integers(hardest)), int(rng.choice(powers))
        meter = bytes((0xFF, 0x58, 4, numerator, power, 24, 8))
        key = bytes((0xFF, 0x59, 2, int(rng.integers(256)), int(rng.integers(4))))
        events += _vlq(int(rng.integers(400))) + meter + b"\x00" + key + _note(60, 50)
    return _file(events + END, division=int(rng.choice([1, 3, 96])))


def _many_tracks(rng: np.random.Generator) -> bytes:
    count = int(rng.choice([33, 200, 5000], p=[0.6, 0.35, 0.05]))
    return _file(*(_note(1 + index % 127, 9) + END for index in range(count)))


def _running_status(rng: np.random.Generator) -> bytes:
    count = int(rng.integers(1, 4000))
    data = rng.integers(0, 128, (count, 2))
    data[:, 1] *= rng.integers(0, 2, count)
    body = b"".join(bytes((int(rng.integers(100)), *row)) for row in data.tolist())
    return _file(b"\x00\x90\x3c\x40" + body + END)


def _empty_and_overlapping(rng: np.random.Generator) -> bytes:
    events = b""
    for _ in range(int(rng.integers(1, 200))):
        kind = (0x90, 0x80)[int(rng.integers(2))]
        events += bytes((int(rng.choice([0, 0, 1, 50])), kind, int(rng.integers(60, 63)), 64))
    return _file(events + END)


def _never_ended(rng: np.random.Generator) -> bytes:
    pitches = rng.integers(0, 128, int(rng.integers(1, 3000))).tolist()
    return _file(b"".join(bytes((1, 0x90, pitch, 64)) for pitch in pitches) + END)


def _sequences(rng: np.random.Generator) -> bytes:
    tracks = [
        _note(int(rng.integers(128)), int(rng.integers(1, 5000)), delta=1 << int(rng.integers(27)))
        for _ in range(int(rng.integers(1, 30)))
    ]
    return _file(*(track + END for track in tracks), file_format=2)


def _odd_events(rng: np.random.Generator) -> bytes:
    events = b""
    for _ in range(int(rng.integers(1, 80))):
        status = int(rng.integers(0x80, 0x100))
        if status == 0xFF:
            text = rng.bytes(int(rng.integers(40)))
            events += bytes((0, status, int(rng.integers(256)))) + _vlq(len(text)) + text
        else:
            data = bytes(rng.integers(0, 128 if rng.random() < 0.9 else 256, 2).tolist())
            events += bytes((int(rng.integers(100)), status)) + data + _note(64, 5)
    return _file(events + END)


_SYSTEM_EXCLUSIVE = (
    bytes((0x41, 0x10, 0x42, 0x12, 0x40, 0x1A, 0x15, 1, 0x10, 0xF7)),
    bytes((0x41, 0x10, 0x42, 0x12, 0x40, 0, 0x7F, 0, 0x41, 0xF7)),
    bytes((0x43, 0x10, 0x4C, 0, 0, 0x7E, 0, 0xF7)),
    bytes((0x43, 0x10, 0x4C, 8, 3, 7, 1, 0xF7)),
    bytes((0x7E, 0x7F, 9, 3, 0xF7)),
)
_ENCODED = tuple(
    text.encode(encoding)
    for text, encoding in (
        ("Flöte", "latin-1"), ("ピアノ", "cp932"), ("主旋律", "gbk"), ("Čello", "utf-8"),
        ("é", "utf-16"),
    )
)  # fmt: skip


def _shared_channels(rng: np.random.Generator) -> bytes:
    """Tracks that set programs, banks, ports and rhythm parts for each other, and end notes."""
    tracks = []
    for _ in range(int(rng.integers(1, 6))):
        events = b""
        for _ in range(int(rng.integers(1, 60))):
            channel, delta = int(rng.choice([0, 1, 9, 10])), int(rng.integers(100))
            text = _ENCODED[int(rng.integers(len(_ENCODED)))]
            if rng.random() < 0.2:
                text = rng.bytes(int(rng.integers(20)))
            message = _SYSTEM_EXCLUSIVE[int(rng.integers(len(_SYSTEM_EXCLUSIVE)))]
            controller = int(rng.choice([0, 7, 64, 120, 123, 126]))
            value = int(rng.choice([0, 120, 126, 127]))
            pitch = int(rng.integers(60, 64))
            events += (
                bytes((delta, 0xC0 | channel, int(rng.integers(128)))),
                bytes((delta, 0xB0 | channel, controller, value)),
                bytes((delta, 0x90 | channel, pitch, int(rng.choice([0, 64])))),
                bytes((delta, 0x80 | channel, pitch, 0)),
                bytes((delta, 0xE0 | channel, 0, int(rng.integers(128)))),
                bytes((delta, 0xFF, int(rng.integers(1, 8)), len(text))) + text,
                bytes((delta, 0xFF, 0x21, 1, int(rng.integers(3)))),
                bytes((delta, 0xF0, len(message))) + message,
            )[int(rng.choice(8, p=[0.1, 0.15, 0.35, 0.2, 0.02, 0.1, 0.03, 0.05]))]
        tracks.append(events + END)
    return _file(*tracks, division=int(rng.choice([1, 96, 480])))


def _smpte_frames(rng: np.random.Generator) -> bytes:
    """Time in frames, some of rates that do not exist, with notes that other tracks end."""
    rate = int(rng.choice([24, 25, 29, 30, 31, 128]))
    starts = b"".join(bytes((5, 0x90, int(rng.integers(60, 64)), 64)) for _ in range(20))
    ends = b"".join(bytes((9, 0x80, int(rng.integers(60, 64)), 0)) for _ in range(20))
    division = (256 - rate) << 8 | int(rng.integers(256))
    return _file(b"\x00\xff\x51\x03\x07\xa1\x20" + starts + END, ends + END, division=division)


_MUTATIONS = (
    _flipped_bits, _replaced_bytes, _truncated, _cut_out, _put_in, _shuffled_chunks, _wrong_header,
    _wrong_lengths, _wrapped,
)  # fmt: skip
_ODDITIES = (
    _noise, _huge_numbers, _many_tempos, _odd_meters, _many_tracks, _running_status,
    _empty_and_overlapping, _never_ended, _sequences, _odd_events, _shared_channels, _smpte_frames,
)  # fmt: skip
