"""What has to be generated for one variant on one task: completions, tests to choose among them by, second answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from flexlora import processes
from flexlora.data import Problem
from flexlora.data.tasks import load_problems
from flexlora.errors import UsageError
from flexlora.execution.results_file import open_results
from flexlora.files import append_jsonl, read_appended
from flexlora.folder import Evaluation, RunFolder
from flexlora.generation import SampleFiles, encode
from flexlora.models import context_length
from flexlora.recipe import Sampling, Selection, Task
from flexlora.repair import repair_problem, what_went_wrong
from flexlora.selection import WRITTEN, Question, ask_for_tests, question
from flexlora.selection.question import require_language

NO_ROOM = "no room"
"""`finish_reason` of a second answer that was not asked for, as the question does not fit the model's context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Completions of some problems, and the files that they go to."""

    label: str
    problems: list[Problem]
    sampling: Sampling
    files: SampleFiles
    second_answers: bool = False
    """Whether they follow verdicts, and prompts may not fit the model; those are answered by nothing, on record."""

    @property
    def is_of_benchmark(self) -> bool:
        """Whether these are the completions that the benchmark's own tests decide on."""
        return self.files.stem == "samples" and not self.second_answers

    def missing(self) -> int:
        """How many completions are."""
        keys = {(record["task_id"], record["sample"]) for record in read_appended(self.files.all)}
        return sum((problem.task_id, i) not in keys for problem in self.problems for i in range(self.sampling.n))

    def fitting(self, model: Any, tokenizer: Any) -> list[Problem]:
        """The problems that fit the model; of second answers that do not it is recorded."""
        limit = context_length(model)
        if not self.second_answers or limit is None:
            return self.problems
        lengths = {problem.task_id: len(encode(tokenizer, problem)) for problem in self.problems}
        known = {record["task_id"] for record in read_appended(self.files.all)}
        for problem in self.problems:
            if lengths[problem.task_id] >= limit and problem.task_id not in known:
                nothing = {"completion": "", "prompt_style": problem.prompt_style, "finish_reason": NO_ROOM}
                append_jsonl(self.files.all, {"task_id": problem.task_id, "sample": 0, **nothing, "tokens": 0})
        return [problem for problem in self.problems if lengths[problem.task_id] < limit]


def missing_jobs(run: RunFolder, item: Evaluation, problems: Sequence[Problem]) -> list[Job]:
    """Those of `jobs_of` that lack something."""
    return [job for job in jobs_of(run, item, problems) if job.missing()]


def shared_jobs(run: RunFolder, item: Evaluation, problems: Sequence[Problem]) -> list[Job]:
    """`missing_jobs` as the first process finds them, in every process."""
    missing = processes.once(lambda: [job.label for job in missing_jobs(run, item, problems)])
    return [job for job in jobs_of(run, item, problems) if job.label in missing]


def shared_fitting(job: Job, model: Any, tokenizer: Any) -> list[Problem]:
    """`Job.fitting` as the first process finds it, in every process."""
    fitting = set(processes.once(lambda: [problem.task_id for problem in job.fitting(model, tokenizer)]))
    return [problem for problem in job.problems if problem.task_id in fitting]


def jobs_of(run: RunFolder, item: Evaluation, problems: Sequence[Problem]) -> Iterator[Job]:
    """Everything that is to be generated, as far as that can be known yet: second answers follow verdicts."""
    recipe, folder = run.recipe, run.path / item.path
    samples = Job(label=item.label(), problems=list(problems), sampling=recipe.sampling, files=SampleFiles(folder))
    yield samples
    if recipe.selection.writes_tests:
        assert isinstance(item.task, Task)
        asked = questions(item.task, run)
        yield Job(
            label=f"{item.label()} tests",
            problems=[ask_for_tests(asked[problem.task_id], problem.answer == "chat") for problem in problems],
            sampling=_of_tests(recipe.selection, recipe.sampling),
            files=SampleFiles(folder / "selection", "tests"),
        )
    if recipe.repair.rounds and not samples.missing():
        yield from _repair(run, item, problems)


def questions(task: Task, run: RunFolder) -> dict[str, Question]:
    """task_id -> the problem as published and without its tests.

    Raises:
        UsageError: tests cannot be written for them.
    """
    published = load_problems(task, run.recipe.data_dir)[0]
    methods = " and ".join(sorted({"codet", "majority"} & set(run.recipe.selection.methods)))
    if published[0].cases is not None:
        raise UsageError(
            f"selection: {methods} call a function with values, and programs of {task.name} read an input each; leave "
            "that task or these methods out (logprob works)."
        )
    require_language(published[0].language, WRITTEN, methods)
    return {problem.task_id: question(problem) for problem in published}


def _of_tests(selection: Selection, sampling: Sampling) -> Sampling:
    return Sampling(
        n=selection.test_samples,
        temperature=selection.temperature,
        top_p=selection.top_p,
        max_new_tokens=selection.test_tokens,
        batch_size=sampling.batch_size,
    )


def _repair(run: RunFolder, item: Evaluation, problems: Sequence[Problem]) -> Iterator[Job]:
    """Second answers to what failed, once everything has its verdict."""
    folder, recipe = run.path / item.path, run.recipe
    by_id = {problem.task_id: problem for problem in problems}
    if not (folder / "results.jsonl").exists():
        return
    asked = []
    with open_results(folder / "results.jsonl") as results:
        for sample in read_appended(folder / "samples.jsonl"):
            key = sample["task_id"], sample["sample"]
            if key not in results.done:
                return
            if results.done[key].passed:
                continue
            problem = by_id[sample["task_id"]]
            solution = problem.solution(sample["completion"])
            message = what_went_wrong(
                results.record(key), problem.language, solution, problem.suffix, recipe.repair.show
            )
            asked.append(repair_problem(problem, sample["sample"], sample["completion"], message))
    yield Job(
        label=f"{item.label()} repair",
        problems=asked,
        sampling=recipe.sampling.model_copy(update={"n": 1, "k": (1,)}),
        files=SampleFiles(folder / "repair"),
        second_answers=True,
    )
