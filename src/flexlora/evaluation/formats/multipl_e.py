"""MultiPL-E's completions: one `.json` or `.json.gz` a problem, alone or a folder of them.

A file holds `name, language, prompt, tests, completions` and how they were generated. The program is prompt,
completion, a line break, tests; nothing is cut, as MultiPL-E cuts when it generates.

Results: `NAME.results.json` (`.gz` where the problem's file is) for each, with all fields but the completions and
`results: [{program, timestamp, stdout, stderr, exit_code, status}]`. MultiPL-E counts a sample as passed where the
status is OK and the exit code 0.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flexlora.errors import UsageError
from flexlora.evaluation.formats.sample_file import field, stem, texts
from flexlora.evaluation.score import Estimate
from flexlora.execution.languages import LANGUAGES
from flexlora.execution.results_file import Results
from flexlora.execution.verdict import Program
from flexlora.files import Record, open_data, replacing

OUTPUT_CHARACTERS = 2048
"""Of each stream in a result, as MultiPL-E keeps it."""
KILLED = -1
"""The exit code that MultiPL-E gives a program that was stopped."""
# What MultiPL-E's own files call some languages, beside the codes that both use.
ALIASES = {"go_test.go": "go", "humaneval_to_dlang.py": "d", "humaneval_to_r.py": "r", "notypes.py": "py"}
ALIASES |= {"javascript": "js", "julia": "jl", "python": "py", "racket": "rkt", "rust": "rs"}


def problem_files(folder: Path, results: bool = False) -> list[Path]:
    """The files of problems in a folder, or of their results, by name."""
    files = (path for pattern in ("*.json", "*.json.gz") for path in folder.glob(pattern))
    return sorted(path for path in files if path.name.removesuffix(".gz").endswith(".results.json") == results)


class MultiplE:
    """The completions of one experiment: one language, one problem a file."""

    format = "MultiPL-E"
    task: str | None = None
    problems: int | None = None

    def __init__(self, path: Path) -> None:
        self._files = problem_files(path) if path.is_dir() else [path]
        if not self._files:
            raise UsageError(
                f"{path}: neither a run (no recipe.yaml) nor a folder of MultiPL-E completions (no .json or .json.gz)."
            )

    def __iter__(self) -> Iterator[Program]:
        files: dict[str, Path] = {}
        for path, problem in self._read():
            if problem["name"] in files:
                raise UsageError(
                    f"{path}: its problem {problem['name']!r} is in {files[problem['name']].name} too. Keep one file a "
                    "problem, and each language in a folder of its own."
                )
            files[problem["name"]] = path
            for sample, completion in enumerate(problem["completions"]):
                source = problem["prompt"] + completion + "\n" + problem["tests"]
                yield Program(problem["name"], sample, problem["language"], source)

    def _read(self) -> Iterator[tuple[Path, Record]]:
        """Each problem, with its language as we call it."""
        for path in self._files:
            problem = read_object(path)
            for name in ("name", "language", "prompt", "tests"):
                field(problem, name, str, str(path))
            texts(field(problem, "completions", list, str(path)), f"{path}, `completions`")
            language = ALIASES.get(problem["language"], problem["language"])
            if language not in LANGUAGES:
                raise UsageError(
                    f"{path}: `language` must be one of {', '.join(LANGUAGES)}; it is {problem['language']!r}."
                )
            yield path, problem | {"language": language}

    def native_results(self, folder: Path) -> list[Path]:
        return [_results_path(path, folder) for path in self._files]

    def write_native(self, folder: Path, results: Results, scores: Mapping[int, Estimate]) -> None:
        timestamp = int(Path(results.file.name).stat().st_mtime)
        for path, problem in self._read():
            completions = problem.pop("completions")
            problem["results"] = []
            for sample, completion in enumerate(completions):
                verdict = results.record((problem["name"], sample))
                problem["results"].append(
                    {
                        "program": problem["prompt"] + completion + "\n" + problem["tests"],
                        "timestamp": timestamp,
                        "stdout": verdict["stdout"][:OUTPUT_CHARACTERS],
                        "stderr": verdict["stderr"][:OUTPUT_CHARACTERS],
                        "exit_code": KILLED if verdict["exit_code"] is None else verdict["exit_code"],
                        "status": verdict["status"],
                    }
                )
            data = json.dumps(problem, indent=2).encode()
            target = _results_path(path, folder)
            with replacing(target) as file:
                # Without a time in its header, equal results make an equal file.
                file.write(gzip.compress(data, mtime=0) if target.suffix == ".gz" else data)


def read_object(path: Path) -> Record:
    """A file that holds one JSON object.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        with open_data(path) as file:
            value: Any = json.load(file)
    except ValueError as error:
        raise UsageError(f"{path}: not valid JSON ({error}).") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path}: expected a JSON object, found {type(value).__name__}.")
    return value


def _results_path(path: Path, folder: Path) -> Path:
    return folder / f"{stem(path)}.results.json{'.gz' if path.suffix == '.gz' else ''}"
