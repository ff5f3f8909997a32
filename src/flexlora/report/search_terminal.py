"""What a search found, in the terminal: the front, the choice, and what mattered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flexlora.report.search_words import (
    CONTROL,
    MATTERED,
    VALIDATION_ONLY,
    cell,
    counted,
    importance_rows,
    unit,
    values_line,
)

if TYPE_CHECKING:
    from flexlora.studies.search.findings import SearchFindings

TITLE = "Source gain against target retention, with 95 % intervals"
BAR = 10
"""Characters of the whole."""


def print_search(findings: SearchFindings, console: Console | None = None) -> None:
    """Print the front with its intervals, the choice and what mattered."""
    console = console or Console()
    console.print(Text(f"Trials: {counted(findings)}"))
    failed = [one for one in findings["trials"] if one["state"] == "failed"]
    for one in failed:
        console.print(Text(f"trial {one['number']} failed: {(one['reason'] or '').strip().splitlines()[-1]}", "red"))
    choice = findings["choice"]
    if choice is None:
        console.print(Text("No trial is finished, so there is nothing to choose."))
        return
    by_number = {one["number"]: one for one in findings["trials"]}
    table = Table(title=TITLE, box=box.SIMPLE_HEAD, title_justify="left")
    gain, retention = by_number[choice["trial"]]["gain"], by_number[choice["trial"]]["retention"]
    assert gain is not None
    assert retention is not None  # what is chosen is finished
    table.add_column("trial", justify="right")
    for column in (f"gain, {unit(gain)}", f"retention, {unit(retention)}"):
        table.add_column(column, no_wrap=True)
    table.add_column("values")
    shown = findings["front"] + [choice["trial"]] * (choice["trial"] not in findings["front"])
    for number in shown:
        one = by_number[number]
        assert one["gain"] is not None
        assert one["retention"] is not None  # of the front
        style = "bold" if number == choice["trial"] else ""
        cells = (
            f"{'▶ ' if style else ''}{number}",
            cell(one["gain"]),
            cell(one["retention"]),
            values_line(one),
        )
        table.add_row(*(Text(text, style) for text in cells))
    console.print(table)
    console.print(Text(f"gain: {', '.join(findings['gain'])}; retention: {', '.join(findings['retention'])}", "dim"))
    console.print(Text(f"Chosen: trial {choice['trial']} ({choice['rule']})."))
    _print_importances(findings, console)
    for note in (VALIDATION_ONLY, CONTROL):
        console.print(Text(note, "dim"))


def _print_importances(findings: SearchFindings, console: Console) -> None:
    rows = importance_rows(findings)
    if not rows:
        console.print(Text("Which keys mattered cannot be told from so few finished trials.", "dim"))
        return
    table = Table(title="What mattered", box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for column in ("key", "for gain", "for retention"):
        table.add_column(column)
    for key, *shares in rows:
        table.add_row(Text(key), *(Text(f"{share:4.0%} {'█' * round(BAR * share)}") for share in shares))
    console.print(table)
    console.print(Text(MATTERED, "dim"))
