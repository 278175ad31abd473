"""The cards of the shipped models: their texts, and the tables of what was measured."""

import textwrap
from typing import Any, NamedTuple

from rwkv_music.training import TrainingConfig


class About(NamedTuple):
    """Text of a card besides its figures; {braces} are filled in from the record of the corpus."""

    title: str
    author: str
    """Author of the held-out music: the heading of a column."""
    data: str
    limits: str
    prepared: str = ""
    """The command that made the folder to train on."""
    first_bar: int = 0
    """First bar of the prompts, after bars without music."""


ABOUT = {
    "bach": About(
        title="a small RWKV-7 that continues four-part chorales",
        author="Bach",
        data="""{pieces} four-part Bach chorales from the corpus of the installed music21 {music21}
(content hash {hash}), {pieces_train} for training and {pieces_valid} held out. Settings of the same
tune are in the same split: the longest melody that a held-out piece shares with a training piece
has {shared_melody} soprano intervals. Bach's music is in the public domain. music21 distributes the
encodings with the permission of their encoders; some may not be used commercially, and none is part
of this project: the corpus is read on the user's machine. Check those terms before you use the
weights of this model commercially.

The JSB Chorales data set contains the same repertoire, so figures on it cannot be quoted for this
model.""",
        limits="""The model knows chorales only: four voices that move together, three or four
quarters per bar. It continues a prompt in another style as if it were a chorale. Its velocity is
constant.""",
    ),
    "pop": About(
        title="a small RWKV-7 that continues pop songs played on the piano",
        author="the song",
        data="""POP909 (Wang and others, ISMIR 2020; Music X Lab; MIT licence): pop songs arranged
for piano in three parts (melody, bridge and accompaniment), with the velocities and pedals of the
player. Of its 909 songs, 803 were moved onto their bar lines by `tools/align_pop909.py` and used,
162 of them a second time as they are stored: {pieces} files (content hash {hash}), {pieces_train}
for training and {pieces_valid} held out. The same music is in the same split, also in another key
or tempo. None of the songs is part of this project.

Figures on POP909 can be quoted for this model only for the songs that `pop.json` lists as held
out.""",
        limits="""The model knows pop songs for piano only, nearly all in 4/4 and in three parts. It
follows the key and texture of the prompt for some bars, but not the form of a song: it does not
know when a chorus begins. It continues a prompt in another style as if it were such a song.""",
        prepared="    python tools/align_pop909.py POP909 pop909\n",
        first_bar=8,
    ),
}


_BASELINES = {
    "5-gram, 12 keys": " The 12-key model was trained on the training pieces in all 12 keys.",
    "5-gram, copying": """ The copying model also counts the runs of up to 12 tokens in the
window so far, as a baseline that repeats the last bars.""",
}
"""What a model card says about a baseline that it lists."""


def card(record: dict[str, Any]) -> str:
    """Return the model card.

    Args:
        record: What `ship_model` measured.
    """
    about, corpus = ABOUT[record["name"]], record["corpus"]
    data = about.data.format(
        **corpus,
        pieces=corpus["pieces_train"] + corpus["pieces_valid"],
        hash=corpus["content_sha256"][:16],
        music21=record["versions"]["music21"],
        shared_melody=record["shared_melody"],
    )
    if "sets" in corpus:
        data += "\n\n" + sets_table(corpus["sets"])
    parts = (_what(record, about), "## Data\n\n" + data, _likelihood(record), _music(record, about))
    limits = f"## Limits\n\n{about.limits}"
    return reflowed("\n\n".join((*parts, limits)))


def sets_table(sets: list[dict[str, Any]]) -> str:
    """Return the sets of a mixture as a table: terms, weight, pieces and notes."""
    rows = [
        "| set | licence | attribution | weight | pieces | held out | notes | held out |",
        "|-|-|-|-:|-:|-:|-:|-:|",
    ]
    for member in sets:
        title = member.get("title", member["name"])
        cells = (
            f"[{title}]({member['url']})" if "url" in member else title,
            member.get("licence", ""),
            member.get("attribution", ""),
            f"{member['weight']:g}",
            *(
                f"{member[f'{what}_{split}']:,}"
                for what in ("pieces", "notes")
                for split in ("train", "valid")
            ),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _what(record: dict[str, Any], about: About) -> str:
    config, name = TrainingConfig.from_dict(record["config"]).flat(), record["name"]
    sessions = record.get("sessions", 1)
    times = "" if sessions == 1 else f" in {sessions} sessions, each resumed from the one before"
    return f"""# {name}: {about.title}

{record["parameters"] / 1e6:.2f} million parameters ({config["num_layers"]} layers of
{config["dim"]} channels), stored as bfloat16 in {record["weights_bytes"] / 1e6:.1f} MB. Every
figure here was measured on the stored weights by `benchmarks/ship_model.py`, which also wrote this
page; `{name}.json` contains all settings and versions.

## How it was made

{about.prepared}    {record["command"]}

Seed {config["seed"]}, {config["steps"]} steps of {config["batch_size"]} windows (at most
{config["prompt_bars"]} prompt bars, {config["completion_bars"]} completion bars), best checkpoint
at step {record["step"]}, {record["training_seconds"] / 60:.0f} minutes{times}, on
{record["machine"]} of a machine with other load. The windows are augmented: key, tempo, velocity
and instrument are varied at random."""


def _likelihood(record: dict[str, Any]) -> str:
    likelihood = record["likelihood"]
    config = TrainingConfig.from_dict(record["config"]).flat()
    best_baseline = min(row["nats_per_note"] for name, row in likelihood.items() if name != "model")
    gain = 1 - likelihood["model"]["nats_per_note"] / best_baseline
    rows = "\n".join(
        f"| {name} | {row['nats_per_token']:.3f} | {row['nats_per_note']:.3f} |"
        for name, row in likelihood.items()
    )
    explained = "".join(said for name, said in _BASELINES.items() if name in likelihood)
    return f"""## Likelihood of held-out completions

Completions of up to {config["completion_bars"]} bars after up to {config["prompt_bars"]} prompt
bars, in nats. The 5-gram baselines are interpolated (Witten-Bell) and are measured on
the same tokens.{explained}

| | per token | per note |
|-|-|-|
{rows}

The model needs {gain:.0%} fewer nats per note than the best baseline."""


def _music(record: dict[str, Any], about: About) -> str:
    music, asked = record["music"], record["asked"]
    rows = "\n".join(
        f"| {key.replace('_', ' ')} | {value:.3g} | {music['held-out'][key]:.3g} |"
        for key, value in music["continuations"].items()
    )
    bars = f"{asked['prompt_bars']} bars of held-out pieces"
    where = f"{bars} from bar {about.first_bar + 1} on" if about.first_bar else f"the first {bars}"
    return f"""## Continuations

{asked["continuations"]} continuations of {asked["new_bars"]} bars, all that were generated
(temperature 1, top-p 0.95), of {where}, beside the same bars of {about.author}. The copied run is
the longest run of notes in one part, by intervals and rhythm, that also occurs in a training piece.

| mean of | continuations | {about.author} |
|-|-|-|
{rows}"""


def reflowed(text: str) -> str:
    """Return Markdown with its paragraphs wrapped; headings, tables and code stay."""
    blocks = text.split("\n\n")
    unwrapped = ("#", "|", " ")
    return "\n\n".join(
        block if block.startswith(unwrapped) else textwrap.fill(block, 100, break_on_hyphens=False)
        for block in blocks
    )
