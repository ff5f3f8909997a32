"""What training and evaluation share (`overlap.py`) in sentences, for the plan, the terminal and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from flexlora.data.overlap import WORDS

NAMED = 6
"""Problems of a kind, or tasks, that are named where not all are."""


def sentences(tasks: Sequence[Mapping[str, Any]], named: int | None = NAMED) -> list[str]:
    """A sentence for the tasks with an overlap, those of which the same holds together; then one for those without.

    Args:
        tasks: overlaps as plain values (`Overlap.as_dict`).
        named: how many problems of a kind, or tasks, are named; None names all.
    """
    groups: dict[str, list[str]] = {}
    for one in tasks:
        groups.setdefault("; ".join(_found(one, named)), []).append(_name(one["task"]))
    clean = groups.pop("", [])
    said = [f"{_some(names, named)}: {found}." for found, names in groups.items()]
    if clean:
        said.append(f"{_some(clean, named)}: no {WORDS} words in a row, no solution and no original is trained on.")
    return said


def _name(task: str) -> str:
    return PurePosixPath(task).name if task.endswith(".jsonl") else task


def _found(one: Mapping[str, Any], named: int | None) -> list[str]:
    found = []
    if one["runs"]:
        runs = sorted(one["runs"], key=lambda shared: -shared["words"])
        pairs = [f"{shared['task_id']}: {shared['words']} with {shared['example']}" for shared in runs]
        found.append(f"{_of(one, runs)} at least {WORDS} words in a row with an example ({_some(pairs, named)})")
    if equal := one["solutions"]:
        pairs = [f"{shared['task_id']}: {shared['example']}" for shared in equal]
        found.append(f"{_of(one, equal)} the solution with an example, but for names ({_some(pairs, named)})")
    if ids := one["translated"]:
        found.append(f"of {len(ids)} problems the original is trained on ({_some(ids, named)})")
    if ids := one["originals"]:
        found.append(f"of {len(ids)} problems the original is one with an overlap ({_some(ids, named)})")
    return found


def _of(one: Mapping[str, Any], shared: Sequence[Any]) -> str:
    return f"{len(shared)} of {one['problems']} problems {'shares' if len(shared) == 1 else 'share'}"


def _some(names: Sequence[str], named: int | None) -> str:
    left = 0 if named is None else len(names) - named
    return ", ".join(names[:named]) + (f" and {left} more" if left > 0 else "")
