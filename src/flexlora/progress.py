"""One progress display for every stage, on standard error; without a terminal it stays silent but for a last line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from flexlora import processes
from flexlora.execution.results_file import Done
from flexlora.execution.verdict import Verdict

FIGURES = 66
"""Columns of the line that are kept for what stands beside the description."""

console = Console(stderr=True, highlight=False, quiet=not processes.is_first())


class Advance(Protocol):
    """Report progress: `done` more of the total, and a short note to show beside the bar."""

    def __call__(self, done: int = 1, note: str = "") -> None: ...


class _Rate(ProgressColumn):
    """How many a second, of late; what an earlier call had done does not count."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else per_second(speed), style="progress.data.speed")


@contextmanager
def bar(description: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Show a bar while the block runs; the block calls what it is given as work is finished."""
    # Where the line is too narrow, the bar and the description give way, not the figures.
    shown = Text(description)
    shown.truncate(max(12, console.width - FIGURES), overflow="ellipsis")
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(table_column=Column(ratio=1)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        _Rate(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    ) as display:
        task = display.add_task(shown.plain, total=total, completed=done, note="")

        def advance(done: int = 1, note: str = "") -> None:
            display.update(task, advance=done, note=note)

        yield advance
    if not console.is_terminal:
        finished = display.tasks[task]
        advanced, seconds = finished.completed - done, finished.elapsed or 0
        rate = per_second(advanced / seconds) if advanced and seconds else ""
        counted = f"{description}: {finished.completed:.0f} of {total}"
        say(", ".join(part for part in (counted, finished.fields["note"], rate) if part))


@contextmanager
def verdict_bar(description: str, total: int, earlier: Collection[Done]) -> Iterator[Callable[[Verdict], None]]:
    """A bar for executing programs; the block hands each verdict to what it is given.

    Args:
        earlier: results that are there already, of these `total`.
    """
    passed, cached = sum(result.passed for result in earlier), 0
    with bar(description, total, done=len(earlier)) as advance:

        def on_verdict(verdict: Verdict) -> None:
            nonlocal passed, cached
            passed += verdict.passed
            cached += verdict.cached
            advance(1, f"{passed} passed" + (f", {cached} cached" if cached else ""))

        yield on_verdict


def per_second(rate: float) -> str:
    """Three figures, but never an exponent: `0.5/s`, `27.4/s`, `5590/s`."""
    return f"{rate:.0f}/s" if rate >= 100 else f"{rate:.3g}/s"


def say(message: str) -> None:
    """One line for the user, on standard error."""
    console.print(message, markup=False, soft_wrap=True)
