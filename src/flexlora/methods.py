"""Selection and repair of a run: executed after the benchmark's programs, and scored beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from flexlora.data import Problem
from flexlora.errors import FlexError
from flexlora.evaluated import program_of
from flexlora.evaluation import schema
from flexlora.evaluation.schema import Side
from flexlora.execution import How, Program
from flexlora.execution.results_file import recorded
from flexlora.execution.samples import execute_programs, survey
from flexlora.files import iterate_appended
from flexlora.folder import Evaluation, RunFolder
from flexlora.jobs import NO_ROOM, questions
from flexlora.progress import verdict_bar
from flexlora.recipe import Task
from flexlora.repair import key_of, repaired
from flexlora.selection import inputs_in, read_tests
from flexlora.selection.scores import selected
from flexlora.selection.stage import Candidates, choose, cost, execute_selection


@dataclass(frozen=True, slots=True)
class _Of:
    """One variant on one task."""

    run: RunFolder
    item: Evaluation
    problems: Sequence[Problem]

    @property
    def folder(self) -> Path:
        return self.run.path / self.item.path

    @property
    def side(self) -> Side:
        return {"arm": self.item.arm, "variant": self.item.variant, "model": self.item.model}


def execute_methods(
    run: RunFolder,
    item: Evaluation,
    problems: Sequence[Problem],
    overwrite: bool = False,
    **how: Unpack[How],
) -> None:
    """Run what selection needs, and the second answers that there are; what has a verdict is left alone.

    Args:
        overwrite: run all again.

    Raises:
        FlexError: programs could not be run for a reason that is not theirs.
    """
    one = _Of(run, item, problems)
    if run.recipe.selection.methods:
        found = _candidates(one)
        execute_selection(one.folder / "selection", found, run.recipe.selection.methods, item.label(), overwrite, **how)
    if run.recipe.repair.rounds and (one.folder / "repair" / "samples.jsonl").exists():
        programs = partial(_second_programs, one)
        surveyed, results = survey(programs), one.folder / "repair" / "results.jsonl"
        label = f"repair {item.label()}"
        done = {} if overwrite else recorded(results)
        with verdict_bar(label, len(surveyed.hashes), done.values()) as on_verdict:
            execute_programs(programs, results, surveyed=surveyed, overwrite=overwrite, on_verdict=on_verdict, **how)


def selections(run: RunFolder, item: Evaluation, problems: Sequence[Problem]) -> list[schema.Selection]:
    """What each method of selection is worth. The choice is made, and written, before a verdict is read.

    Raises:
        FlexError: something is missing that `generate` or `execute` would have made.
    """
    one, selection = _Of(run, item, problems), run.recipe.selection
    if not selection.methods:
        return []
    folder, candidates = one.folder / "selection", _candidates(one)
    chosen = choose(folder, candidates, selection)
    passed = _passed(one.folder / "results.jsonl")
    records: list[schema.Selection] = []
    for method in selection.methods:
        worth, spent = selected(chosen[method], passed, run.recipe.seed), cost(folder, candidates, method)
        records.append(
            {
                **one.side,
                "task": item.task.name,
                "language": problems[0].language,
                "method": method,
                "estimate": worth.estimate,
                "low": worth.interval.low,
                "high": worth.interval.high,
                "plain": worth.plain,
                "best": worth.best,
                "difference": worth.difference,
                "difference_low": worth.difference_interval.low,
                "difference_high": worth.difference_interval.high,
                "p_value": worth.p_value,
                "tokens": spent.tokens,
                "tests": spent.tests,
                "programs": spent.programs,
                "path": f"{item.path}/selection",
            }
        )
    return records


def repairs(run: RunFolder, item: Evaluation, problems: Sequence[Problem]) -> list[schema.Repair]:
    """What second answers are worth.

    Raises:
        FlexError: second answers or their verdicts are missing.
    """
    one = _Of(run, item, problems)
    if not run.recipe.repair.rounds:
        return []
    first, done = _passed(one.folder / "results.jsonl"), recorded(one.folder / "repair" / "results.jsonl")
    failed = {key for key, passed in first.items() if not passed}
    if missing := sorted(failed - set(done)):
        raise FlexError(
            f"{one.folder / 'repair'}: {len(missing)} second answers have no verdict (e.g. to "
            f"{key_of(*missing[0])}); `flexlora evaluate {run.path}` makes them."
        )
    found = repaired(first, {key: done[key].passed for key in failed}, run.recipe.seed)
    answers = [record for _, record in iterate_appended(one.folder / "repair" / "samples.jsonl")]
    return [
        {
            **one.side,
            "task": item.task.name,
            "language": problems[0].language,
            "show": run.recipe.repair.show,
            "attempted": found.attempted,
            "mended": found.mended,
            "no_room": sum(answer["finish_reason"] == NO_ROOM for answer in answers),
            "estimate": found.estimate,
            "low": found.interval.low,
            "high": found.interval.high,
            "plain": found.plain,
            "difference_low": found.difference_interval.low,
            "difference_high": found.difference_interval.high,
            "tokens": sum(answer["tokens"] or 0 for answer in answers),
            "programs": len({done[key].program_sha256 for key in failed}),
            "path": f"{item.path}/repair",
        }
    ]


def _candidates(one: _Of) -> list[Candidates]:
    """Every problem's completions and the tests written for it."""
    samples: dict[str, list[Mapping[str, Any]]] = {}
    for _, record in iterate_appended(one.folder / "samples.jsonl"):
        samples.setdefault(record["task_id"], []).append(record)
    selection = one.run.recipe.selection
    assert isinstance(one.item.task, Task)
    asked = questions(one.item.task, one.run) if selection.writes_tests else {}
    written: dict[str, list[str]] = {}
    for _, record in iterate_appended(one.folder / "selection" / "tests.jsonl"):
        written.setdefault(record["task_id"], []).append(record["completion"])
    found = []
    for problem in one.problems:
        of_problem, question = samples.get(problem.task_id, []), asked.get(problem.task_id)
        texts, chat = written.get(problem.task_id, []), problem.answer == "chat"
        tests = read_tests(question, texts, selection.tests, chat) if question else []
        found.append(
            Candidates(
                question=question,
                task_id=problem.task_id,
                solutions={sample["sample"]: problem.solution(sample["completion"]) for sample in of_problem},
                logprobs={sample["sample"]: _mean_logprob(sample) for sample in of_problem},
                tests=tests,
                inputs=inputs_in(question, tests, selection.tests) if question else [],
            )
        )
    return found


def _mean_logprob(sample: Mapping[str, Any]) -> float | None:
    logprob, tokens = sample.get("logprob"), sample.get("tokens")
    return logprob / tokens if logprob is not None and tokens else None


def _second_programs(one: _Of) -> Iterator[Program]:
    """The programs of second answers, under the task_id and sample of the first."""
    of_key = {
        key_of(problem.task_id, sample): (problem, sample)
        for problem in one.problems
        for sample in range(one.run.recipe.sampling.n)
    }
    for _, record in iterate_appended(one.folder / "repair" / "samples.jsonl"):
        problem, sample = of_key[record["task_id"]]
        yield program_of(problem, {**record, "task_id": problem.task_id, "sample": sample})


def _passed(results: Path) -> dict[tuple[str, int], bool]:
    return {key: done.passed for key, done in recorded(results).items()}
