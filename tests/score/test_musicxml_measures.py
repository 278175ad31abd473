"""Measures of MusicXML: repeat signs, signatures, and moments that differ from what is printed."""

from tests.score.musicxml_documents import backup, document, notes, pitch, read, rest, tie


def repeat_sign(kind: str, length: str = "", **attributes: str) -> str:
    given = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return (
        f"<attributes><measure-style{given}>"
        f'<measure-repeat type="{kind}">{length}</measure-repeat></measure-style></attributes>'
    )


def test_a_measure_with_a_repeat_sign_sounds_as_the_one_before() -> None:
    loaded = read(
        document(
            pitch("C4", 8) + pitch("D4", 8),
            repeat_sign("start", "1") + rest(16),
            rest(16),
            repeat_sign("stop") + rest(16),
        )
    )
    assert notes(loaded.score) == [
        (0, 2, 60), (2, 2, 62), (4, 2, 60), (6, 2, 62), (8, 2, 60), (10, 2, 62),
    ]  # fmt: skip
    assert loaded.notes_missing == 0


def test_a_repeat_sign_repeats_two_measures_of_its_staff() -> None:
    upper, lower = ("<staff>1</staff>", "<staff>2</staff>")
    whole = backup(16) + pitch("C3", 16, lower)
    loaded = read(
        document(
            pitch("C4", 16, upper) + whole,
            pitch("D4", 16, upper) + whole,
            repeat_sign("start", "2", number="1") + rest(16) + whole,
            rest(16) + whole,
            attributes="<staves>2</staves>",
        )
    )
    upper_notes = [note[::2] for note in notes(loaded.score) if note[2] > 48]
    assert upper_notes == [(0, 60), (4, 62), (8, 60), (12, 62)]
    assert loaded.notes_read == 8
    assert loaded.notes_missing == 0


def test_notes_under_a_repeat_sign_are_read_as_they_are_written() -> None:
    loaded = read(document(pitch("C4", 16), repeat_sign("start", "1") + pitch("D4", 16)))
    assert notes(loaded.score) == [(0, 4, 60), (4, 4, 62)]


def test_attack_and_release_move_the_ends_of_a_sound() -> None:
    loaded = read(
        document(
            pitch("C4", 8, attack="1", release="-2")
            + pitch("D4", 4, tie("start"), attack="-1", release="9")
            + pitch("D4", 4, tie("stop"), attack="9", release="-1.0"),
            pitch("E4", 16, attack="?"),
        )
    )
    assert notes(loaded.score) == [(0.25, 1.25, 60), (1.75, 2, 62), (4, 4, 64)]


def test_the_first_part_that_has_a_signature_gives_it() -> None:
    drums = pitch("C4", 12).replace("pitch>", "unpitched>")
    drums = drums.replace("<step>", "<display-step>").replace("</step>", "</display-step>")
    drums = drums.replace("octave>", "display-octave>")
    text = document(drums, time="", attributes="<key><fifths>0</fifths></key>")
    other = document(
        pitch("C4", 12),
        time="<time><beats>3</beats><beat-type>4</beat-type></time>",
        attributes="<key><fifths>3</fifths></key>",
    ).replace('id="P1"', 'id="P2"')
    part = other[other.index("<part ") : other.index("</score-partwise>")]
    score = read(text.replace("</score-partwise>", part + "</score-partwise>")).score
    assert [(sign.numerator, sign.denominator) for sign in score.time_signatures] == [(3, 4)]
    assert [key.key for key in score.key_signatures] == [3]


def test_parts_with_one_id_are_two_parts() -> None:
    text = document(pitch("C4", 16), pitch("D4", 16))
    part = text[text.index("<part ") : text.index("</score-partwise>")]
    score = read(text.replace("</score-partwise>", part + "</score-partwise>")).score
    assert [[note.pitch for note in track.notes] for track in score.tracks] == [[60, 62]] * 2


def test_a_transposition_changes_inside_a_measure() -> None:
    flat, none = (
        f"<attributes><transpose><chromatic>{n}</chromatic></transpose></attributes>"
        for n in (-2, 0)
    )
    loaded = read(document(flat + pitch("C4", 8) + none + pitch("C4", 8), pitch("D4", 16)))
    assert [note[2] for note in notes(loaded.score)] == [58, 60, 62]


def test_a_transposition_of_all_staves_replaces_those_of_single_staves() -> None:
    one, every = (
        f"<attributes><transpose{attribute}><chromatic>{n}</chromatic></transpose></attributes>"
        for attribute, n in ((' number="1"', -12), ("", 12))
    )
    staff = "<staff>1</staff>"
    loaded = read(document(one + pitch("C4", 8, staff) + every + pitch("C4", 8, staff)))
    assert [note[2] for note in notes(loaded.score)] == [48, 72]


def test_the_offset_of_a_sound_moves_what_it_changes() -> None:
    sound = '<sound tempo="50"><offset>-4</offset></sound>'
    for text in (sound, f"<direction><offset>2</offset>{sound}</direction>"):
        score = read(document(rest(8) + text + pitch("C4", 8))).score
        tempos = [(tempo.time / score.ticks_per_quarter, tempo.qpm) for tempo in score.tempos]
        assert tempos == [(0, 120), (1, 50)]
