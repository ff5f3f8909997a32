"""`STUDY/events.jsonl`: when a study's runs were started, finished and failed; failures and times are read from it.

A line is `run, event` (`started`, `finished` or `failed`), `at` (Unix time) and `resumed` (whether it went on with what
was there), at the end also `wall_s`, and `error`, the run's last words.
"""

from __future__ import annotations

import time
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flexlora.files import append_jsonl, read_appended
from flexlora.studies.findings import Failure

WORDS = 1500
"""Characters of a log's end that are its last words."""

Event = Literal["started", "finished", "failed"]


@dataclass(slots=True)
class Events:
    """The events of one study."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "events.jsonl"

    def add(self, run: str, event: Event, **more: Any) -> None:
        append_jsonl(self.path, {"run": run, "event": event, "at": round(time.time(), 1), **more})

    def seconds(self) -> dict[str, float]:
        """Run -> wall-clock seconds, of those that were finished without a stop."""
        return {
            event["run"]: event["wall_s"]
            for event in read_appended(self.path)
            if event["event"] == "finished" and not event["resumed"]
        }

    def failures(self, finished: Container[str] = ()) -> list[Failure]:
        """The runs whose last event is a failure.

        Args:
            finished: those that are finished all the same, by hand or by a node that was taken for lost.
        """
        last = {event["run"]: event for event in read_appended(self.path)}
        return [
            {"cell": run, "error": event["error"], "log": f"logs/{run}.log"}
            for run, event in last.items()
            if event["event"] == "failed" and run not in finished
        ]


def last_words(log: Path, exit_code: int) -> str:
    """Why a run failed, from the end of what it printed."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4 * WORDS))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        text = ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    errors = [at for at, line in enumerate(lines) if line.startswith(("flexlora:", "Traceback "))]
    said = "\n".join(lines[errors[-1] :] if errors else lines[-3:])
    if exit_code < 0:
        killed = f"killed by signal {-exit_code}" + (": out of memory?" if exit_code == -9 else "")
        said = f"{killed}\n{said}" if said else killed
    return said[-WORDS:] or f"exit code {exit_code}, and not a word"
