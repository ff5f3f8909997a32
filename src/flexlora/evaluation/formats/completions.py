"""human-eval's and EvalPlus's `samples.jsonl`: completions, or whole solutions, of a known task's problems.

A line is `task_id, completion` (openai/human-eval) or `task_id, solution` (EvalPlus: the whole program without its
tests; a line with both counts as a solution there). Both harnesses run completions as they are: cutting at stop
tokens is up to who generates, so it is not done here for their tasks. Completions of translated problems are
cut, as their tests supply what the stop token cuts off.

Results: human-eval's `SAMPLES_results.jsonl` has the lines of the samples file with `result` and `passed`. EvalPlus's
`SAMPLES_eval_results.json` is written as `--base-only` gives it, for the tests are the task's, not EvalPlus's; those of
`humaneval+` and `mbpp+` (by --task) are, and their verdict on all tests together is `plus_status`.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from flexlora.data import Problem
from flexlora.data.tasks import load_problems
from flexlora.errors import UsageError
from flexlora.evaluation.formats.sample_file import field, stem
from flexlora.evaluation.score import Estimate
from flexlora.execution.results_file import Results
from flexlora.execution.samples import SampleNumbers
from flexlora.execution.verdict import Program, Status
from flexlora.files import Record, read_jsonl, replacing
from flexlora.recipe import Task

PLUS = ("humaneval+", "mbpp+")
RUN_AS_THEY_ARE = ("humaneval", "mbpp", *PLUS)
TASK_OF_IDS = {"HumanEval/": "humaneval", "MBPP/": "mbpp", "Mbpp/": "mbpp", "APPS/": "apps"}
"""How the task_ids of a task begin; MBPP's as we and as EvalPlus write them."""


class Completions:
    """Completions or solutions of one task; `solutions` says whether the file is EvalPlus's or human-eval's."""

    def __init__(self, path: Path, first: Record, task: str | None, data_dir: Path | None) -> None:
        self._path = path
        self._solutions = "solution" in first
        self._style = first.get("prompt_style")
        self.format = "EvalPlus" if self._solutions else "human-eval"
        name = task or _task_of(path, first)
        self.task: str | None = name
        # MBPP's files hold one split or another; their ids tell the problems apart.
        style, _, prompting = str(self._style or "").partition("+")
        split = "all" if name == "mbpp" and style != "three-shot" else None
        if name == "apps":
            split = field(first, "task_id", str, f"{path}, line 1").removeprefix("APPS/").partition("/")[0]
        asked = Task(name=name, prompt_style=style or None, split=split)
        problems, _ = load_problems(asked, data_dir, prompting or "plain")
        self.problems = None if split else len(problems)
        self._by_id = {problem.task_id: problem for problem in problems}

    def __iter__(self) -> Iterator[Program]:
        return (program for _, _, program in self._samples())

    def _samples(self) -> Iterator[tuple[Record, Problem, Program]]:
        numbers = SampleNumbers(self._path)
        for line, record in read_jsonl(self._path):
            problem = self._problem(line, record)
            yield (
                record,
                problem,
                Program(
                    task_id=problem.task_id,
                    sample=numbers.of(line, record, problem.task_id),
                    language=problem.language,
                    source=self._solution(line, record, problem) + problem.suffix,
                    timeout_s=problem.timeout_s,
                    cases=problem.cases,
                ),
            )

    def _problem(self, line: int, record: Record) -> Problem:
        task_id = field(record, "task_id", str, f"{self._path}, line {line}")
        ours = "MBPP/" + task_id.removeprefix("Mbpp/") if task_id.startswith("Mbpp/") else task_id
        if ours not in self._by_id:
            raise UsageError(
                f"{self._path}, line {line}: task {self.task} has no problem {task_id!r} (it has "
                f"{next(iter(self._by_id))!r} and so on). Give the task of these samples with --task."
            )
        if record.get("prompt_style") != self._style:
            raise UsageError(
                f"{self._path}, line {line}: `prompt_style` is {record.get('prompt_style')!r}, but line 1 has "
                f"{self._style!r}. Put samples of different prompts into files of their own."
            )
        return self._by_id[ours]

    def _solution(self, line: int, record: Record, problem: Problem) -> str:
        """The program without its tests."""
        where = f"{self._path}, line {line}"
        if self._solutions and ("solution" in record or "completion" not in record):
            solution: str = field(record, "solution", str, where)
            return (problem.prefix if problem.cases else "") + solution
        completion = field(record, "completion", str, where)
        if problem.answer == "chat":
            return problem.solution(completion)
        return problem.prefix + (completion if self.task in RUN_AS_THEY_ARE else problem.cut(completion))

    def native_results(self, folder: Path) -> list[Path]:
        if self._solutions:
            return [folder / f"{stem(self._path)}_eval_results.json"]
        return [folder / f"{self._path.name}_results.jsonl"]

    def write_native(self, folder: Path, results: Results, scores: Mapping[int, Estimate]) -> None:
        (path,) = self.native_results(folder)
        with replacing(path) as file:
            self._write_evalplus(file, results) if self._solutions else self._write_human_eval(file, results)

    def _write_human_eval(self, file: IO[bytes], results: Results) -> None:
        for record, _, program in self._samples():
            verdict = results.record((program.task_id, program.sample))
            file.write(_json({**record, "result": _result(verdict), "passed": verdict["passed"]}) + b"\n")

    def _write_evalplus(self, file: IO[bytes], results: Results) -> None:
        """Grouped by problem, which the samples need not be; so each goes to a spool, and from there to its place."""
        places: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        with tempfile.TemporaryFile() as spool:
            for record, problem, program in self._samples():
                status = results.done[program.task_id, program.sample].status
                said = {Status.OK: "pass", Status.TIMEOUT: "timeout"}.get(Status(status), "fail")
                # What fails one of all tests may still pass the original ones.
                base, plus = (None if said != "pass" else said, said) if self.task in PLUS else (said, None)
                sample = {
                    "task_id": record["task_id"],
                    "solution": program.source.removesuffix(problem.suffix),
                    "base_status": base,
                    "plus_status": plus,
                    "base_fail_tests": [],
                    "plus_fail_tests": [],
                }
                start = spool.tell()
                places[record["task_id"]].append((start, spool.write(_json(sample))))
            date = datetime.fromtimestamp(_modified(results)).strftime("%Y-%m-%d %H:%M")
            file.write(b'{"date": %s, "hash": null, "eval": {' % _json(date))
            for number, (task_id, parts) in enumerate(places.items()):
                file.write((b", " if number else b"") + _json(task_id) + b": [")
                for part, (start, length) in enumerate(parts):
                    spool.seek(start)
                    file.write((b", " if part else b"") + spool.read(length))
                file.write(b"]")
            file.write(b"}}\n")


def _task_of(path: Path, first: Record) -> str:
    task_id = first.get("task_id")
    for beginning, task in TASK_OF_IDS.items():
        if isinstance(task_id, str) and task_id.startswith(beginning):
            return task
    raise UsageError(
        f"{path}, line 1: the task of {task_id!r} cannot be told from its name. Name the task of the completions, e.g. "
        "--task humaneval or --task multipl-e/humaneval/java."
    )


def _result(verdict: Mapping[str, Any]) -> str:
    """The verdict in human-eval's words; the reason of a failure is the last line that the program wrote."""
    if verdict["passed"]:
        return "passed"
    if verdict["status"] == Status.TIMEOUT:
        return "timed out"
    said = verdict["stderr"].strip() if verdict["status"] in (Status.EXCEPTION, Status.SYNTAX_ERROR) else ""
    return f"failed: {said.splitlines()[-1] if said else verdict['status']}"


def _modified(results: Results) -> float:
    """When the last verdict was written: files made anew from the same verdicts are the same."""
    return Path(results.file.name).stat().st_mtime


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
