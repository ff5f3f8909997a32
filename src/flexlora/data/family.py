"""`Family`: one benchmark in the list of tasks: how its tasks are loaded, and what `flexlora tasks` says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from flexlora.data.source import Origin
from flexlora.data.types import Problem
from flexlora.recipe import Task

Loader = Callable[[Task, Path | None], tuple[list[Problem], Origin]]
"""(task, data_dir) -> its problems in the benchmark's order. Prompt style and split of the task are filled in and
are ones that its family has; a limit may be left to the caller."""

State = Literal["verified", "format-tested"]
MEANING: dict[State, str] = {
    "verified": "run on the real data",
    "format-tested": "tested on small records in the published format only",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The tasks of one benchmark, which differ in nothing but their language or set."""

    name: str
    """Of its tasks; CAPITALS stand for what differs, as in `multipl-e/humaneval/LANG`."""
    tasks: tuple[str, ...]
    """Their names, in the order of reports."""
    load: Loader | None
    """None for a benchmark that no programs are run for; `instead` says what it is for."""
    instead: str = ""
    languages: tuple[str, ...]
    """The languages of its problems; none where each record says it."""
    size: str
    """Problems of a task, in words."""
    styles: tuple[str, ...]
    """Its prompt styles, the default first."""
    splits: tuple[str, ...] = ()
    """Its splits, the default first; none where the benchmark has none."""
    options: tuple[str, ...] = ()
    """What a recipe may set for its tasks besides style, split and limit."""
    prompt: str
    """What the model is shown, in words."""
    stops: tuple[str, ...] | str
    """Its stop tokens, or in words where they come with each record."""
    scored: str = "pass@k"
    """What is reported."""
    source: str
    """Where the data is from: a hub id, or words."""
    revision: str | None
    """Pinned on the hub; None where there is none."""
    file: str | None
    """Under `data_dir`; CAPITALS stand for what differs."""
    licence: str
    state: State

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {name: value for name, value in asdict(self).items() if name != "load"}

    def row(self) -> dict[str, str]:
        """It in words, by column: what the terminal and the documentation show."""
        stops = self.stops if isinstance(self.stops, str) else " ".join(map(json.dumps, self.stops))
        commit = self.revision is not None and len(self.revision) == 40
        revision = self.revision[:7] if self.revision and commit else self.revision
        source = f"{self.source} at {revision}" if revision else self.source
        return {
            "task": self.name,
            "state": self.state,
            "problems": self.size,
            "languages": " ".join(self.languages),
            "prompt": f"{self.prompt} ({', '.join(self.styles)})",
            "stop tokens": stops or "none",
            "splits": ", ".join(self.splits) or "none",
            "score": self.scored if self.load else f"{self.scored}; no task: {self.instead}",
            "source": f"{source}; file {self.file}" if self.file else source,
            "licence": self.licence,
        }
