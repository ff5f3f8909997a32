"""A study's findings in the terminal: the headline first, then tables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from flexlora.recipe import EMBEDDED
from flexlora.report import study_words as study
from flexlora.report import words
from flexlora.report.latex import Table
from flexlora.report.study_figures import TITLES
from flexlora.report.study_tables import areas_table, cost_table, paper_table
from flexlora.report.terminal import MARKS

if TYPE_CHECKING:
    from flexlora.studies.findings import Findings, StudyComparison, StudyScore

CELL, NAME = 15, 20
"""Characters of a score's cell, `100.0` over `[96.4, 100.0]` with padding, and of a configuration's name."""
COLOURS = {words.BETTER: "green", words.WORSE: "red"}
SENTENCES = 12
"""Confirmatory comparisons that are all put in words; of more, only those that differ are."""


def print_findings(findings: Findings, console: Console | None = None) -> None:
    """Print what a study shows."""
    console = console or Console()
    _print_primary(findings, console)
    _print_unfinished(findings, console)
    for scores in _column_groups(findings["scores"], max(1, (console.width - NAME) // CELL)):
        console.print(_score_table(scores))
    _print_compared(findings, console)
    for table in (areas_table(findings), cost_table(findings), paper_table(findings)):
        if table.rows:
            console.print(_plain_table(table))
            for note in table.notes:
                console.print(Text(note, "dim"))
    notes = [study.method_note(findings)] if findings["comparisons"] else []
    for note in [*notes, *([words.TINY] if EMBEDDED in findings["models"] else [])]:
        console.print(Text(note, "dim"))


def _print_unfinished(findings: Findings, console: Console) -> None:
    for line in study.unfinished(findings):
        console.print(Text(line, "yellow"))
    for one in findings["failures"]:
        console.print(
            Text.assemble(("failed: ", "bold red"), (one["cell"], "bold"), f": {one['error']} ({one['log']})")
        )


def _print_primary(findings: Findings, console: Console) -> None:
    members, grid = study.families(findings), RichTable.grid(padding=(0, 1, 0, 0))
    for number, one in enumerate(study.of_kind(findings, study.PRIMARY)):
        if not number:
            side = study.side(one["config"], one["variant"])
            console.print(Text(f"{findings['name']}, primary comparison: {side} against {one['against']}", "bold"))
        decided = study.verdict(one)
        grid.add_row(MARKS[decided], Text(study.headline(one, members[one["family"]]), COLOURS.get(decided, "")))
        if decided == words.NO_DIFFERENCE:
            grid.add_row("", Text(study.detectable(one), "dim"))
    console.print(grid if grid.row_count else Text(f"{findings['name']}: {study.no_primary(findings)}", "bold"))


def _print_compared(findings: Findings, console: Console) -> None:
    members = study.families(findings)
    for kind in study.KINDS[1:]:
        compared = study.of_kind(findings, kind)
        if not compared:
            continue
        console.print(Text(f"{TITLES[kind]} ({len(compared)})", "italic"))
        overview = RichTable.grid(padding=(0, 1, 0, 0))
        for line in study.short_overview(compared):
            overview.add_row(" ", Text(line))
        console.print(overview)
        if kind == study.CONFIRMATORY:
            shown = [one for one in compared if len(compared) <= SENTENCES or study.verdict(one) != words.NO_DIFFERENCE]
            _print_sentences(shown, members, console)
        else:
            console.print(Text(study.EXPLORED, "dim"))


def _print_sentences(compared: Sequence[StudyComparison], members: dict[str, int], console: Console) -> None:
    # A grid, so that the lines of a long sentence stand under one another.
    grid = RichTable.grid(padding=(0, 1, 0, 0))
    for one in compared:
        decided = study.verdict(one)
        grid.add_row(MARKS[decided], Text(study.sentence(one, members[one["family"]]), COLOURS.get(decided, "")))
    console.print(grid)


def _column_groups(scores: Sequence[StudyScore], columns: int) -> list[list[StudyScore]]:
    """The scores of each table: as many tasks as fit beside each other, one k a table."""
    groups = []
    for k in dict.fromkeys(one["k"] for one in scores):
        tasks = list(dict.fromkeys(one["task"] for one in scores if one["k"] == k))
        for start in range(0, len(tasks), columns):
            chosen = tasks[start : start + columns]
            groups.append([one for one in scores if one["k"] == k and one["task"] in chosen])
    return groups


def _score_table(scores: Sequence[StudyScore]) -> RichTable:
    title = f"pass@{scores[0]['k']} in %, 95 % interval over seeds and problems"
    table = RichTable(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("configuration", overflow="fold", max_width=NAME - 2)
    tasks = {one["task"]: one["language"] for one in scores}
    for task, language in tasks.items():
        name = f"{words.language_name(language)}\n{words.task_name(task)}"
        table.add_column(Text(name), justify="right", overflow="fold", max_width=CELL - 1)
    cells = {(one["config"], one["variant"], one["task"]): one for one in scores}
    for config, variant in dict.fromkeys((one["config"], one["variant"]) for one in scores):
        of = [cells.get((config, variant, task)) for task in tasks]
        seeds = max(len(one["seeds"]) for one in of if one)
        label = Text.assemble((study.side(config, variant), "bold"), "\n", (words.count(seeds, "seed"), "dim"))
        table.add_row(label, *map(_score_cell, of), end_section=True)
    return table


def _score_cell(one: StudyScore | None) -> Text:
    if one is None:
        return Text("not run", "dim")
    return Text.assemble(
        (words.percent(one["estimate"]), "bold"), "\n", (words.score_range(one["low"], one["high"]), "dim")
    )


def _plain_table(table: Table) -> RichTable:
    made = RichTable(title=table.caption, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    for number, name in enumerate(table.columns):
        longest = max(map(len, name.split()))
        if not number:
            longest = max([longest, *(min(NAME, len(word)) for row in table.rows for word in row[0].split())])
        made.add_column(Text(name), justify="right" if number else "left", overflow="fold", min_width=longest)
    for row in table.rows:
        made.add_row(*map(Text, row))
    return made
