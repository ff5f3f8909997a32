"""The list of tasks in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_tasks(meaning: Mapping[Any, str], rows: Sequence[Mapping[str, str]], console: Console | None = None) -> None:
    """Print all tasks, a line for each column (`Family.row`), and what their states mean."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, show_lines=True)
    table.add_column("task", overflow="fold", max_width=24)
    table.add_column("what it is", overflow="fold")
    for row in rows:
        facts = [Text.assemble((f"{name}: ", "bold"), value) for name, value in row.items() if name != "task"]
        table.add_row(Text(row["task"], "bold"), Text("\n").join(facts))
    console.print(table)
    for state, words in meaning.items():
        console.print(Text(f"{state}: {words}.", "dim"))
