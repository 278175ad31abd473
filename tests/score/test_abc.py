"""Reading ABC notation, checked against values worked out by hand."""

from pathlib import Path

import pytest

from rwkv_music.errors import InputError, ScoreFileError
from rwkv_music.score import bar_starts, read_score, save_score, score_from_bytes
from rwkv_music.score.abc.note_count import count_notes
from rwkv_music.score.loaded_score import LoadedScore
from tests.music import score_of

HEAD = "X:1\nM:4/4\nL:1/4\nK:C\n"
Rows = list[tuple[float, float, int]]


def read(text: str, folder: Path, *, unfold_repeats: bool = False) -> LoadedScore:
    path = folder / "tune.abc"
    path.write_text(text, encoding="utf-8")
    return read_score(path, unfold_repeats=unfold_repeats)


def rows(body: str, *, head: str = HEAD, unfold_repeats: bool = False) -> Rows:
    """Onset and duration in quarters and pitch of all notes, sorted."""
    score = score_from_bytes((head + body).encode(), name="it.abc", unfold_repeats=unfold_repeats)
    quarter = score.ticks_per_quarter
    return sorted(
        (note.time / quarter, note.duration / quarter, note.pitch)
        for track in score.tracks
        for note in track.notes
    )


def pitches(body: str, *, head: str = HEAD, unfold_repeats: bool = False) -> list[int]:
    return [pitch for _, _, pitch in rows(body, head=head, unfold_repeats=unfold_repeats)]


def durations(body: str, *, head: str = HEAD) -> list[float]:
    return [duration for _, duration, _ in rows(body, head=head)]


def bars(body: str, *, head: str = HEAD) -> list[float]:
    score = score_from_bytes((head + body).encode(), name="it.abc")
    return [tick / score.ticks_per_quarter for tick in bar_starts(score).tolist()]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("C D/ E// F3/ G/4 A3/2 B2", [1, 0.5, 0.25, 1.5, 0.25, 1.5, 2]),
        ("(3CDE F", [2 / 3, 2 / 3, 2 / 3, 1]),
        ("(3C2DE F", [4 / 3, 2 / 3, 2 / 3, 1]),
        ("(3:2:2CD E", [2 / 3, 2 / 3, 1]),
        ("(2CD", [1.5, 1.5]),
        ("(4CDEF", [0.75] * 4),
        ("C>D E<F G>>A", [1.5, 0.5, 0.5, 1.5, 1.75, 0.25]),
        ("C>D|E>F", [1.5, 0.5, 1.5, 0.5]),
        ("[L:1/8]C D2", [0.5, 1]),
        ("!fermata!C HD !trill!E TF ~G .A {gfg}B2", [1, 1, 1, 1, 1, 1, 2]),
    ],
)
def test_lengths_tuplets_and_broken_rhythms(body: str, expected: list[float]) -> None:
    assert durations(body) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("C, C c c' c''", [48, 60, 72, 84, 96]),
        ("^F F|F =F _B __B ^^C", [66, 66, 65, 65, 70, 69, 62]),
        ("^F f", [66, 78]),
        ("[I:propagate-accidentals octave]^F f", [66, 77]),
        ("[K:D]F C c =F F|F", [66, 61, 73, 65, 65, 66]),
        ("[K:Gm]B E|[K:A mix]C F|[K:Ddor]B", [70, 63, 61, 66, 71]),
        ("[K:D phr ^f]B F", [70, 66]),
        ("[K:HP]F C|[K:Hp]F C", [65, 60, 66, 61]),
        ("^F-|F F", [66, 65]),
        ("[K:clef=bass-8]C", [48]),
        ("[K:C octave=1]C", [72]),
        ("[K:C transpose=-2]C", [58]),
        ("%%MIDI transpose 3\nC", [63]),
        ('"Am"C "^text"D !f!E +p+F', [60, 62, 64, 65]),
    ],
)
def test_pitches_follow_accidentals_keys_and_clefs(body: str, expected: list[int]) -> None:
    assert pitches(body) == expected


def test_chords_ties_and_overlays() -> None:
    assert rows("[CEG]2 [C2E]") == [(0, 2, 60), (0, 2, 64), (0, 2, 67), (2, 1, 64), (2, 2, 60)]
    assert rows("C2-C-|C D") == [(0, 4, 60), (4, 1, 62)]
    assert rows("[CE]-[CE]") == [(0, 2, 60), (0, 2, 64)]
    assert rows("C-D C") == [(0, 1, 60), (1, 1, 62), (2, 1, 60)]
    assert rows("C4 & E2 G2 | c4") == [(0, 2, 64), (0, 4, 60), (2, 2, 67), (4, 4, 72)]


def test_a_tie_inside_a_chord_ties_one_note() -> None:
    assert rows("[C-E][CE]") == [(0, 1, 64), (0, 2, 60), (1, 1, 64)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("G|CDEF|GABc|c3|]", [0, 1, 5, 9, 13]),
        ("CDEF|GABc|", [0, 4, 8]),
        ("|:G|CDEF|GAB:|c|CDEF|", [0, 1, 5, 9, 13]),
        ("C4|[M:3/4]D3|E3|[M:C|]F4|", [0, 4, 7, 10, 14]),
        ("C4|z4|[M:3/4]D3|", [0, 4, 8, 11]),
        ("Z2|[M:3/4]C3|", [0, 4, 8, 11]),
        ("CD|EF GA|B4|", [0, 2, 6, 10]),
    ],
)
def test_bars_are_where_the_bar_lines_are(body: str, expected: list[float]) -> None:
    assert bars(body) == expected


def test_voices_inline_and_in_lines_are_the_same() -> None:
    inline = HEAD.replace("K:C\n", "V:1 clef=treble-8\nV:2\nK:C\n")
    lines = "V:1 clef=treble-8\nCDEF|z4|[M:3/4]G3|\nV:2\nC4|z4|[M:3/4]c3|\n"
    interleaved = "[V:1]CDEF|z4|[M:3/4]G3|\n[V:2]C4|z4|[M:3/4]c3|\n"
    expected = [(0, 1, 48), (0, 4, 60), (1, 1, 50), (2, 1, 52), (3, 1, 53), (8, 3, 55), (8, 3, 72)]
    assert rows(lines) == rows(interleaved, head=inline) == expected
    assert bars(lines) == bars(interleaved, head=inline) == [0, 4, 8, 11]


def test_equal_voices_have_equal_velocities_and_lengths(tmp_path: Path) -> None:
    score = read(HEAD + "V:1\nC!fermata!DEF|\nV:2\nCDEF|\nV:3\nCDLEF|\n", tmp_path).score
    tracks = [[(note.time, note.duration, note.velocity) for note in t.notes] for t in score.tracks]
    assert tracks[0] == tracks[1] == tracks[2]
    assert {velocity for _, _, velocity in tracks[0]} == {95}


def test_names_programs_and_drums_of_voices(tmp_path: Path) -> None:
    text = (
        'X:1\nM:C\nL:1/4\n%%MIDI program 5\nV:1 name="First"\nV:2 nm=Second\nK:C\n'
        "V:1\nCDEF|\nV:2\n%%MIDI program 40\nC4|\n%%MIDI program 41\nC4|\n"
        "V:3\n%%MIDI channel 10\nD4|\nV:4 clef=perc\nE4|\n"
    )
    tracks = read(text, tmp_path).score.tracks
    assert [(track.name, track.program, track.is_drum) for track in tracks] == [
        ("First", 5, False), ("Second", 40, False), ("Second", 41, False), ("", 5, True),
        ("", 5, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "qpm"),
    [
        ("Q:1/4=90", 90), ("Q:3/8=80", 120), ('Q:"Allegro" 1/2=60', 120), ("Q:120", 120),
        ("Q:1/4 1/8=60", 90), ("Q:C2=50", 100), ('Q:"slowly"', 120),
    ],
)  # fmt: skip
def test_tempos(field: str, qpm: float, tmp_path: Path) -> None:
    score = read(f"X:1\nM:4/4\nL:1/4\n{field}\nK:C\nCDEF|[Q:1/4=60]G4|\n", tmp_path).score
    quarter = score.ticks_per_quarter
    tempos = [(tempo.time / quarter, round(tempo.qpm, 3)) for tempo in score.tempos]
    assert tempos == [(0, qpm), (4, 60)]


@pytest.mark.parametrize(
    ("body", "played"),
    [
        ("C4:|D4|", "CCD"),
        ("|:C4|D4:|E4|", "CDCDE"),
        ("C4|:D4:|:E4:|", "CDDEE"),
        ("C4::D4:|", "CCDD"),
        ("|:C4|1D4:|2E4|]F4|", "CDCEF"),
        ("|:C4|[1,3D4:|[2E4:|]F4|", "CDCECDF"),
        ("C4|1D4:|2E4||F4|G4:|A4|", "CDCEFGFGA"),
        ("|::C4::|D4|", "CCCD"),
        ("C4|D4|", "CD"),
    ],
)
def test_repeats_are_played_on_request(body: str, played: str) -> None:
    letters = {60: "C", 62: "D", 64: "E", 65: "F", 67: "G", 69: "A"}
    assert "".join(letters[p] for p in pitches(body, unfold_repeats=True)) == played
    assert len(pitches(body)) == sum(char in "CDEFGA" for char in body)


def test_files_with_repeats_say_so_and_count_what_is_played(tmp_path: Path) -> None:
    written = read(HEAD + "|:CDEF:|G4|", tmp_path)
    assert (written.notes_in_source, written.notes_read, written.has_repeats) == (5, 5, True)
    played = read(HEAD + "|:CDEF:|G4|", tmp_path, unfold_repeats=True)
    assert (played.notes_in_source, played.notes_read, played.has_repeats) == (9, 9, False)
    assert not read(HEAD + "CDEF|", tmp_path).has_repeats


def test_changes_are_repeated_with_the_music(tmp_path: Path) -> None:
    body = "[K:D]|:[M:3/4]C3|[M:4/4]D4:|"
    score = read(HEAD + body, tmp_path, unfold_repeats=True).score
    quarter = score.ticks_per_quarter
    signs = [(sign.time / quarter, sign.numerator) for sign in score.time_signatures]
    assert signs == [(0, 3), (3, 4), (7, 3), (10, 4)]


def test_lyrics_are_aligned_with_notes(tmp_path: Path) -> None:
    body = "C D z E F|G2 A B|\nw: al-le ~ju * | a__\nC4|\n"
    score = read(HEAD + body, tmp_path).score
    quarter = score.ticks_per_quarter
    lyrics = [(lyric.time / quarter, lyric.text) for lyric in score.tracks[0].lyrics]
    assert lyrics == [(0, "al"), (1, "le"), (3, " ju"), (5, "a")]


def test_free_meter_and_default_lengths(tmp_path: Path) -> None:
    score = read("X:1\nK:C\nC8|D8|\n", tmp_path).score
    assert [note.duration / score.ticks_per_quarter for note in score.tracks[0].notes] == [4, 4]
    assert not score.time_signatures
    score = read("X:1\nM:2/4\nK:C\nC4|D4|\n", tmp_path).score
    assert [note.duration / score.ticks_per_quarter for note in score.tracks[0].notes] == [1, 1]


def test_keys_are_kept(tmp_path: Path) -> None:
    score = read("X:1\nM:4/4\nL:1/4\nK:Ebm\nC4|[K:F#]D4|[K:E dor]E4|\n", tmp_path).score
    keys = [(key.key, key.tonality) for key in score.key_signatures]
    assert keys == [(-6, 1), (6, 0), (2, 0)]


def test_only_the_tune_is_music(tmp_path: Path) -> None:
    text = (
        "% CDEF\nfree text CDEF\n\nX:1\nT:CDEF\nM:4/4\nL:1/4\nK:C\nC % DEF\n%%begintext\nCDEF\n"
        "%%endtext\nN:CDE\nW:CDE\nD|\n\nCDEF is text after the tune\n\nX:2\nK:C\nG|\n"
    )
    loaded = read(text, tmp_path)
    assert [note.pitch for note in loaded.score.tracks[0].notes] == [60, 62]
    assert loaded.repairs == ("holds 2 tunes, the first one was read",)
    assert loaded.notes_in_source == 2


def test_errors_are_skipped_and_reported(tmp_path: Path) -> None:
    loaded = read(HEAD + "C D|\nE ? # F|\nM:0/0\nG4|\n", tmp_path)
    assert [note.pitch for note in loaded.score.tracks[0].notes] == [60, 62, 64, 65, 67]
    assert loaded.repairs == ("3 errors skipped, the first in line 6: '?' is not valid",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"is empty \(0 bytes\)"),
        ("CDEF|\n", "holds no tune"),
        ("X:1\nK:C\n", "contains no notes"),
        (HEAD + "C|Z999999999|\n", "has a rest of 999999999 bars"),
        (HEAD + "C999999 D999999|\n", "is longer than 200000 whole notes"),
        (HEAD + "C,,,,,,,,,|\n", "is outside the 128 MIDI pitches"),
        (
            HEAD + "|:C:|" + "|:" * 3 + ":" * 120_000 + "C" + ":" * 120_000 + "|",
            "repeats make more",
        ),
    ],
)
def test_bad_tunes_raise_a_one_line_error(text: str, reason: str) -> None:
    with pytest.raises(ScoreFileError, match=rf"^it\.abc: .*{reason}") as refused:
        score_from_bytes(text.encode(), name="it.abc", unfold_repeats=True)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["CDEF|GABc"], 8),
        (["C-C D-|D ^F-F ^F-=F"], 5),
        (["[CEG]-[CEG] [C-E][CE]"], 6),
        (['"Am"C !fermata!D {gfe}F z x Z2 % GAB'], 3),
        (["[V:1]C-", "[V:2]C C", "[V:1]C D"], 4),
        (["w: abc", "V:2", "K:C", "[K:G]A [M:3/4]B"], 2),
    ],
)
def test_notes_are_counted_without_the_reader(lines: list[str], expected: int) -> None:
    assert count_notes(lines) == expected
    assert len(rows("\n".join(lines) + "\n")) == expected


def test_late_notes_are_rejected_when_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="makes more than 250000 bars"):
        save_score(score_of((0, 480, 60), (2_000_000_000, 480, 60)), tmp_path / "late.abc")


def test_every_tune_of_the_installed_corpus_is_read_with_all_notes() -> None:
    """A sample of the collections that come with music21; they are read, not copied."""
    import re

    import music21

    corpus = Path(music21.__file__).parent / "corpus"
    paths = [
        *sorted((corpus / "ryansMammoth").glob("*.abc"))[::60],
        *sorted((corpus / "oneills1850").glob("*.abc"))[::9],
        *sorted((corpus / "airdsAirs").glob("*.abc"))[:1],
    ]
    tunes = 0
    for path in paths:
        head, *pieces = re.split(rb"(?m)^(?=X:)", path.read_bytes())
        for piece in pieces[::4]:
            loaded = score_of_bytes(head + piece)
            assert loaded.notes_missing == 0, (path.name, piece[:20])
            assert loaded.notes_read > 10
            tunes += 1
    assert tunes > 50


def score_of_bytes(content: bytes) -> LoadedScore:
    from rwkv_music.score.abc.abc_reader import read_abc

    return read_abc(content, name="it.abc")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("D =c", [72, 78, 79, 71]),
        ("Dmaj =c ^g", [72, 78, 80, 71]),
        ("Dm =b", [72, 77, 79, 71]),
        ("D clef=treble =c", [72, 78, 79, 71]),
    ],
)
def test_accidentals_change_a_key(key: str, expected: list[int]) -> None:
    assert pitches("c f g B", head=f"X:1\nM:4/4\nL:1/4\nK:{key}\n") == expected


def test_a_tune_without_a_key_is_read(tmp_path: Path) -> None:
    loaded = read("X:1\nT:Tune\nM:3/4\nL:1/4\n% the music\nCDE|FGA|\n", tmp_path)
    assert [note.pitch for note in loaded.score.tracks[0].notes] == [60, 62, 64, 65, 67, 69]
    assert (loaded.notes_missing, loaded.score.time_signatures[0].numerator) == (0, 3)
    assert loaded.repairs == (
        "1 error skipped, the first in line 6: the field K: that begins the music is missing",
    )


def test_the_middle_line_of_a_clef_changes_no_pitch() -> None:
    head = "X:1\nM:4/4\nL:1/4\nV:B clef=bass middle=d transpose=-24\nK:C\nV:B\n"
    assert pitches("d4", head=head) == [50]
    assert pitches("d4", head=head.replace(" transpose=-24", "")) == [74]
