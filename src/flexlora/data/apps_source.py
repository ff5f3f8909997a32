"""APPS's records (Hendrycks et al. 2021, arXiv 2105.09938), from the hub or from folders as its authors publish them.

    data_dir/apps/SPLIT/NNNN/{question.txt,metadata.json,input_output.json,solutions.json,starter_code.py}

The last three may be missing. The folder may also be called APPS or apps-sample; without the folders `train` and
`test` in it, the problems lie in it directly and are split `train`. From the hub it is the conversion to parquet of
`codeparrot/apps`, as script datasets no longer load.

Tests and solutions are more than a gigabyte. They stay where they are, and are read when they are needed.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexlora.data.source import HubDataset, Origin, open_hub
from flexlora.errors import UsageError

# The hub makes this branch by itself, and a conversion has no commit that lasts; the hash of the records is kept.
HUB = HubDataset(repository="codeparrot/apps", revision="refs/convert/parquet", files="all/{split}/*.parquet")
COLUMNS = ("problem_id", "question", "solutions", "input_output", "difficulty", "starter_code")
SPLITS = ("train", "test")
DIFFICULTIES = ("introductory", "interview", "competition")
FOLDERS = ("apps", "APPS", "apps-sample")
FILES = ("question.txt", "metadata.json", "input_output.json", "solutions.json", "starter_code.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppsRecord:
    """One problem."""

    key: str
    """`APPS/SPLIT/NNNN`."""
    question: str
    difficulty: str
    starter_code: str
    """Empty for programs that read standard input."""
    tests: Callable[[], str]
    """The text of `input_output`; empty where there is none."""
    solutions: Callable[[], str]
    """The text of `solutions`; empty where there are none."""


def records(data_dir: Path | None, split: str) -> tuple[list[AppsRecord], Origin]:
    """All problems of a split, in order.

    Raises:
        UsageError: the split is unknown or not there, or a record is damaged; names it.
    """
    if split not in SPLITS:
        raise UsageError(f"apps has no split {split!r}; it has {' and '.join(SPLITS)}.")
    if data_dir is None:
        return _of_hub(split)
    folder, problems = _folders(data_dir, split)
    stamps = [(path.stat().st_size, path.stat().st_mtime_ns) for path in _files(problems)]
    found, digest = _of_folders(split, tuple(problems), tuple(stamps))
    return found, Origin(source=folder.name, revision=None, sha256=digest, records=len(found))


def _folders(data_dir: Path, split: str) -> tuple[Path, list[Path]]:
    """The folder of the benchmark, and those of the split's problems."""
    folder = next((data_dir / name for name in FOLDERS if (data_dir / name).is_dir()), None)
    if folder is None:
        raise UsageError(
            f"{data_dir}: no folder {' or '.join(FOLDERS)} in it. Check data_dir, or leave it out to load from the hub."
        )
    has_splits = any((folder / name).is_dir() for name in SPLITS)
    within = folder / split if has_splits else folder
    if not within.is_dir() or (not has_splits and split != "train"):
        there = [name for name in SPLITS if (folder / name).is_dir()] or ["train (problems directly in the folder)"]
        raise UsageError(f"apps: {folder} has no split {split!r}, only {' and '.join(there)}; set split to that.")
    problems = sorted(path for path in within.iterdir() if path.name.isdigit() and path.is_dir())
    if not problems:
        raise UsageError(f"apps: {within} holds no problems, which are folders with numbers for names (0001).")
    return folder, problems


def _files(problems: list[Path]) -> list[Path]:
    return [path / name for path in problems for name in FILES if (path / name).exists()]


@functools.lru_cache(maxsize=4)
def _of_folders(split: str, problems: tuple[Path, ...], _stamps: tuple[Any, ...]) -> tuple[list[AppsRecord], str]:
    """Records, and the hash of all files; once for every state of the files."""
    digest = hashlib.sha256()
    for path in _files(list(problems)):
        digest.update(f"{path.parent.name}/{path.name}\0".encode() + path.read_bytes())
    return [_of_folder(split, problem) for problem in problems], digest.hexdigest()


def _of_folder(split: str, folder: Path) -> AppsRecord:
    if not (folder / "question.txt").is_file():
        raise UsageError(f"{folder}: no question.txt in it. Take the folder out, or put the file there.")
    metadata = folder / "metadata.json"
    try:
        difficulty = json.loads(metadata.read_bytes())["difficulty"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f'{metadata}: must be JSON with a `difficulty`, e.g. {{"difficulty": "interview"}} '
            f"({type(error).__name__}: {error})."
        ) from error
    return _record(
        split,
        int(folder.name),
        question=_read(folder / "question.txt"),
        difficulty=difficulty,
        starter_code=_read(folder / "starter_code.py"),
        tests=functools.partial(_read, folder / "input_output.json"),
        solutions=functools.partial(_read, folder / "solutions.json"),
    )


def _read(path: Path) -> str:
    """A file's text, empty where it is missing."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error}).") from error


@functools.cache  # the hub's answer is kept on disk, and does not change while the process runs
def _of_hub(split: str) -> tuple[list[AppsRecord], Origin]:
    rows = open_hub(HUB, split, COLUMNS)
    digest = hashlib.sha256()
    found = []
    for index, row in enumerate(rows):
        digest.update(json.dumps([row[column] for column in COLUMNS], default=str).encode())
        if not all(isinstance(row[name], str) for name in ("question", "difficulty")) or row["problem_id"] is None:
            raise UsageError(f"hub dataset {HUB.repository}: record {index} of split {split} is damaged: {row!r:.200}.")
        found.append(
            _record(
                split,
                int(row["problem_id"]),
                question=row["question"],
                difficulty=row["difficulty"],
                starter_code=row["starter_code"] or "",
                tests=functools.partial(_cell, rows, index, "input_output"),
                solutions=functools.partial(_cell, rows, index, "solutions"),
            )
        )
    origin = Origin(source=HUB.repository, revision=HUB.revision, sha256=digest.hexdigest(), records=len(found))
    return found, origin


def _cell(rows: Any, index: int, column: str) -> str:
    return rows[index][column] or ""


def _record(split: str, number: int, *, difficulty: str, **fields: Any) -> AppsRecord:
    key = f"APPS/{split}/{number:04d}"
    if difficulty not in DIFFICULTIES:
        raise UsageError(f"apps: {key} has difficulty {difficulty!r}; expected one of {', '.join(DIFFICULTIES)}.")
    return AppsRecord(
        key=key,
        difficulty=difficulty,
        question=fields["question"].replace("\r\n", "\n"),
        starter_code=fields["starter_code"].replace("\r\n", "\n"),
        tests=fields["tests"],
        solutions=fields["solutions"],
    )
