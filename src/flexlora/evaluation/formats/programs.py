"""Whole programs: JSONL with `language, program`, and optionally `task_id` and `sample`. They bring their own tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from flexlora.evaluation.score import Estimate
from flexlora.execution.results_file import Results
from flexlora.execution.samples import read_programs
from flexlora.execution.verdict import Program


class WholePrograms:
    """A file of whole programs; the format has no results file of its own."""

    format = "whole programs"
    task: str | None = None
    problems: int | None = None

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Program]:
        return read_programs(self._path)

    def native_results(self, folder: Path) -> list[Path]:
        return []

    def write_native(self, folder: Path, results: Results, scores: Mapping[int, Estimate]) -> None:
        pass
