"""The cards of the shipped models: their texts, and the tables of what was measured."""

import textwrap
from typing import Any, NamedTuple

from rwkv_music.training import TrainingConfig


class About(NamedTuple):
    """What a card says of a model besides figures; {braces} name facts of the corpus."""

    title: str
    author: str
    """Who wrote the music held out: the head of a column."""
    data: str
    limits: str
    prepared: str = ""
    """The command that made the folder to train on."""
    first_bar: int = 0
    """Where the prompts of the held-out pieces begin: behind what is no music yet."""


ABOUT = {
    "bach": About(
        title="a small RWKV-7 that continues four-part chorales",
        author="Bach",
        data="""{pieces} four-part Bach chorales from the corpus of the installed music21 {music21}
(content hash {hash}), {pieces_train} for training and {pieces_valid} held out. Settings of one tune
stand on one side: the longest run of soprano intervals that a held-out piece shares with a training
piece has {shared_melody}. Bach's music is in the public domain. music21 distributes the encodings
with the permission of their encoders; some may not be used commercially, and none is part of this
project: the corpus is read on the user's machine. Ask about those terms before you use this model's
weights commercially.

The JSB Chorales data set holds the same repertoire: no figure on it can be quoted for this
model.""",
        limits="""It knows chorales: four voices that move together, four or three quarters to a
bar. A prompt in another style is continued as if it were one. Its music keeps one loudness from
beginning to end.""",
    ),
    "pop": About(
        title="a small RWKV-7 that continues pop songs played on the piano",
        author="the song",
        data="""POP909 (Wang and others, ISMIR 2020; Music X Lab; MIT licence): pop songs arranged
for piano in three parts, melody, bridge and accompaniment, with the loudness and the pedals of the
player. Of its 909 songs 803 were used, put on their bar lines by `tools/align_pop909.py`, and
162 of them a second time as they are stored: {pieces} files (content hash {hash}), {pieces_train}
for training and {pieces_valid} held out. The same music stands on one side, also in another key or
at another tempo. None of the songs is part of this project.

No figure on POP909 can be quoted for this model, except on the songs that `pop.json` names as held
out.""",
        limits="""It knows pop songs on the piano, nearly all in 4/4 and in three parts. It follows
the prompt's key and manner over some bars, not the plan of a whole song: it does not know that a
chorus is due. A prompt in another style is continued as if it were such a song.""",
        prepared="    python tools/align_pop909.py POP909 pop909\n",
        first_bar=8,
    ),
}


_FLOORS = {
    "5-gram, 12 keys": " The one of 12 keys has seen the training pieces in all of them.",
    "5-gram, copying": """ The copying one also counts what has followed what in the window so far,
in runs of up to 12 tokens: it stands for copying the last bars, and expects them to come back.""",
}
"""What a model card says about a baseline that it lists."""


def card(facts: dict[str, Any]) -> str:
    """The model card, from what `ship_model` measured."""
    about, corpus = ABOUT[facts["name"]], facts["corpus"]
    data = about.data.format(
        **corpus,
        pieces=corpus["pieces_train"] + corpus["pieces_valid"],
        hash=corpus["content_sha256"][:16],
        music21=facts["versions"]["music21"],
        shared_melody=facts["shared_melody"],
    )
    if "sets" in corpus:
        data += "\n\n" + sets_table(corpus["sets"])
    parts = (_what(facts, about), "## Data\n\n" + data, _likelihood(facts), _music(facts, about))
    limits = f"## What it cannot do\n\n{about.limits}"
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


def _what(facts: dict[str, Any], about: About) -> str:
    config, name = TrainingConfig.from_dict(facts["config"]).flat(), facts["name"]
    stretches = facts.get("stretches", 1)
    times = "" if stretches == 1 else f" in {stretches} stretches, each resumed from the one before"
    return f"""# {name}: {about.title}

{facts["parameters"] / 1e6:.2f} million parameters ({config["num_layers"]} layers of
{config["dim"]} channels), stored as bfloat16 in {facts["weights_bytes"] / 1e6:.1f} MB. Every
figure here was measured on the stored weights by `benchmarks/ship_model.py`, which also wrote this
page; `{name}.json` beside it holds the settings and versions in full.

## How it was made

{about.prepared}    {facts["command"]}

Seed {config["seed"]}, {config["steps"]} steps of {config["batch_size"]} windows (at most
{config["prompt_bars"]} prompt bars, {config["completion_bars"]} completion bars), best checkpoint
at step {facts["step"]}, {facts["training_seconds"] / 60:.0f} minutes{times}, on {facts["machine"]}
of a machine that did other work too. Windows are put into another key, tempo, loudness and
instrument at random."""


def _likelihood(facts: dict[str, Any]) -> str:
    likelihood = facts["likelihood"]
    config = TrainingConfig.from_dict(facts["config"]).flat()
    best_floor = min(row["nats_per_note"] for name, row in likelihood.items() if name != "model")
    gain = 1 - likelihood["model"]["nats_per_note"] / best_floor
    rows = "\n".join(
        f"| {name} | {row['nats_per_token']:.3f} | {row['nats_per_note']:.3f} |"
        for name, row in likelihood.items()
    )
    explained = "".join(said for name, said in _FLOORS.items() if name in likelihood)
    return f"""## Likelihood of held-out completions

Completions of up to {config["completion_bars"]} bars after up to {config["prompt_bars"]} prompt
bars, in nats. The 5-gram models are interpolated (Witten-Bell) and read the same tokens at the same
positions.{explained}

| | per token | per note |
|-|-|-|
{rows}

That is {gain:.0%} fewer nats per note than the best of the others."""


def _music(facts: dict[str, Any], about: About) -> str:
    music, asked = facts["music"], facts["asked"]
    rows = "\n".join(
        f"| {key.replace('_', ' ')} | {value:.3g} | {music['held-out'][key]:.3g} |"
        for key, value in music["continuations"].items()
    )
    first = about.first_bar
    where = f"{asked['prompt_bars']} bars of held-out pieces"
    where = f"the first {where}" if not first else f"{where} from bar {first + 1} on"
    return f"""## What its continuations are like

{asked["continuations"]} continuations of {asked["new_bars"]} bars, one after the other and none
left out (temperature 1, top-p 0.95), of {where}, beside what {about.author} has there. The copied
run is the longest run of notes in one part, by intervals and rhythm, that also stands in a training
piece.

| mean of | continuations | {about.author} |
|-|-|-|
{rows}"""


def reflowed(text: str) -> str:
    """The same Markdown with its paragraphs broken anew; headings, tables and code stay."""
    blocks = text.split("\n\n")
    kept = ("#", "|", " ")
    return "\n\n".join(
        block if block.startswith(kept) else textwrap.fill(block, 100) for block in blocks
    )
