"""What a run evaluates: every variant on every task and text, and the programs of its completions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flexlora.data import Problem, Text
from flexlora.data.tasks import load_problems
from flexlora.data.texts import load_texts
from flexlora.execution.verdict import Program
from flexlora.folder import Evaluation, RunFolder


def with_problems(run: RunFolder) -> Iterator[tuple[Evaluation, list[Problem]]]:
    """Each variant on each task, with the task's problems as they are put to the model."""
    style = run.recipe.prompting.style
    loaded = {task.name: load_problems(task, run.recipe.data_dir, style)[0] for task in run.recipe.tasks}
    for item in run.evaluations():
        yield item, loaded[item.task.name]


def with_texts(run: RunFolder) -> Iterator[tuple[Evaluation, list[Text]]]:
    """Each variant on each of the texts whose likelihood is measured."""
    loaded = {source.name: load_texts(source, run.recipe.data_dir)[0] for source in run.recipe.likelihood.texts}
    for item in run.likelihoods():
        yield item, loaded[item.task.name]


def program_of(problem: Problem, sample: Mapping[str, Any]) -> Program:
    """The program of one completion of a problem."""
    return Program(
        task_id=problem.task_id,
        sample=sample["sample"],
        language=problem.language,
        source=problem.program(sample["completion"]),
        timeout_s=problem.timeout_s,
        cases=problem.cases,
    )
