"""Text of unknown encoding: short names as they stand in MIDI files."""

import pytest

from rwkv_music.score.text_decoding import decode_text, decode_texts

WESTERN = (
    "Flöte", "Café", "Günther", "Trompète", "Caisse claire médium", "España cañí", "Violão",
    "Für Elise", "Größe", "Ça va", "Bajo eléctrico", "Straße",
    "Les copains d’abord",  # noqa: RUF001 - the apostrophe of word processors
    "Crème brûlée", "El Cóndor Pasa", "Über", "é", "DIE ZAUBERFLÖTE", "ÉTÉ", "“Yesterday”",
    "Coração", "©1998 Müller", "Nº 5", "Pièce n° 2",
)  # fmt: skip
JAPANESE = (
    "ピアノ", "歌", "メロディ", "さくらさくら", "千本桜", "残酷な天使のテーゼ", "ギター1",
    "作曲：久石譲",  # noqa: RUF001 - as in Japanese text
    "あ", "荒城の月", "PIANO右手", "津軽海峡・冬景色",
)  # fmt: skip
CHINESE = (
    "钢琴", "小提琴", "主旋律", "月亮代表我的心", "茉莉花", "二胡", "梁祝", "歌词",
    "作曲：冼星海",  # noqa: RUF001 - as in Chinese text
    "笛子 Flute", "打击乐",
)  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "names"), [("cp1252", WESTERN), ("cp932", JAPANESE), ("gbk", CHINESE)]
)
def test_names_in_the_usual_encodings_are_decoded(encoding: str, names: tuple[str, ...]) -> None:
    assert [decode_text(name.encode(encoding)) for name in names] == list(names)
    assert decode_texts([name.encode(encoding) for name in names]) == list(names)


def test_unicode_is_recognised_by_its_structure() -> None:
    for name in (*WESTERN, *JAPANESE, *CHINESE):
        assert decode_text(name.encode()) == name
        assert decode_text(name.encode("utf-8-sig")) == name
        assert decode_text(name.encode("utf-16")) == name


def test_texts_of_one_file_share_an_encoding() -> None:
    # Alone, the last two bytes are also two letters of Windows-1252.
    syllables = [syllable.encode("cp932") for syllable in ("さ", "く", "ら", "歌")]
    assert decode_texts(syllables) == ["さ", "く", "ら", "歌"]
    assert decode_texts([b"plain", "Flöte".encode("cp1252"), "Flöte".encode()]) == [
        "plain", "Flöte", "Flöte",
    ]  # fmt: skip


def test_every_byte_becomes_a_letter() -> None:
    text = decode_text(bytes(range(256)))
    assert len(text) == 256
    assert "\ufffd" not in text
