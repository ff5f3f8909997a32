"""The generated benchmark, `tiny/SET/LANG`: the sets `A`, `B1`, `B2` and `B3` in four languages."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from flexlora.data.family import Family
from flexlora.data.source import Origin
from flexlora.data.types import Example, Problem
from flexlora.errors import UsageError
from flexlora.recipe import Task
from flexlora.tiny import benchmark
from flexlora.tiny.sets import SETS, puzzles
from flexlora.version import __version__


def known() -> list[str]:
    """The names of all generated tasks, which are the datasets' too."""
    return [f"tiny/{set_name}/{language}" for set_name in SETS for language in benchmark.LANGUAGES]


def load_problems(name: str, split: str, limit: int | None = None) -> tuple[list[Problem], Origin]:
    """The problems of a generated task, all or the first so many.

    Raises:
        UsageError: there is no such set, language or split.
    """
    set_name, language = _parts(name)
    made = benchmark.problems(set_name, language, split, limit)
    return made, _origin(name, len(puzzles(set_name, split)))


def load_examples(name: str, split: str) -> tuple[list[Example], Origin]:
    """The training pairs of a generated dataset.

    Raises:
        UsageError: there is no such set, language or split.
    """
    made = benchmark.examples(*_parts(name), split)
    return made, _origin(name, len(made))


def _parts(name: str) -> tuple[str, str]:
    set_name, _, language = name.removeprefix("tiny/").partition("/")
    if set_name not in SETS:
        raise UsageError(f"{name}: no set {set_name!r}; there are {', '.join(SETS)}.")
    return set_name, language


def _origin(name: str, records: int) -> Origin:
    return Origin(source=name, revision=f"flexlora {__version__}", sha256=None, records=records)


def _load(task: Task, _data_dir: Path | None) -> tuple[list[Problem], Origin]:
    return load_problems(task.name, cast(str, task.split), task.limit)


FAMILY = Family(
    name="tiny/SET/LANG",
    tasks=tuple(known()),
    load=_load,
    languages=benchmark.LANGUAGES,
    size="300 (test), 200 (validation)",
    styles=("verbatim",),
    splits=("test", "validation", "train"),
    prompt="description and signature, in the manner of MultiPL-E",
    stops="the language's, as MultiPL-E has them",
    source="made by FLeX, the same everywhere",
    revision=None,
    file=None,
    licence="Apache-2.0",
    state="verified",
)
