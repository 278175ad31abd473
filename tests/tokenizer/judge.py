"""A second judge of token streams, slow and plain, written from docs/tokenizer.md.

It shares no code with the library: not the ids, not the durations, not the grammar. `fault_of`
reads a whole stream and returns the first rule that it breaks, or "" if it is canonical.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

TEMPO, PEDAL_UP, PEDAL_DOWN, NOTE = range(4)
DRUMS = 128


class FaultError(Exception):
    """The stream breaks a rule."""


def layout(steps: int, velocities: int, parts: int) -> dict[str, range]:
    """Ids of each type, by the table of the documentation."""
    sizes = {
        "SPECIAL": 16, "TEMPO": 504, "TEMPO_FRACTION": 256, "NUM": 128, "DEN": 7, "PART": parts,
        "PROG": 129, "BEAT": 128, "SUBBEAT": steps, "PITCH": 128, "DRUM": 128, "VEL": velocities,
        "DUR": len(durations(steps)), "PED": 2,
    }  # fmt: skip
    ids, start = {}, 0
    for name, size in sizes.items():
        ids[name] = range(start, start + size)
        start += size
    return ids


def durations(steps: int) -> list[int]:
    """Every step to 1/2 quarter, then larger steps; in 48ths, 24ths, 8ths, halves, quarters."""
    actual = []
    limits = [(1, steps // 2), (2, 2 * steps), (4, 4 * steps), (steps // 8, 16 * steps)]
    for step, limit in [*limits, (steps // 2, 64 * steps), (4 * steps, 256 * steps)]:
        value = actual[-1] if actual else 0
        while value + step <= limit:
            value += step
            actual.append(value)
    return actual


@dataclass
class Judge:
    """Reads one stream from left to right."""

    ids: list[int]
    steps: int = 96
    velocities: int = 32
    max_parts: int = 32
    at: int = 0
    programs: list[int] = field(default_factory=list)
    pedals_down: set[int] = field(default_factory=set)
    heard: set[int] = field(default_factory=set)
    """Parts with a note or pedal."""
    has_note: bool = False
    sound_end: int = -1
    last_tempo: int = -1
    part: int = -1

    def __post_init__(self) -> None:
        self.layout = layout(self.steps, self.velocities, self.max_parts)

    def name(self, ahead: int = 0) -> str:
        """Type of the next token."""
        if self.at + ahead >= len(self.ids):
            return "end"
        token = self.ids[self.at + ahead]
        if token < 4:
            return ("PAD", "BOS", "EOS", "BAR")[token]
        return next((name for name, ids in self.layout.items() if token in ids), "beyond")

    def take(self, name: str) -> int:
        """Take a token of this type, and return its index among them."""
        if self.name() != name:
            raise FaultError(f"{self.name()} instead of {name}")
        token = self.ids[self.at]
        self.at += 1
        return token - self.layout[name].start if name in self.layout else 0

    def need(self, condition: bool, rule: str) -> None:
        if not condition:
            raise FaultError(rule)

    def read(self) -> None:
        """Read the whole stream."""
        self.take("BOS")
        self.tempo = self.read_tempo()
        self.signature = self.read_signature()
        while self.name() == "PART":
            self.need(self.take("PART") == len(self.programs), "parts are numbered in order")
            self.programs.append(self.take("PROG"))
            self.need(self.programs == sorted(self.programs), "parts are sorted by program")
        self.need(bool(self.programs), "there is a part")
        start, was_cut, num_bars = 0, False, 0
        while self.name() == "BAR":
            self.take("BAR")
            if self.name() == "NUM":
                old = self.signature
                self.signature = self.read_signature()
                self.need(num_bars > 0 and self.signature != old, "a signature that is no change")
            else:
                self.need(not was_cut, "a cut is made by a signature")
            length, was_cut, events = self.read_bar(start, is_first=num_bars == 0)
            start += length
            num_bars += 1
        self.take("EOS")
        self.need(self.at == len(self.ids), "nothing follows EOS")
        self.need(num_bars > 0 and events > 0 and not was_cut, "the last bar holds an event")
        self.need(self.has_note, "there is a note")
        self.need(len(self.heard) == len(self.programs), "every part sounds")
        self.need(self.last_tempo < self.sound_end, "something sounds at the last tempo")

    def read_tempo(self) -> int:
        """Read a tempo in 1/256 quarters per minute."""
        tempo = 256 * (8 + self.take("TEMPO"))
        if self.name() == "TEMPO_FRACTION":
            fraction = self.take("TEMPO_FRACTION")
            self.need(fraction > 0, "a fraction of 0 is left out")
            tempo += fraction
        microseconds = round(60_000_000 * 256 / tempo)
        self.need(round(60_000_000 * 256 / microseconds) == tempo, "a file can hold the tempo")
        return tempo

    def read_signature(self) -> tuple[int, int]:
        signature = 1 + self.take("NUM"), 2 ** self.take("DEN")
        self.need(4 * signature[0] <= 128 * signature[1], "a bar has 128 quarters at most")
        return signature

    def read_bar(self, start: int, *, is_first: bool) -> tuple[int, bool, int]:
        """Read events up to the next BAR or EOS; return length, whether it was cut, and events."""
        full = 4 * self.steps * self.signature[0] // self.signature[1]
        beat = subbeat = events = 0
        while True:
            moved = self.name() in {"BEAT", "SUBBEAT"}
            if moved:
                before = beat * self.steps + subbeat
                if self.name() == "BEAT":
                    old, beat = beat, self.take("BEAT")
                    self.need(beat != old, "BEAT is written when it changes")
                if self.name() == "SUBBEAT":
                    old, subbeat = subbeat, self.take("SUBBEAT")
                    self.need(subbeat != old, "SUBBEAT is written when it changes")
                self.need(before < beat * self.steps + subbeat < full, "positions move forward")
            if self.name() in {"BAR", "EOS", "end"}:
                return (beat * self.steps + subbeat if moved else full), moved, events
            moment = beat * self.steps + subbeat
            order = list(self.read_moment(start + moment, allows_tempo=not is_first or moment > 0))
            self.need(bool(order), "a position is of an event")
            self.need(order == sorted(order), "events of a moment are sorted")
            others = [event for event in order if event[0] != NOTE]
            self.need(len(set(others)) == len(others), "only notes may repeat")
            events += len(order)

    def read_moment(self, time: int, *, allows_tempo: bool) -> Iterator[tuple[int, ...]]:
        """Read the events of one moment, and give what they are sorted by."""
        while True:
            name = self.name(1) if self.name() == "PART" else self.name()
            if name == "TEMPO":
                old, self.tempo = self.tempo, self.read_tempo()
                self.need(allows_tempo and self.tempo != old, "a tempo that is no change")
                self.last_tempo = time
                yield (TEMPO,)
            elif name in {"PED", "PITCH", "DRUM"}:
                self.read_part()
                yield self.read_pedal(time) if name == "PED" else self.read_note(name, time)
            else:
                self.need(self.name() != "PART", "PART stands before a sound")
                return

    def read_part(self) -> None:
        if self.name() == "PART":
            old, self.part = self.part, self.take("PART")
            self.need(self.part != old, "PART is written when it changes")
        self.need(0 <= self.part < len(self.programs), "the part is declared")

    def read_pedal(self, time: int) -> tuple[int, ...]:
        goes_down = self.take("PED") == 1
        self.need(goes_down != (self.part in self.pedals_down), "a switch changes the pedal")
        self.pedals_down ^= {self.part}
        self.heard.add(self.part)
        self.sound_end = max(self.sound_end, time)
        return (PEDAL_DOWN if goes_down else PEDAL_UP, self.part)

    def read_note(self, name: str, time: int) -> tuple[int, ...]:
        is_drum = self.programs[self.part] == DRUMS
        self.need(is_drum == (name == "DRUM"), "drum parts have DRUM, others PITCH")
        pitch, level, length = self.take(name), self.take("VEL"), self.take("DUR")
        self.need(level < 127, "velocity 127 has one level")
        self.has_note = True
        self.heard.add(self.part)
        self.sound_end = max(self.sound_end, time + durations(self.steps)[length])
        return (NOTE, self.part, pitch, level, length)


def fault_of(ids: list[int], *, steps: int = 96, velocities: int = 32, max_parts: int = 32) -> str:
    """The first rule that a stream breaks; empty for a canonical stream."""
    try:
        Judge(ids, steps, velocities, max_parts).read()
    except FaultError as fault:
        return str(fault)
    return ""
