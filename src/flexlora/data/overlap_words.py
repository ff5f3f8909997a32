"""What training and evaluation share (`overlap.py`), in sentences: the same in the plan, the terminal and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flexlora.data.overlap import WORDS

NAMED = 6
"""Problems of a kind that are named, where not all are."""


def sentences(tasks: Sequence[Mapping[str, Any]], named: int | None = NAMED) -> list[str]:
    """A sentence for each task with an overlap, then one for those without.

    Args:
        tasks: overlaps as plain values (`Overlap.as_dict`).
        named: how many problems of a kind are named; None names all.
    """
    said = [f"{one['task']}: {'; '.join(found)}." for one in tasks if (found := _found(one, named))]
    clean = [one["task"] for one in tasks if not _found(one, named)]
    if clean:
        listed = f"{', '.join(clean[:named])}{' and more' if named and len(clean) > named else ''}"
        said.append(f"No {WORDS} words in a row, no equal solution and no trained original in {len(clean)}: {listed}.")
    return said


def _found(one: Mapping[str, Any], named: int | None) -> list[str]:
    runs = sorted(one["runs"], key=lambda shared: -shared["words"])
    found = []
    if runs:
        pairs = [f"{shared['task_id']} {shared['words']} with {shared['example']}" for shared in runs]
        found.append(f"{_of(one, runs)} at least {WORDS} words in a row with an example ({_some(pairs, named)})")
    if equal := one["solutions"]:
        pairs = [f"{shared['task_id']} is {shared['example']}" for shared in equal]
        found.append(f"{_of(one, equal)} the solution with an example, but for names ({_some(pairs, named)})")
    if one["translated"]:
        ids = one["translated"]
        found.append(f"{len(ids)} of {one['problems']} are translations of what is trained on ({_some(ids, named)})")
    if one["originals"]:
        ids = one["originals"]
        found.append(f"{len(ids)} of {one['problems']} translate a problem with such an overlap ({_some(ids, named)})")
    return found


def _of(one: Mapping[str, Any], shared: Sequence[Any]) -> str:
    return f"{len(shared)} of {one['problems']} problems {'shares' if len(shared) == 1 else 'share'}"


def _some(names: Sequence[str], named: int | None) -> str:
    left = 0 if named is None else len(names) - named
    return ", ".join(names[:named]) + (f" and {left} more" if left > 0 else "")
