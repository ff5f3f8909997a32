"""A recipe's list of tasks with its patterns filled in: `multipl-e/*` is all tasks that it matches.

`*` also stands for slashes. A name that begins with `!` leaves out of the list what it matches.
"""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Sequence
from pathlib import Path

from flexlora.data.own_tasks import ENDING
from flexlora.data.tasks import known
from flexlora.errors import UsageError
from flexlora.recipe import Recipe, Task, dumped, from_dict

WITHOUT = "!"


def with_all_tasks(recipe: Recipe) -> Recipe:
    """The recipe with every task by its own name.

    Raises:
        UsageError: a pattern matches nothing, or nothing is left.
    """
    tasks = expanded(recipe.tasks)
    if tasks == recipe.tasks:
        return recipe
    return from_dict(dumped(recipe) | {"tasks": [task.model_dump(mode="json") for task in tasks]})


def expanded(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """A list of tasks with its patterns filled in, in its order.

    A pattern's options are those of all that it matches; a task that is also named by itself keeps its own.

    Raises:
        UsageError: a pattern matches nothing, or nothing is left.
    """
    named = {task.name for task in tasks}
    found: dict[str, Task] = {}
    for task in tasks:
        if not task.name.startswith(WITHOUT):
            for name in _matching(task.name):
                if name == task.name or name not in named:
                    found.setdefault(name, task.model_copy(update={"name": name}))
    for task in tasks:
        if task.name.startswith(WITHOUT):
            left_out = fnmatch.filter(found, task.name[len(WITHOUT) :])
            if not left_out:
                raise UsageError(
                    f"tasks: {task.name!r} matches none of the {len(found)} tasks beside it; remove it, or see "
                    "`flexlora tasks` for the names."
                )
            found = {name: kept for name, kept in found.items() if name not in left_out}
    if tasks and not found:
        raise UsageError(f"tasks: nothing is left of {', '.join(task.name for task in tasks)}.")
    return tuple(found.values())


def _matching(name: str) -> list[str]:
    """The names that a name or pattern stands for."""
    if not glob.has_magic(name) or Path(name).is_file():
        return [name]
    files = sorted(glob.glob(name)) if name.endswith(ENDING) else None  # noqa: PTH207  # Path.glob: no absolute pattern
    matching = fnmatch.filter(known(), name) if files is None else files
    if not matching:
        raise UsageError(f"tasks: {name!r} matches no task; `flexlora tasks` lists them.")
    return matching
