"""Many languages at once: one table of a row a language and a column a variant, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flexlora.evaluation.schema import Score, Summary
from flexlora.report.words import LANGUAGE_NAMES, language_name, percent, score_name, score_range

LEAST = 5
"""Languages of a benchmark from which on there is a matrix; fewer are read as easily in the table by task."""
ORIGINALS = {"humaneval": "multipl-e/humaneval"}
"""Benchmarks in Python -> their translations, whose first row they are; MBPP's translations are of other splits."""
CELL, LANGUAGE = 21, 12
"""Characters of a cell in the terminal, `100.0 [96.4, 100.0]` and padding included, and of a language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A language: a score for each column, None where it was not run."""

    language: str
    cells: tuple[Score | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """The languages of one benchmark or several, in sections."""

    columns: tuple[str, ...]
    sections: tuple[tuple[str, tuple[Row, ...]], ...]
    """Benchmark and its rows."""


def matrix(summary: Summary, k: str = "1") -> Matrix | None:
    """The languages by variants of the benchmarks that are in many languages; None where there is none."""
    scores = [score for score in summary["scores"] if k in score["pass_at_k"]]
    columns = tuple(dict.fromkeys(score_name(score, summary["scores"]) for score in scores))
    rows: dict[tuple[str, str], dict[str, Score]] = {}
    for score in scores:
        place = _benchmark(score), score["language"]
        rows.setdefault(place, {}).setdefault(score_name(score, summary["scores"]), score)
    order = list(dict.fromkeys(benchmark for benchmark, _ in rows))
    found = []
    for benchmark, group in groupby(sorted(rows, key=lambda place: order.index(place[0])), key=lambda place: place[0]):
        languages = sorted((language for _, language in group), key=_rank)
        if len(languages) >= LEAST:
            made = [Row(language=one, cells=tuple(map(rows[benchmark, one].get, columns))) for one in languages]
            found.append((benchmark, tuple(made)))
    return Matrix(columns=columns, sections=tuple(found)) if found else None


def print_matrix_of_languages(found: Matrix, console: Console) -> None:
    """Print it, with as many columns a table as fit; the first, as a rule the base, is in all of them."""
    for columns in _groups(len(found.columns), max(2, (console.width - LANGUAGE - 2) // CELL)):
        table = Table(title="pass@1 in % by language, 95 % interval", box=box.SIMPLE_HEAD, title_justify="left")
        table.add_column("language", overflow="fold", max_width=LANGUAGE)
        for column in columns:
            table.add_column(Text(found.columns[column]), justify="right", overflow="fold", max_width=CELL - 2)
        for benchmark, rows in found.sections:
            table.add_row(Text(benchmark.replace("/", "/\n"), "italic"))
            for row in rows:
                cells = [cell_text(row.cells[column]) for column in columns]
                table.add_row(Text(language_name(row.language), "bold"), *map(Text, cells))
        console.print(table)


def cell_text(score: Score | None) -> str:
    """`34.2 [27.1, 41.9]`."""
    if score is None:
        return "not run"
    value = score["pass_at_k"]["1"]
    return f"{percent(value['estimate'])} {score_range(value['low'], value['high'])}"


def _benchmark(score: Score) -> str:
    """A task without its language."""
    name = score["task"].removesuffix(f"/{score['language']}")
    return ORIGINALS.get(name, name)


def _rank(language: str) -> int:
    known = list(LANGUAGE_NAMES)
    return known.index(language) if language in known else len(known)


def _groups(columns: int, wide: int) -> list[Sequence[int]]:
    if columns <= wide:
        return [range(columns)]
    return [[0, *range(start, min(start + wide - 1, columns))] for start in range(1, columns, wide - 1)]
