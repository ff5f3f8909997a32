"""How far a study is: a table that is redrawn on a terminal, elsewhere a line for every event."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.live import Live
from rich.table import Table
from rich.text import Text

from flexlora.progress import console, say
from flexlora.studies.events import Events
from flexlora.studies.folder import Run
from flexlora.studies.workers import Workers

FAILURES = 8
"""Rows of failed runs that are shown; all are listed at the end."""


class Progress:
    """Shows the runs of a study while they run."""

    def __init__(self, runs: Sequence[Run], todo: Sequence[Run], workers: Workers, events: Events) -> None:
        """Show nothing yet.

        Args:
            runs: all of the study.
            todo: those that are not finished.
            events: what earlier runs took is read from them.
        """
        self._total, self._workers = len(runs), workers
        self._configs = {run.name: run.config for run in runs}
        self._waiting = [run.name for run in todo]
        self._running: dict[str, tuple[float, Run]] = {}
        self._failed: dict[str, str] = {}
        self._seconds = events.seconds()
        self._began = time.monotonic()
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        say(f"{len(self._waiting)} runs to do, {self._workers.words()}")
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def started(self, run: Run) -> None:
        self._waiting.remove(run.name)
        self._running[run.name] = time.monotonic(), run
        self._line(f"started {run.name}")

    def finished(self, run: Run, seconds: float) -> None:
        del self._running[run.name]
        self._seconds[run.name] = seconds
        self._line(f"finished {run.name} in {duration(seconds)}; {self._counts()}")

    def failed(self, run: Run, error: str) -> None:
        self._running.pop(run.name, None)
        self._waiting = [name for name in self._waiting if name != run.name]
        self._failed[run.name] = error
        self._line(f"FAILED {run.name}: {error.splitlines()[0]}; {self._counts()}")

    def refresh(self) -> None:
        if self._live:
            self._live.update(self._table(), refresh=True)

    def _line(self, words: str) -> None:
        if not self._live:
            say(words)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=True, title=Text(self._counts()), title_justify="left")
        for heading in ("run", "state", "time", "it says"):
            table.add_column(heading, overflow="ellipsis", no_wrap=True, ratio=1 if heading == "it says" else None)
        for name, (since, run) in self._running.items():
            table.add_row(Text(name), "running", duration(time.monotonic() - since), Text(_last_line(run)))
        for name, error in list(self._failed.items())[-FAILURES:]:
            table.add_row(Text(name), "failed", "", Text(error.splitlines()[0]))
        return table

    def _counts(self) -> str:
        left = len(self._waiting) + len(self._running)
        said = f"{self._total - left - len(self._failed)} of {self._total} finished, {len(self._running)} running"
        said += f", {len(self._waiting)} waiting" + (f", {len(self._failed)} failed" if self._failed else "")
        elapsed = {name: time.monotonic() - since for name, (since, _) in self._running.items()}
        rest = remaining(self._seconds, self._configs, self._waiting, elapsed, self._workers.count)
        said += f"; {duration(time.monotonic() - self._began)} so far"
        return said if rest is None or not left else f"{said}, about {duration(rest)} left"


def remaining(
    known: Mapping[str, float],
    configs: Mapping[str, str],
    waiting: Sequence[str],
    running: Mapping[str, float],
    workers: int,
) -> float | None:
    """Seconds until all is done, from what finished runs took; None where none is finished.

    Args:
        known: run -> seconds.
        configs: run -> configuration; runs of one take alike.
        waiting: runs that are not begun.
        running: run -> seconds since it began.
        workers: runs at a time.
    """
    if not known:
        return None
    of_config: dict[str, list[float]] = {}
    for run, seconds in known.items():
        of_config.setdefault(configs.get(run, ""), []).append(seconds)
    cells = [seconds for run, seconds in known.items() if configs.get(run) != "base"] or list(known.values())
    mean = sum(cells) / len(cells)

    def expected(run: str) -> float:
        own = of_config.get(configs.get(run, ""), [])
        return sum(own) / len(own) if own else mean

    rest = [max(0.0, expected(run) - elapsed) for run, elapsed in running.items()] + list(map(expected, waiting))
    return max([sum(rest) / max(1, min(workers, len(rest))), *rest], default=0.0)


def duration(seconds: float) -> str:
    """`48 s`, `3.2 min`, `5.1 h`, `2.3 days`."""
    for limit, unit, of in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / of:.0f} {unit}" if unit == "s" else f"{seconds / of:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"


def _last_line(run: Run) -> str:
    try:
        with run.log.open("rb") as file:
            file.seek(max(0, run.log.stat().st_size - 500))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
