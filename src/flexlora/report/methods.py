"""Selection and repair as people read them, in the terminal and on the page: beside pass@1, never in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flexlora.evaluation.schema import Repair, Selection, Summary
from flexlora.report.words import difference_range, p_text, percent, points, score_range, side_name

SELECTION_NOTE = (
    "Chosen without the benchmark's tests; a problem counts by the share of the chosen completions that pass. The most "
    "that a choice can reach is the share of problems with a completion that passes. codet and majority use the same "
    "tests: their tokens are spent once."
)
REPAIR_NOTE = (
    "Second answers are asked for where the benchmark's tests fail, so this is no pass@1, and not to be compared with "
    "one."
)
SHOWN_TESTS_NOTE = "The model was shown the tests that its second answers are scored by (repair.show: all)."


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; every value is text."""

    task: str
    side: str
    cells: tuple[str, ...]


SELECTION_COLUMNS = ("pass@1", "selected", "difference", "at most", "extra tokens", "extra programs")
REPAIR_COLUMNS = ("pass@1", "tried again", "mended", "then pass", "difference", "extra tokens")


def selection_rows(summary: Summary) -> list[Row]:
    """One row for each variant, task and method."""
    return [
        Row(one["task"], f"{side_name(one)}, {one['method']}", _selection_cells(one))
        for one in summary.get("selections", [])
    ]


def repair_rows(summary: Summary) -> list[Row]:
    """One row for each variant and task."""
    return [Row(one["task"], side_name(one), _repair_cells(one)) for one in summary.get("repairs", [])]


def repair_notes(summary: Summary) -> list[str]:
    """What to bear in mind about second answers; none where there are none."""
    found = summary.get("repairs", [])
    if not found:
        return []
    notes = [REPAIR_NOTE] + [SHOWN_TESTS_NOTE] * any(one["show"] == "all" for one in found)
    if left := sum(one["no_room"] for one in found):
        notes.append(f"{left} programs with their messages did not fit the model's context and count as not mended.")
    return notes


def print_methods(summary: Summary, console: Console) -> None:
    """Print the tables of selection and repair; nothing where a run has neither."""
    selected, mended = selection_rows(summary), repair_rows(summary)
    if selected:
        console.print(_table("Selection: pass@1 in % of what was chosen", SELECTION_COLUMNS, selected))
        console.print(Text(SELECTION_NOTE, "dim"))
    if mended:
        console.print(_table("Repair: a second answer after the error, in %", REPAIR_COLUMNS, mended))
        for note in repair_notes(summary):
            console.print(Text(note, "dim"))


def _selection_cells(one: Selection) -> tuple[str, ...]:
    difference = f"{points(one['difference'])} {difference_range(one['difference_low'], one['difference_high'])}"
    return (
        percent(one["plain"]),
        f"{percent(one['estimate'])} {score_range(one['low'], one['high'])}",
        f"{difference} {p_text(one['p_value'])}",
        percent(one["best"]),
        f"{one['tokens']:,}",
        f"{one['programs']:,}",
    )


def _repair_cells(one: Repair) -> tuple[str, ...]:
    return (
        percent(one["plain"]),
        f"{one['attempted']:,}",
        f"{one['mended']:,}",
        f"{percent(one['estimate'])} {score_range(one['low'], one['high'])}",
        f"{points(one['estimate'] - one['plain'])} {difference_range(one['difference_low'], one['difference_high'])}",
        f"{one['tokens']:,}",
    )


def _table(title: str, columns: Sequence[str], rows: Sequence[Row]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("task and variant", overflow="fold", ratio=1)
    for column in columns:
        # Words below one another: their numbers are narrower, and eight columns have to fit.
        table.add_column(Text(column.replace(" ", "\n")), justify="right", overflow="fold")
    for row in rows:
        table.add_row(Text(f"{row.task}\n{row.side}"), *(Text(_broken(cell)) for cell in row.cells))
    return table


def _broken(cell: str) -> str:
    """A value over its interval over its p-value."""
    return cell.replace(" [", "\n[").replace("] p", "]\np")
