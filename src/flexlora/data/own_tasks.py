"""A user's own tasks: a JSONL file with a problem a line, named by its path (`tasks: [path/to/problems.jsonl]`).

    {"prompt": "def twice(x):\n", "tests": "assert twice(2) == 4\n", "stop_tokens": ["\ndef"], "language": "py"}

The program is put together as MultiPL-E's: prompt, completion cut at the first stop token, a line end, tests; and it
is passed by the rule of its language. Optional: `task_id` (else FILE/LINE), `timeout` in seconds (else the language's
own) and `solution`, a completion that passes. Other columns are ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flexlora.data import multipl_e
from flexlora.data.family import Family
from flexlora.data.source import Origin, hashed
from flexlora.data.types import Problem
from flexlora.errors import UsageError
from flexlora.files import Record, read_jsonl
from flexlora.recipe import Task

ENDING = ".jsonl"
LANGUAGES = ("py", *multipl_e.LANGUAGES)
Column = tuple[str, type | tuple[type, ...], str]
COLUMNS: tuple[Column, ...] = (("prompt", str, "text"), ("tests", str, "text"), ("language", str, "text"))
OPTIONAL: tuple[Column, ...] = (
    ("task_id", str, "text"),
    ("timeout", (int, float), "a number of seconds"),
    ("solution", str, "text"),
)


def problems(path: Path, style: str) -> tuple[list[Problem], Origin]:
    """The problems of a file.

    Args:
        path: the file.
        style: `verbatim`, or `stripped` for prompts that lose their ends; the program keeps them.

    Raises:
        UsageError: the file is missing or empty, or a line is wrong; names file and line.
    """
    if not path.is_file():
        raise UsageError(f"task {path}: no such file. A task is the path of a JSONL file, or one of `flexlora tasks`.")
    made: list[Problem] = []
    for line, record in read_jsonl(path):
        where = f"{path}, line {line}"
        _check(record, where)
        if made and record["language"] != made[0].language:
            raise UsageError(
                f"{where}: language {record['language']!r}, but the lines before are in {made[0].language!r}; scores "
                "are by language, so put each into a file of its own."
            )
        made.append(
            Problem(
                task=str(path),
                task_id=record.get("task_id") or f"{path.stem}/{line}",
                language=record["language"],
                prompt=record["prompt"].strip() if style == "stripped" else record["prompt"],
                prompt_style=style,
                stop_tokens=tuple(record["stop_tokens"]),
                prefix=record["prompt"],
                suffix="\n" + record["tests"],
                timeout_s=record.get("timeout"),
                reference=record.get("solution"),
            )
        )
    if not made:
        raise UsageError(f"task {path}: the file holds no problems.")
    return made, Origin(source=path.name, revision=None, sha256=hashed(path), records=len(made))


def _check(record: Record, where: str) -> None:
    for name, kinds, words in COLUMNS:
        if name not in record:
            raise UsageError(f"{where}: no {name!r}; found {', '.join(record) or 'nothing'}.")
        _is(record[name], kinds, f"{where}: {name} must be {words}")
    for name, kinds, words in OPTIONAL:
        if record.get(name) is not None:
            _is(record[name], kinds, f"{where}: {name} must be {words}")
    stops = record.get("stop_tokens")
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise UsageError(f"{where}: stop_tokens must be a list of texts, [] for none (found {stops!r}).")
    if record["language"] not in LANGUAGES:
        raise UsageError(f"{where}: language {record['language']!r} is not one of {', '.join(LANGUAGES)}.")
    if not record["tests"].strip():
        raise UsageError(f"{where}: tests are empty, so that every program would pass.")
    if record.get("timeout") is not None and not record["timeout"] > 0:
        raise UsageError(f"{where}: timeout must be more than 0 seconds (found {record['timeout']}).")


def _is(value: Any, kinds: type | tuple[type, ...], wanted: str) -> None:
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise UsageError(f"{wanted}, found {type(value).__name__}.")


def _load(task: Task, _data_dir: Path | None) -> tuple[list[Problem], Origin]:
    return problems(Path(task.name), task.prompt_style or "verbatim")


FAMILY = Family(
    name="PATH.jsonl",
    tasks=(),
    load=_load,
    languages=LANGUAGES,
    size="a line each",
    styles=("verbatim", "stripped"),
    prompt="each record's `prompt`",
    stops="each record's own",
    source="a file of yours",
    revision=None,
    file=None,
    licence="yours",
    state="verified",
)
