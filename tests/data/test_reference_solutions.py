"""The published solutions through the tasks: put together, run in the sandbox, and passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexlora.data import Problem
from flexlora.data.tasks import load_problems
from flexlora.execution import Program, execute
from flexlora.recipe import Task


def failing(problems: list[Problem]) -> dict[str, str]:
    programs = [
        Program(problem.task_id, 0, problem.language, problem.program(problem.reference or ""), problem.timeout_s)
        for problem in problems
    ]
    return {verdict.task_id: verdict.stderr for verdict in execute(programs) if not verdict.passed}


@pytest.mark.slow
def test_every_canonical_solution_of_humaneval_passes_its_task(data_dir: Path) -> None:
    problems, _ = load_problems(Task(name="humaneval"), data_dir)
    assert failing(problems) == {}


SLOW = {"MBPP/123"}
"""Takes three to five seconds of processor time, and the limit is three."""
CUT = {"MBPP/342"}
"""Has a class beside its function, which the stop tokens of the docstring style cut off."""


@pytest.mark.slow
def test_every_reference_solution_of_mbpp_passes_its_task_but_one_that_is_slow_and_one_that_is_cut(
    data_dir: Path,
) -> None:
    problems, _ = load_problems(Task(name="mbpp", split="all"), data_dir)
    assert len(problems) == 974
    assert CUT <= failing(problems).keys() <= CUT | SLOW
    three_shot, _ = load_problems(Task(name="mbpp", prompt_style="three-shot"), data_dir)
    assert failing([problem for problem in three_shot if problem.task_id in CUT]) == {}
