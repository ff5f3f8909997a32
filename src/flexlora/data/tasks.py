"""Evaluation tasks by name: `humaneval`, `mbpp`, `multipl-e/humaneval/LANG`, `tiny/SET/LANG`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flexlora.data import generated, humaneval, mbpp, multipl_e
from flexlora.data.prompting import prompted
from flexlora.data.source import Origin
from flexlora.data.types import Example, Problem
from flexlora.errors import UsageError
from flexlora.recipe import Task


def known() -> tuple[str, ...]:
    """The names of all tasks."""
    translated = [f"multipl-e/humaneval/{language}" for language in multipl_e.LANGUAGES]
    return ("humaneval", "mbpp", *translated, *generated.known())


def load_problems(task: Task, data_dir: Path | None, style: str = "plain") -> tuple[list[Problem], Origin]:
    """The problems of one task, in the benchmark's order.

    Args:
        style: how they are put to the model; see `prompting`.

    Raises:
        UsageError: the task is unknown, an option does not apply to it, or its data cannot be loaded.
    """
    problems, origin = _load(task, data_dir)
    problems = problems[: task.limit]
    ids = [problem.task_id for problem in problems]
    if not ids:
        raise UsageError(f"task {task.name}: split {task.split!r} holds no problems in {origin.source}.")
    doubled = {task_id for task_id in ids if ids.count(task_id) > 1}
    if doubled:
        raise UsageError(f"task {task.name}: {min(doubled)} occurs twice in {origin.source}.")
    return [prompted(problem, style) for problem in problems], origin


def _load(task: Task, data_dir: Path | None) -> tuple[list[Problem], Origin]:
    if task.name == "humaneval":
        _only(task, "verbatim", None)
        return humaneval.problems(data_dir)
    if task.name == "mbpp":
        style = task.prompt_style or "docstring"
        if style not in ("docstring", "three-shot"):
            raise UsageError(f"task mbpp: no prompt style {style!r}; it has docstring and three-shot.")
        if style == "three-shot" and task.split in ("prompt", "all"):
            raise UsageError(
                f"task mbpp: split {task.split} holds the problems whose solutions stand in the three-shot prompt; "
                "evaluate another split, or the docstring style."
            )
        return mbpp.problems(data_dir, task.split or "test", style)
    if task.name in known() and task.name.startswith("tiny/"):
        _only(task, "verbatim", task.split)
        return generated.load_problems(task.name, task.split or "test", task.limit)
    if task.name in known():
        style = task.prompt_style or "stripped"
        if style not in ("stripped", "verbatim"):
            raise UsageError(f"task {task.name}: no prompt style {style!r}; it has stripped and verbatim.")
        _only(task, style, None)
        return multipl_e.problems(data_dir, task.name.rsplit("/", 1)[1], style)
    raise UsageError(f"unknown task {task.name!r}; there are {', '.join(known())}.")


def _only(task: Task, style: str, split: str | None) -> None:
    if task.prompt_style not in (None, style):
        raise UsageError(f"task {task.name}: no prompt style {task.prompt_style!r}; it has {style}.")
    if task.split not in (None, split):
        raise UsageError(f"task {task.name}: it has no splits; remove split: {task.split}.")


def refuse_trained(problems: Iterable[Problem], examples: Iterable[Example]) -> None:
    """Refuse to evaluate problems that are trained on.

    Raises:
        UsageError: a problem is among the training examples; names one and counts them.
    """
    trained = {example.key for example in examples}
    shared = [problem for problem in problems if problem.task_id in trained]
    if shared:
        raise UsageError(
            f"task {shared[0].task}: {len(shared)} of its problems are in the training data (e.g. "
            f"{shared[0].task_id}). A score on them would be of no use: train on another split, or drop the task."
        )
