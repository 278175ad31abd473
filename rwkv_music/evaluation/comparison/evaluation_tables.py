"""The figures of an evaluation as Markdown tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rwkv_music.evaluation.comparison.figure_summary import RANDOM, TRUTH

_ALLOWED = 0.5
"""Standard deviations of the truth that a mean may differ before it is marked."""


def evaluation_tables(results: Mapping[str, Any]) -> str:
    """Return the tables of all sets.

    Args:
        results: What `evaluate_models` returns.
    """
    parts = ["## Likelihood of completions, nats per note", *_likelihood_table(results)]
    for name, entry in results.items():
        for layout, rows in entry["continuations"].items():
            num_measured = max(figure["number"] for figure in rows[TRUTH].values())
            parts += [
                "",
                f"## {name}, {layout}: {num_measured} continuations",
                *_figure_table(rows),
            ]
        for half, rows in entry.get("long", {}).items():
            title = f"## {name}, long continuations: {half} eight bars"
            parts += ["", title, *_figure_table(rows)]
    marked = f"A figure is marked with * if it differs from the truth by more than {_ALLOWED} of"
    return "\n".join([*parts, "", f"{marked} its standard deviation (in brackets)."]) + "\n"


def _likelihood_table(results: Mapping[str, Any]) -> Iterator[str]:
    models = next(iter(next(iter(results.values()))["likelihood"].values()))["models"]
    yield from _head(["set", "layout", "windows", *models])
    for name, entry in results.items():
        for layout, measured in entry["likelihood"].items():
            figures = [_number(row["nats_per_note"]) for row in measured["models"].values()]
            yield _row([name, layout, str(measured["windows"]), *figures])


def _figure_table(rows: Mapping[str, Any]) -> Iterator[str]:
    truth = rows[TRUTH]
    others = [name for name in rows if name != TRUTH]
    yield from _head(["mean of", TRUTH, *others])
    for name, real in truth.items():
        if real["mean"] is None:
            continue
        cells = [f"{_number(real['mean'])} ({_number(real['deviation'])})"]
        for other in others:
            figure = rows[other].get(name)
            mean = None if figure is None else figure["mean"]
            cells.append(_number(mean) + ("" if other == RANDOM else _mark(mean, real)))
        yield _row([name.replace("_", " "), *cells])


def _mark(mean: float | None, real: Mapping[str, float]) -> str:
    if mean is None:
        return ""
    return " *" if abs(mean - real["mean"]) > _ALLOWED * real["deviation"] + 1e-9 else ""


def _head(cells: Sequence[str]) -> Iterator[str]:
    yield _row(cells)
    yield "|" + "-|" * len(cells)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
