"""bigcode-evaluation-harness's `generations_TASK.json`: a list with, for each problem of the task in its order, a list
of generations.

A generation is prompt and completion, already cut at stop tokens. Its tests come from the task, which the file's name
tells (`generations_humaneval.json`, `generations_multiple-java.json`) or --task. Fewer problems than the task has are
its first ones, as that harness's `--limit` makes them.

Results: `generations_TASK_evaluation_results.json`, `{TASK: {"pass@1": ...}, "config": {...}}`.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flexlora.data import Problem
from flexlora.data.tasks import known, load_problems
from flexlora.errors import UsageError
from flexlora.evaluation.formats.sample_file import stem, texts
from flexlora.evaluation.score import Estimate
from flexlora.execution.results_file import Results
from flexlora.execution.verdict import Program
from flexlora.files import open_data, write_json
from flexlora.recipe import Task
from flexlora.version import __version__

CHUNK = 1 << 18
FIRST = re.compile(r"\s*\[\s*(?P<end>\]?)")
"""What stands before the first element of a JSON list."""
NEXT = re.compile(r"\s*(?:,\s*|(?P<end>\]))")
"""What stands before any other, or ends the list."""


class Generations:
    """The generations of one task."""

    format = "bigcode"

    def __init__(self, path: Path, task: str | None, data_dir: Path | None) -> None:
        self._path = path
        self._name = stem(path).rsplit("_", 1)[-1]
        name = task or _task_of(path, self._name)
        if name == "apps":
            raise UsageError(
                f"{path}: a list of generations names no problems, and those of apps that have no tests are left out "
                "here, so that places would not fit. Write lines of `task_id, completion` with ids like APPS/test/0000."
            )
        self.task: str | None = name
        self._problems, _ = load_problems(Task(name=name), data_dir)
        self.problems: int | None = len(self._problems)

    def __iter__(self) -> Iterator[Program]:
        for number, generations in enumerate(elements(self._path), start=1):
            problem = self._problem(number)
            where = f"{self._path}, entry {number} ({problem.task_id})"
            for sample, generation in enumerate(texts(generations, where)):
                source = generation + problem.suffix
                yield Program(problem.task_id, sample, problem.language, source, problem.timeout_s)

    def _problem(self, number: int) -> Problem:
        if number > len(self._problems):
            raise UsageError(
                f"{self._path}: holds more entries than task {self.task} has problems ({len(self._problems)}). Give "
                "the task of these generations with --task."
            )
        return self._problems[number - 1]

    def native_results(self, folder: Path) -> list[Path]:
        return [folder / f"{stem(self._path)}_evaluation_results.json"]

    def write_native(self, folder: Path, results: Results, scores: Mapping[int, Estimate]) -> None:
        (path,) = self.native_results(folder)
        name = self._name if _guess(self._name) == self.task else str(self.task)
        config = {"load_generations_path": str(self._path), "harness": f"flexlora {__version__}"}
        write_json(path, {name: {f"pass@{k}": score.estimate for k, score in scores.items()}, "config": config})


def elements(path: Path) -> Iterator[Any]:
    """The elements of a JSON list of lists, one at a time: such a file can be far greater than any of them.

    Raises:
        UsageError: the file holds something else.
    """
    decoder = json.JSONDecoder()
    with open_data(path) as binary:
        file = io.TextIOWrapper(binary, encoding="utf-8")
        text, at, number = "", 0, 0
        while True:
            try:
                match = (NEXT if number else FIRST).match(text, at)
                if match and match["end"]:
                    return
                element, at = decoder.raw_decode(text, match.end() if match else len(text))
                number += 1
            except ValueError as error:
                # It may only not have been read to its end: as much again, so that no part is parsed often.
                more = _more(path, file, len(text) - at + CHUNK)
                if not more:
                    where = f"entry {number + 1}: not valid JSON ({error})"
                    raise UsageError(f"{path}, {where}. Is the file complete?") from error
                text, at = text[at:] + more, 0
                continue
            yield element


def _more(path: Path, file: io.TextIOWrapper, characters: int) -> str:
    try:
        return file.read(characters)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not valid JSON ({error}).") from error


def _task_of(path: Path, name: str) -> str:
    if task := _guess(name):
        return task
    raise UsageError(
        f"{path}: the task cannot be told from this name, which would end in e.g. _humaneval.json. Name the task, e.g. "
        "--task humaneval or --task multipl-e/humaneval/java."
    )


def _guess(name: str) -> str | None:
    if name.startswith("multiple-"):
        translated = f"multipl-e/humaneval/{name.removeprefix('multiple-')}"
        return translated if translated in known() else None
    return {"humaneval": "humaneval", "humaneval-unstripped": "humaneval", "mbpp": "mbpp"}.get(name)
