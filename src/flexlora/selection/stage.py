"""The stage of selection over files: the model's tests, which completion passes which, and what is chosen.

    EVALUATION/selection/tests.jsonl     what the model wrote when it was asked for tests
    EVALUATION/selection/matrix.jsonl    the verdict on each different solution with each test (`codet`)
    EVALUATION/selection/outputs.jsonl   what each different solution prints for each input (`majority`)
    EVALUATION/selection/choices.json    method -> task_id -> the numbers of the completions chosen

Verdicts come from the sandbox and the verdict cache as those of the benchmark do; equal solutions share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Unpack

from flexlora.errors import FlexError
from flexlora.execution import How, Program
from flexlora.execution.results_file import recorded
from flexlora.execution.samples import execute_programs, survey
from flexlora.files import iterate_appended, write_json
from flexlora.progress import verdict_bar
from flexlora.recipe import Selection
from flexlora.selection.clusters import Group, by_agreement, by_logprob, by_outputs
from flexlora.selection.question import Question
from flexlora.selection.written_tests import WRITTEN, WrittenTest


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """One problem's completions, and the tests that the model wrote for it."""

    question: Question | None
    """None where no method needs one, as with `logprob` alone."""
    task_id: str
    solutions: Mapping[int, str]
    """Sample -> its program without the benchmark's tests."""
    logprobs: Mapping[int, float | None]
    """Sample -> mean log-probability of its tokens; None where whatever generated it did not say."""
    tests: Sequence[WrittenTest]
    inputs: Sequence[str]
    """Calls whose outputs a majority votes on."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a method needed besides the completions."""

    tokens: int
    """That the model wrote as tests."""
    tests: int
    """Different tests, or inputs, that were used."""
    programs: int
    """Different programs that were run."""


def execute_selection(
    folder: Path,
    candidates: Sequence[Candidates],
    methods: Sequence[str],
    label: str,
    overwrite: bool = False,
    **how: Unpack[How],
) -> None:
    """Run what the methods need and what has not been run yet.

    Args:
        folder: `EVALUATION/selection`.
        overwrite: run all again.
        how: as in `flexlora.execution.execute`.

    Raises:
        FlexError: programs could not be run for a reason that is not theirs.
    """
    for method, file, programs in (("codet", "matrix.jsonl", _matrix), ("majority", "outputs.jsonl", _outputs)):
        if method not in methods:
            continue
        made: Callable[[], Iterator[Program]] = partial(programs, candidates)
        surveyed, path = survey(made), folder / file
        done = {} if overwrite else recorded(path)
        with verdict_bar(f"{method} {label}", len(surveyed.hashes), done.values()) as on_verdict:
            execute_programs(made, path, surveyed=surveyed, overwrite=overwrite, on_verdict=on_verdict, **how)


def choose(folder: Path, candidates: Sequence[Candidates], selection: Selection) -> dict[str, dict[str, Group]]:
    """The choice of every method on every problem, which `choices.json` keeps.

    Returns:
        Method -> task_id -> choice.

    Raises:
        FlexError: verdicts or log-probabilities are missing.
    """
    ways: dict[str, Callable[[], dict[str, Group]]] = {
        "codet": lambda: _by_agreement(folder / "matrix.jsonl", candidates, selection),
        "majority": lambda: _by_outputs(folder / "outputs.jsonl", candidates),
        "logprob": lambda: _by_logprob(folder, candidates),
    }
    chosen: dict[str, dict[str, Group]] = {method: ways[method]() for method in selection.methods}
    write_json(
        folder / "choices.json",
        {method: {task_id: group.samples for task_id, group in groups.items()} for method, groups in chosen.items()},
    )
    return chosen


def cost(folder: Path, candidates: Sequence[Candidates], method: str) -> Cost:
    """What a method needed, on one variant and task."""
    if method == "logprob":
        return Cost(0, 0, 0)
    file = {"codet": "matrix.jsonl", "majority": "outputs.jsonl"}[method]
    programs = {done.program_sha256 for done in recorded(folder / file).values()}
    tokens = sum(record.get("tokens") or 0 for _, record in iterate_appended(folder / "tests.jsonl"))
    used = sum(len(one.tests if method == "codet" else one.inputs) for one in candidates)
    return Cost(tokens, used, len(programs))


def _matrix(candidates: Sequence[Candidates]) -> Iterator[Program]:
    for one in candidates:
        for number, test in enumerate(one.tests):
            for sample, solution in _different(one).items():
                yield _program(one, f"test {number}", sample, "run", solution, test.source)


def _outputs(candidates: Sequence[Candidates]) -> Iterator[Program]:
    for one in candidates:
        for number, call in enumerate(one.inputs):
            for sample, solution in _different(one).items():
                yield _program(one, f"input {number}", sample, "show", solution, call)


def _program(one: Candidates, what: str, sample: int, way: str, solution: str, test: str) -> Program:
    assert one.question is not None
    written = WRITTEN[one.question.language]
    source = (written.run if way == "run" else written.show)(solution, test)
    return Program(f"{one.task_id} {what}", sample, one.question.language, source, one.question.timeout_s)


def _different(one: Candidates) -> dict[int, str]:
    """The first sample of each different solution, with it."""
    first: dict[str, int] = {}
    for sample, solution in sorted(one.solutions.items()):
        first.setdefault(solution, sample)
    return {sample: solution for solution, sample in first.items()}


def _stands_for(one: Candidates) -> dict[int, int]:
    """Sample -> the sample whose verdicts are its own, as its solution is the same."""
    first = {solution: sample for sample, solution in _different(one).items()}
    return {sample: first[solution] for sample, solution in sorted(one.solutions.items())}


def _by_agreement(path: Path, candidates: Sequence[Candidates], selection: Selection) -> dict[str, Group]:
    done = recorded(path)
    chosen = {}
    for one in candidates:
        _refuse_missing(path, {f"{one.task_id} test {i}" for i in range(len(one.tests))}, one, done)
        passed = {
            sample: [i for i in range(len(one.tests)) if done[f"{one.task_id} test {i}", first].passed]
            for sample, first in _stands_for(one).items()
        }
        chosen[one.task_id] = by_agreement(passed, [test.written for test in one.tests], selection.score)
    return chosen


def _by_outputs(path: Path, candidates: Sequence[Candidates]) -> dict[str, Group]:
    printed = {
        (record["task_id"], record["sample"]): record["stdout"] if record["passed"] else None
        for _, record in iterate_appended(path)
    }
    chosen = {}
    for one in candidates:
        inputs = range(len(one.inputs))
        _refuse_missing(path, {f"{one.task_id} input {i}" for i in inputs}, one, printed)
        chosen[one.task_id] = by_outputs(
            {
                sample: [printed[f"{one.task_id} input {i}", first] for i in inputs]
                for sample, first in _stands_for(one).items()
            }
        )
    return chosen


def _by_logprob(folder: Path, candidates: Sequence[Candidates]) -> dict[str, Group]:
    chosen = {}
    for one in candidates:
        known = {sample: value for sample, value in one.logprobs.items() if value is not None}
        if missing := sorted(set(one.logprobs) - set(known)):
            raise FlexError(
                f"{folder.parent / 'samples.jsonl'}: {one.task_id} sample {missing[0]} has no logprob, as it was not "
                "generated with this version, or by an engine that does not give it; leave logprob out of selection."
            )
        chosen[one.task_id] = by_logprob(known)
    return chosen


def _refuse_missing(path: Path, wanted: set[str], one: Candidates, done: Mapping[tuple[str, int], object]) -> None:
    if missing := [(what, first) for what in wanted for first in _different(one) if (what, first) not in done]:
        what, first = min(missing)
        raise FlexError(
            f"{path}: {len(missing)} verdicts are missing (e.g. {what}, sample {first}); `flexlora execute` makes them."
        )
