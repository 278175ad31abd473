"""Hostile ABC, Humdrum and MusicXML files generated from a seed."""

import io
import re
import zipfile

import numpy as np

_ABC = """X:1
T:hostile
M:6/8
L:1/8
Q:3/8=80
K:Dm
V:1 name="one"
%%MIDI program 40
|: A2 (3Bcd [Ace]2 | {g}f2 z2 "Am"e2- :|
V:2
[M:3/4] D6- | D4 z2 |
w: la le *
"""
_KERN = """**kern\t**kern
*clefF4\t*clefG2
*M4/4\t*M4/4
*k[b-]\t*k[b-]
*MM100\t*MM100
=1\t=1
4C\t[4cc
8D\t4cc]
8E-\t.
*\t*^
2F\t4a 4c\t2f
.\t4g\t.
*\t*v\t*v
==\t==
*-\t*-
"""
_XML = """<?xml version="1.0" encoding="UTF-8"?>
<score-partwise version="4.0"><part-list>
<score-part id="P1"><part-name>one</part-name></score-part></part-list>
<part id="P1"><measure number="1"><attributes><divisions>2</divisions>
<time><beats>4</beats><beat-type>4</beat-type></time><key><fifths>-1</fifths></key></attributes>
<direction><sound tempo="90"/></direction>
<note><pitch><step>C</step><octave>4</octave></pitch><duration>2</duration></note>
<note><chord/><pitch><step>E</step><alter>-1</alter><octave>4</octave></pitch>
<duration>2</duration><tie type="start"/></note>
<backup><duration>1</duration></backup><forward><duration>3</duration></forward>
<note><rest/><duration>4</duration></note></measure></part></score-partwise>
"""
_ABC_PLAYBACK = """X:2
M:4/4
L:1/4
P:A(BA)2
m:~n2=(3n/o/n/
K:G
P:A
|: G4-|1 G2 ~A2 :|2 G2 [EG]2- & z2 c2 || "^Fine" [EG]4 |]
P:B
!segno! d>c B<A | {ag}f4 !coda! | Z2 | !D.S.! D,4 |
"""
_KERN_SPLITS = """**kern\t**kern\t**text
*clefX\t*clefG2\t*
*>[A,A,B]\t*>[A,A,B]\t*>[A,A,B]
*>A\t*>A\t*>A
*\t*^\t*
4R\t[4c\t[[4e\tla
*\t*^\t*\t*
4R\t8c]L\t4g\t4e\t.
.\t8d]-J\t.\t.\tle
*\t*v\t*v\t*\t*
*\t*x\t*x\t*
=2:|!\t=2:|!\t=2:|!\t=2:|!
*>B\t*>B\t*>B\t*>B
8qf 8a\t.\t8qd\t.
2.f#\t2.e_\t4c\t.
.\t.\t[2c\t.
*\t*v\t*v\t*
=3\t=3\t=3
4r\t4e]] 4c]\t.
*-\t*-\t*-
"""
_XML_TIES = """<score-partwise><part-list><score-part id="P1"><part-name>R & B</part-name>
<score-instrument id="I1"><instrument-name>Snare</instrument-name></score-instrument>
<midi-instrument id="I1"><midi-unpitched>39</midi-unpitched></midi-instrument></score-part>
</part-list><part id="P1"><measure number="1" implicit="yes"><barline><repeat direction="forward"/>
</barline><attributes><divisions>4</divisions><staves>2</staves><transpose number="2">
<chromatic>-2</chromatic><double/></transpose></attributes>
<note dynamics="0" attack="-1"><pitch><step>C</step><octave>4</octave></pitch><duration>4</duration>
<tie type="start"/><voice>1</voice><accidental>sharp</accidental><staff>1</staff></note>
<note><cue/><pitch><step>D</step><octave>4</octave></pitch><duration>2</duration></note>
<note><grace steal-time-following="50"/><pitch><step>E</step><octave>4</octave></pitch>
<tie type="start"/></note><backup><duration>6</duration></backup>
<note release="2"><unpitched><display-step>F</display-step></unpitched><duration>6</duration>
<instrument id="I1"/><staff>2</staff></note></measure>
<measure number="2"><barline><ending number="1,2" type="start"/></barline>
<note><pitch><step>C</step><octave>4</octave></pitch><duration>8</duration><tie type="stop"/>
<tie type="start"/><staff>2</staff></note><sound dacapo="yes" tempo="0"/>
<barline><ending number="1,2" type="stop"/><repeat direction="backward" times="3"/></barline>
</measure><measure number="3"><attributes><measure-style number="1">
<measure-repeat type="start">1</measure-repeat></measure-style></attributes>
<note><rest measure="yes"/><duration>8</duration></note></measure></part></score-partwise>
"""
_TEXTS = {
    "abc": (_ABC, _ABC_PLAYBACK),
    "krn": (_KERN, _KERN_SPLITS),
    "musicxml": (_XML, _XML_TIES),
}


_ABC_TOKENS = (
    "C", "^F", "_b,", "=c'", "D3/2", "E//", "G/3", "z", "Z2", "x4", "[CEG]", "[C2-E]", "{gf}", "-",
    ">", "<<", "(3", "(5:4:3", "(", ")", "|", "|:", ":|", "::", "||", "|]", "[1", "[2", "|1", ":|2",
    "&", "!D.S.!", "!segno!", "!coda!", "!fine!", "[P:A]", "(3::2", "~G2",
    "[M:3/4]", "[K:Dm]", "[K:clef=bass-8]", "[L:1/16]", "[Q:1/4=90]", "[V:2]", "[V:1]",
    "!fermata!", "!D.C.!", '"Am"', "y", "\n", "\nw: la-le _ *|\n", "\nV:3 octave=1\n",
    "\n%%MIDI program 9\n", "\n%%MIDI channel 10\n", "\\\n", " ", "%",
)  # fmt: skip


def _abc_tune(rng: np.random.Generator) -> str:
    """Return a tune of random elements of ABC."""
    length = int(rng.choice([10, 100, 2000]))
    tokens = [_ABC_TOKENS[index] for index in rng.integers(0, len(_ABC_TOKENS), length)]
    return "X:1\nM:4/4\nL:1/8\nK:C\n" + "".join(tokens) + "C|\n"


def _zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _hostile_zip(text: str, rng: np.random.Generator) -> bytes:
    """Return compressed MusicXML that is broken, has a wrong container, or is a zip bomb."""
    container = '<container><rootfiles><rootfile full-path="{}"/></rootfiles></container>'
    match int(rng.integers(5)):
        case 0:
            packed = bytearray(_zipped({"score.musicxml": text.encode()}))
            for position in rng.integers(0, len(packed), int(rng.integers(1, 20))):
                packed[position] = int(rng.integers(256))
            return bytes(packed)
        case 1:
            packed = bytearray(_zipped({"score.musicxml": text.encode()}))
            return bytes(packed[: int(rng.integers(len(packed)))])
        case 2:
            lying = container.format(rng.choice(["nowhere.xml", "../../etc/passwd", ""]))
            return _zipped({"META-INF/container.xml": lying.encode(), "a.xml": text.encode()})
        case 3:
            return _zipped({"bomb.xml": b"<" * int(rng.choice([1 << 20, 40 << 20]))})
        case _:
            return _zipped({"META-INF/container.xml": text.encode(), "x.bin": rng.bytes(99)})


def _nested(ending: str, rng: np.random.Generator) -> str:
    """Return a small text that expands to a large one."""
    times = int(rng.choice([50, 2000, 20_000], p=[0.5, 0.3, 0.2]))
    match ending:
        case "musicxml" if rng.random() < 0.4:
            laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
            return f'<!DOCTYPE x [<!ENTITY l0 "lol">{laughs}]><score-partwise>&l9;</score-partwise>'
        case "musicxml":
            return "<part>" * times + "</part>" * times
        case "abc":
            inside = "(" if rng.random() < 0.5 else "|:"
            return "X:1\nK:C\n" + inside * times + "C" + ":|" * times + "\n"
        case _:
            spines = min(times, 2000)
            return "\t".join(["**kern"] * spines) + "\n" + "\t".join(["4c"] * spines) + "\n"


_HOSTILE_WORDS = (
    "99999999", "-1", "0", "1/0", "\x00", "\ufeff", "(3", "[", "]", "<", ">", "&lol;", "*^", "*v",
    "[M:0/4]", "Q:0", "*M0/0", "*^99", "*x", "*+", "[[", "]]", "P:A9(B9)9", "m:n=nn", "<cue/>",
    '<tie type="start"/>', "<double/>",
    '<double above="yes"/>', '<tied type="continue"/>', "K:D =c", "middle=d",
    "<divisions>0</divisions>", "<duration>-7</duration>", "\t", "|:",
)  # fmt: skip


def _with_another_number(text: str, rng: np.random.Generator) -> str:
    """Replace one of the numbers in a text; the text around it stays well-formed."""
    actual = list(re.finditer(r"\d+", text))
    if not actual:
        return text
    chosen = actual[int(rng.integers(len(actual)))]
    digits = str(rng.choice(["0", "1", "7", "-3", "255", "100000", "1e9", "0.001", "x"]))
    return text[: chosen.start()] + digits + text[chosen.end() :]


def hostile_text(number: int, rng: np.random.Generator) -> tuple[str, bytes]:
    """Return the name and content of a hostile text file; see `tests.fuzz.hostile_file`."""
    ending = str(rng.choice(list(_TEXTS)))
    text = str(rng.choice(_TEXTS[ending]))
    if rng.random() < 0.15:
        return (f"{number}-nested.{ending}", _nested(ending, rng).encode())
    if ending == "musicxml" and rng.random() < 0.4:
        return (f"{number}-zip.mxl", _hostile_zip(text, rng))
    if ending == "abc" and rng.random() < 0.6:
        return (f"{number}-tune.abc", _abc_tune(rng).encode())
    for _ in range(int(rng.integers(1, 5))):
        position, length = int(rng.integers(len(text) + 1)), int(rng.integers(12))
        word = str(rng.choice(_HOSTILE_WORDS))
        match int(rng.integers(9)):
            case 5 | 6 | 7 | 8:
                text = _with_another_number(text, rng)
            case 0:
                text = text[:position] + word + text[position:]
            case 1:
                text = text[:position] + word + text[position + length :]
            case 2:
                text = text[:position] + text[position + length :]
            case 3:
                text = text[:position] + text[position : position + 40] * int(rng.integers(2, 9))
            case _:
                lines = text.split("\n")
                rng.shuffle(lines)
                text = "\n".join(lines)
    return (f"{number}-text.{ending}", text.encode())
