"""State of MIDI channels: programs, banks and rhythm parts (General MIDI 2, GS, XG)."""

from dataclasses import dataclass

_DRUM_CHANNEL = 9
_BANK_MSB = 0
_GM2_RHYTHM_BANK, _GM2_MELODY_BANK = 120, 121
_XG_SFX_BANK, _XG_DRUM_BANK = 126, 127
_ROLAND, _GS_MODEL, _GS_SET = 0x41, 0x42, 0x12
_YAMAHA, _XG_MODEL = 0x43, 0x4C
_GS_USE_FOR_RHYTHM = 0x15
_GS_CHANNEL_OF_PART = (9, *range(9), *range(10, 16))
_XG_MULTI_PART, _XG_PART_MODE = 0x08, 0x07
_SYSTEM_RESETS = (
    bytes((0x7E, 0x7F, 0x09, 0x01)),
    bytes((0x7E, 0x7F, 0x09, 0x03)),
)
"""General MIDI on, General MIDI 2 on; the second byte is a device number."""

PortChannel = tuple[int, int]
"""Port and channel."""


@dataclass
class Channel:
    """Program and kind of one channel."""

    program: int = 0
    is_drum: bool = False
    is_drum_by_bank: bool = False


class Channels:
    """Follows program changes, bank selects and system-exclusive messages."""

    def __init__(self) -> None:
        self._channels: dict[PortChannel, Channel] = {}
        self._is_gs = False
        self._is_xg = False

    def __getitem__(self, port_channel: PortChannel) -> Channel:
        """Return the state of a channel."""
        if port_channel not in self._channels:
            self._channels[port_channel] = Channel(is_drum=port_channel[1] == _DRUM_CHANNEL)
        return self._channels[port_channel]

    def control(self, port_channel: PortChannel, number: int, value: int) -> None:
        """Apply a controller: banks of rhythm parts make a channel a drum channel."""
        if number != _BANK_MSB:
            return
        channel = self[port_channel]
        if value == _GM2_MELODY_BANK and port_channel[1] == _DRUM_CHANNEL:
            channel.is_drum = channel.is_drum_by_bank = False
            return
        is_rhythm_bank = (
            value == _GM2_RHYTHM_BANK
            or (value == _XG_DRUM_BANK and not self._is_gs)
            or (value == _XG_SFX_BANK and self._is_xg)
        )
        if is_rhythm_bank:
            channel.is_drum_by_bank = not channel.is_drum or channel.is_drum_by_bank
            channel.is_drum = True
        elif channel.is_drum_by_bank:
            channel.is_drum = channel.is_drum_by_bank = False

    def system_exclusive(self, port: int, data: bytes) -> None:
        """Apply a system-exclusive message without its first byte."""
        if data[:1] == bytes((_ROLAND,)) and data[2:4] == bytes((_GS_MODEL, _GS_SET)):
            self._roland(port, data[4:])
        elif data[:1] == bytes((_YAMAHA,)) and data[2:3] == bytes((_XG_MODEL,)):
            self._yamaha(port, data[3:])
        elif (data[:1] + b"\x7f" + data[2:4]) in _SYSTEM_RESETS:
            self._reset(port)

    def _roland(self, port: int, data: bytes) -> None:
        self._is_gs = True
        if data[:3] == b"\x40\x00\x7f":
            self._reset(port)
        elif len(data) >= 4 and data[0] == 0x40 and data[1] >> 4 == 1 and data[2] == 0x15:
            channel = self[port, _GS_CHANNEL_OF_PART[data[1] & 0x0F]]
            channel.is_drum, channel.is_drum_by_bank = data[3] > 0, False

    def _yamaha(self, port: int, data: bytes) -> None:
        self._is_xg = True
        if data[:3] == b"\x00\x00\x7e":
            self._reset(port)
        elif len(data) >= 4 and data[0] == _XG_MULTI_PART and data[2] == _XG_PART_MODE:
            channel = self[port, data[1] & 0x0F]
            channel.is_drum, channel.is_drum_by_bank = data[3] > 0, False

    def _reset(self, port: int) -> None:
        for port_channel, channel in self._channels.items():
            if port_channel[0] == port:
                channel.is_drum = port_channel[1] == _DRUM_CHANNEL
                channel.is_drum_by_bank = False
