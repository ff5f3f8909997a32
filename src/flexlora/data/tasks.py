"""Evaluation tasks by name. `FAMILIES` lists all benchmarks: one more is a file with a `Family`, and a line here."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from flexlora.data import apps, codesearchnet, evalplus, generated, humaneval, mbpp, multipl_e, own_tasks
from flexlora.data.family import Family
from flexlora.data.prompting import prompted
from flexlora.data.source import Origin
from flexlora.data.types import Example, Problem, Text
from flexlora.errors import UsageError
from flexlora.recipe import Task

FAMILIES: tuple[Family, ...] = (
    humaneval.FAMILY,
    mbpp.FAMILY,
    evalplus.HUMANEVAL,
    evalplus.MBPP,
    apps.FAMILY,
    multipl_e.HUMANEVAL,
    multipl_e.MBPP,
    codesearchnet.FAMILY,
    generated.FAMILY,
    own_tasks.FAMILY,
)
"""All benchmarks, in the order of `flexlora tasks` and of its page in the documentation."""


def known() -> tuple[str, ...]:
    """The names of all tasks."""
    return tuple(name for family in FAMILIES if family.load is not None for name in family.tasks)


def load_problems(task: Task, data_dir: Path | None, style: str = "plain") -> tuple[list[Problem], Origin]:
    """The problems of one task, in the benchmark's order.

    Args:
        style: how they are put to the model; see `prompting`.

    Raises:
        UsageError: the task is unknown, an option does not apply to it, or its data cannot be loaded.
    """
    family = family_of(task.name)
    if family.load is None:
        raise UsageError(f"task {task.name}: no programs are run for it; {family.instead}.")
    problems, origin = family.load(_with_defaults(task, family), data_dir)
    problems = problems[: task.limit]
    ids = Counter(problem.task_id for problem in problems)
    if not ids:
        notes = "".join(f" {note}." for note in origin.notes)
        raise UsageError(f"task {task.name}: split {task.split!r} holds no problems in {origin.source}.{notes}")
    doubled = {task_id for task_id, count in ids.items() if count > 1}
    if doubled:
        raise UsageError(f"task {task.name}: {min(doubled)} occurs twice in {origin.source}.")
    return [prompted(problem, style) for problem in problems], origin


def family_of(name: str) -> Family:
    """The family of a task.

    Raises:
        UsageError: there is no such task.
    """
    if name.endswith(own_tasks.ENDING):
        return own_tasks.FAMILY
    for family in FAMILIES:
        if name in family.tasks:
            return family
    close = difflib.get_close_matches(name, known(), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UsageError(
        f"unknown task {name!r}; there are {', '.join(family.name for family in FAMILIES if family.load)}; `flexlora "
        f"tasks` says what each is.{hint}"
    )


def _with_defaults(task: Task, family: Family) -> Task:
    """The task with its prompt style and split filled in; refuses what its family does not have."""
    style = task.prompt_style or family.styles[0]
    if style not in family.styles:
        raise UsageError(f"task {task.name}: no prompt style {style!r}; it has {' and '.join(family.styles)}.")
    if task.split is not None and not family.splits:
        raise UsageError(f"task {task.name}: it has no splits; remove split: {task.split}.")
    for option in ("difficulty", "compat"):
        if option not in family.options and (value := getattr(task, option)):
            raise UsageError(f"task {task.name}: it has no {option} (found {value!r}); remove it.")
    split = task.split or (family.splits[0] if family.splits else None)
    if split is not None and split not in family.splits:
        raise UsageError(f"task {task.name}: no split {split!r}; it has {', '.join(family.splits)}.")
    return task.model_copy(update={"prompt_style": style, "split": split})


def refuse_trained(problems: Iterable[Problem | Text], examples: Iterable[Example]) -> None:
    """Refuse to evaluate problems that are trained on.

    Raises:
        UsageError: a problem is among the training examples; names one and counts them.
    """
    trained = {example.key for example in examples}
    shared = [problem for problem in problems if problem.task_id in trained]
    if shared:
        raise UsageError(
            f"task {shared[0].task}: {len(shared)} of its problems are in the training data (e.g. "
            f"{shared[0].task_id}). A score on them would be of no use: train on another split, evaluate another, or "
            "drop the task."
        )
