"""Settings of how windows are laid out: which notes are in which part, and where in the bar."""

from dataclasses import dataclass

from rwkv_music.settings import SettingsGroup, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class LayoutConfig(SettingsGroup):
    """Fractions of the windows in which parts and bars are laid out otherwise; 0 for none."""

    few_parts: float = setting(
        0.0, minimum=0, maximum=1, help="Keep only some of several parts, at least one."
    )
    late_parts: float = setting(
        0.0, minimum=0, maximum=1, help="Let one of several parts enter only at a later bar."
    )
    split_parts: float = setting(
        0.0,
        minimum=0,
        maximum=1,
        help="Split a piano part in two: at a pitch near middle C, or into melody and rest.",
    )
    merge_parts: float = setting(
        0.0,
        minimum=0,
        maximum=1,
        help="Merge parts of one program: all of them, or any two. Three tracks of a piano become "
        "one, as in most files.",
    )
    vary_programs: float = setting(
        0.0,
        minimum=0,
        maximum=1,
        help="Replace each program by one of its General MIDI family, such as one string "
        "instrument by another.",
    )
    shuffle_parts: float = setting(
        0.0, minimum=0, maximum=1, help="Change the order of the parts of one program."
    )
    vary_chords: float = setting(
        0.0,
        minimum=0,
        maximum=1,
        help="Double the outer notes of a part in octaves, or remove inner notes of its chords.",
    )
    flatten_velocity: float = setting(
        0.0, minimum=0, maximum=1, help="Give all notes one velocity, as in a score."
    )
    shift_bars: float = setting(
        0.0,
        minimum=0,
        maximum=1,
        help="Move the music off its bar lines by less than a bar, as in pieces with a pickup and "
        "recordings without bars.",
    )
