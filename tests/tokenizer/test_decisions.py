"""Cases of docs/tokenizer.md by hand: long bars, cuts, pickups and drums."""

import symusic

from rwkv_music.data.augmentation import transpose_ids
from rwkv_music.score import bar_starts
from rwkv_music.tokenizer import BarIndex, Tokenizer, TokenType
from tests.music import score_of

TOKENIZER = Tokenizer()


def heard(score: symusic.Score) -> list[tuple[int, int, int]]:
    """Onset, duration and pitch of the notes, in 480ths."""
    scale = 480 // score.ticks_per_quarter
    notes = [note for track in score.tracks for note in track.notes]
    return sorted((scale * note.time, scale * note.duration, note.pitch) for note in notes)


def bars(score: symusic.Score) -> list[int]:
    return [480 // score.ticks_per_quarter * int(tick) for tick in bar_starts(score)]


def test_a_bar_of_65_quarters_is_one_bar() -> None:
    notes = ((0, 480, 60), (64 * 480, 480, 62), (66 * 480, 480, 64))
    back = TOKENIZER.decode(TOKENIZER.encode(score_of(*notes, signatures=((0, 65, 4),))))
    assert heard(back) == list(notes)
    assert bars(back) == [0, 65 * 480, 130 * 480]
    assert [
        (time_signature.numerator, time_signature.denominator)
        for time_signature in back.time_signatures
    ] == [(65, 4)]


def test_a_first_bar_that_is_cut_is_a_pickup() -> None:
    notes = ((0, 480, 67), (480, 960, 72), (2400, 480, 71))
    pickup = score_of(*notes, signatures=((0, 1, 4), (480, 4, 4)))
    back = TOKENIZER.decode(TOKENIZER.encode(pickup))
    assert heard(back) == list(notes)
    assert bars(back) == [0, 480, 2400, 4320]


def test_a_pickup_behind_silence_keeps_the_silence() -> None:
    notes = ((1440, 480, 67), (1920, 960, 72))
    back = TOKENIZER.decode(TOKENIZER.encode(score_of(*notes, signatures=((0, 4, 4),))))
    assert heard(back) == list(notes)
    assert bars(back) == [0, 1920, 3840]


def test_a_note_across_a_cut_is_not_in_the_window_behind_it_but_the_pedal_is() -> None:
    score = score_of((0, 3840, 60), (1920, 480, 64))
    score.tracks[0].controls.append(symusic.ControlChange(960, 64, 127))
    score.tracks[0].controls.append(symusic.ControlChange(2880, 64, 0))
    index = BarIndex(TOKENIZER.encode(score), TOKENIZER)
    first, second = (TOKENIZER.decode(index.window(bar, bar + 1).ids) for bar in range(2))
    assert heard(first) == [(0, 3840, 60)]
    assert heard(second) == [(0, 480, 64)]
    pedals = [(5 * control.time, control.value >= 64) for control in second.tracks[0].controls]
    assert pedals == [(0, True), (960, False)]


def test_drums_have_ids_of_their_own_and_are_never_transposed() -> None:
    score = score_of((0, 480, 36), (480, 480, 38), is_drum=True)
    score.tracks[0].program = 24
    score.tracks.append(score_of((0, 480, 60)).tracks[0])
    ids = TOKENIZER.encode(score)
    kinds = TOKENIZER.vocabulary.types_of(ids).tolist()
    assert kinds.count(TokenType.DRUM) == 2
    assert kinds.count(TokenType.PITCH) == 1
    moved = TOKENIZER.decode(transpose_ids(ids, 5, TOKENIZER.vocabulary))
    assert heard(moved) == [(0, 480, 36), (0, 480, 65), (480, 480, 38)]
    assert sorted(track.program for track in moved.tracks if track.is_drum) == [0]
