"""MusicXML files that are packed or written in unusual ways."""

import io
import zipfile

import pytest

from tests.score.musicxml_documents import document, notes, pitch, read


@pytest.mark.parametrize(
    ("before", "after", "repair"),
    [
        ("<?xml", "\n <?xml", None),
        ('version="1.0"', 'version="1.1"', None),
        ("<part-name>Part<", "<part-name>R & B<", '1 "&" that should be "&amp;"'),
        ("<part-name>Part<", "<part-name>Fl&ouml;te &copy; &amp; &unheard;<", None),
        ("</score-partwise>", "</score-partwise>\n<!-- end -->", None),
        ("</score-partwise>", "</score-partwise>garbage<", "text behind the end"),
        ("<part-name>Part<", "<part-name>\x03Part<", "characters that XML does not allow"),
    ],
)
def test_xml_that_is_almost_right_is_read(before: str, after: str, repair: str | None) -> None:
    loaded = read(document(pitch("C4")).replace(before, after, 1))
    assert loaded.reader == "rwkv-music"
    assert [note[2] for note in notes(loaded.score)] == [60]
    assert (repair or "") in " ".join(loaded.repairs)
    assert bool(loaded.repairs) == (repair is not None)
    if "&ouml;" in after:
        assert loaded.score.tracks[0].name == "Flöte © & &unheard;"


def test_elements_may_have_a_namespace_prefix() -> None:
    text = document(pitch("C4")).replace("<", "<m:").replace("<m:/", "</m:").replace("<m:?", "<?")
    text = text.replace("<m:score-partwise", '<m:score-partwise xmlns:m="http://example.org/"')
    loaded = read(text)
    assert [note[2] for note in notes(loaded.score)] == [60]
    assert loaded.notes_missing == 0


def zipped(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.mark.parametrize(
    "rootfiles",
    [
        '<rootfile full-path="other.pdf" media-type="application/pdf"/>'
        '<rootfile full-path="b.xml"/>',
        '<rootfile full-path="gone.xml"/><rootfile full-path="./B.XML"/>',
        '<rootfile full-path="%62.xml" media-type="application/vnd.recordare.musicxml+xml"/>'
        '<rootfile full-path="a.xml"/>',
    ],
)
def test_compressed_files_with_several_rootfiles_open_their_first_score(rootfiles: str) -> None:
    packed = zipped(
        {
            "a.xml": document(pitch("C4")),
            "b.xml": document(pitch("D4")),
            "other.pdf": "%PDF",
            "META-INF/container.xml": f"<container><rootfiles>{rootfiles}</rootfiles></container>",
        }
    )
    assert [note[2] for note in notes(read(packed).score)] == [62]


def test_files_of_macos_in_a_compressed_file_are_no_scores() -> None:
    files = {"__MACOSX/._a.xml": "Mac OS X", "._a.xml": "Mac OS X", "a.xml": document(pitch("C4"))}
    assert [note[2] for note in notes(read(zipped(files)).score)] == [60]
