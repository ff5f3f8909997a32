"""CodeSearchNet (Husain et al. 2019, arXiv 1909.09436): two million documented functions in six languages.

A pair is the documentation as a comment of the language, then the function without it. Records come in two layouts:
the hub's (`func_code_string`, ...) and that of the original files (`code`, ...), which are the same data, record for
record; files may hold either. Under `data_dir` they are any `.jsonl` or `.jsonl.gz` below `codesearchnet/LANG/`, LANG
being ours (`py`) or theirs (`python`), as the original archives unpack there.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from flexlora.data.family import Family
from flexlora.data.source import HubDataset, Origin, open_hub
from flexlora.data.types import Example
from flexlora.errors import UsageError
from flexlora.files import read_jsonl

REPOSITORY = "code-search-net/code_search_net"
REVISION = "bd0cf261e357a3eb5c8fba490d23ec1a1cd59555"
"""Parquet files; earlier ones are a loading script, which `datasets` no longer runs."""
LANGUAGES = {"py": "python", "java": "java", "go": "go", "php": "php", "js": "javascript", "rb": "ruby"}
"""Our code -> the name in the data."""
SPLITS = {"train": "train", "validation": "valid", "test": "test"}
"""Our name -> the name in the data."""

# What a pair is made from: documentation, code, and what names the function.
HUB_FIELDS = (
    "func_documentation_string",
    "func_code_string",
    "repository_name",
    "func_path_in_repository",
    "func_name",
)
ORIGINAL_FIELDS = ("docstring", "code", "repo", "path", "func_name")
SPLIT_FIELDS = ("split_name", "partition")

OPENING = re.compile(r"(?<=[:\n])[ \t]*[rRuUbB]{0,2}([\"']+)\s*$")
"""What stands before a docstring's words: quotes, at the beginning of a statement."""

Fields = tuple[str, str, str, str, str]


FAMILY = Family(
    name="codesearchnet/LANG",
    tasks=tuple(f"codesearchnet/{language}" for language in LANGUAGES),
    load=None,
    instead="train on it (data), or measure it (likelihood)",
    languages=tuple(LANGUAGES),
    size="2,279 to 28,391 (test)",
    styles=("documentation",),
    splits=("test", "validation", "train"),
    prompt="the documentation as a comment",
    stops=(),
    scored="nats per token and bits per character of the function",
    source=REPOSITORY,
    revision=REVISION,
    file="codesearchnet/LANG/*.jsonl",
    licence="of each repository",
    state="format-tested",
)


def known() -> tuple[str, ...]:
    """The names of all its datasets."""
    return tuple(f"codesearchnet/{language}" for language in LANGUAGES)


def examples(data_dir: Path | None, name: str, split: str, limit: int | None = None) -> tuple[list[Example], Origin]:
    """The pairs of `codesearchnet/LANG`, all or the first so many.

    Raises:
        UsageError: there is no such language or split, or the data cannot be loaded.
    """
    if name not in known():
        raise UsageError(f"unknown dataset {name!r}; there are {', '.join(known())}.")
    if split not in SPLITS:
        raise UsageError(f"{name} has no split {split!r}; it has {', '.join(SPLITS)}.")
    pairs, origin = _examples(data_dir, name.removeprefix("codesearchnet/"), split, limit)
    return list(pairs), origin


@functools.cache  # every stage asks for it, and the files are large
def _examples(
    data_dir: Path | None, language: str, split: str, limit: int | None
) -> tuple[tuple[Example, ...], Origin]:
    if data_dir is None:
        hub = HubDataset(repository=REPOSITORY, config=LANGUAGES[language], revision=REVISION)
        # The other columns are the same texts in tokens, several times as large.
        loaded = open_hub(hub, split, HUB_FIELDS).select_columns(list(HUB_FIELDS))
        records = (loaded if limit is None else loaded.select(range(min(limit, len(loaded))))).to_list()
        found = [_fields(record, f"record {number} of {REPOSITORY}") for number, record in enumerate(records, start=1)]
        origin = Origin(source=REPOSITORY, revision=REVISION, sha256=_digest(found), records=len(found))
    else:
        found, origin = _from_files(data_dir, language, split, limit)
    return tuple(_pairs(language, found)), origin


def _digest(found: Iterable[Fields]) -> str:
    digest = hashlib.sha256()
    for fields in found:
        digest.update(json.dumps(fields).encode())
    return digest.hexdigest()


def _pairs(language: str, found: Iterable[Fields]) -> Iterator[Example]:
    seen: Counter[str] = Counter()
    for documentation, code, repository, path, function in found:
        digest = hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        key = f"{repository}/{path}#{function}@{digest}"
        seen[key] += 1
        yield Example(
            source=f"codesearchnet/{language}",
            key=key if seen[key] == 1 else f"{key} ({seen[key]})",  # a file may hold a function twice
            prompt=comment(language, documentation),
            completion=function_alone(language, code, documentation),
        )


def comment(language: str, documentation: str) -> str:
    """Documentation as a comment of the language before a function, with a newline at its end."""
    text = inspect.cleandoc(documentation.replace("\r\n", "\n"))
    if language == "py":
        return '"""\n' + text.replace('"""', "'''") + '\n"""\n'
    if language in ("go", "rb"):
        mark = "//" if language == "go" else "#"
        return "".join(f"{mark} {line}".rstrip() + "\n" for line in text.split("\n"))
    lines = text.replace("*/", "* /").split("\n")
    return "/**\n" + "".join(f" * {line}".rstrip() + "\n" for line in lines) + " */\n"


def function_alone(language: str, code: str, documentation: str) -> str:
    """The function as published; in Python without its docstring, which would give away the prompt's words again."""
    code = code.replace("\r\n", "\n")
    if language == "py":
        code = _without_docstring(code, documentation.replace("\r\n", "\n"))
    return code.rstrip() + "\n"


def _without_docstring(code: str, documentation: str) -> str:
    """Cut out the literal that holds the documentation, which stands there word for word but for quotes at its ends.

    Not by parsing, as much of the code is of Python 2.
    """
    at = code.find(documentation) if documentation else -1
    while at >= 0:
        opening = OPENING.search(code[:at])
        quotes = opening[1] if opening else ""
        delimiter = quotes[:3] if quotes[:3] in ('"""', "'''") else quotes[:1]
        end = code.find(delimiter, at + len(documentation))
        if opening and end >= 0:
            return code[: opening.start()] + code[end + len(delimiter) :].lstrip(" \t").removeprefix("\n")
        at = code.find(documentation, at + 1)
    return code


def _from_files(data_dir: Path, language: str, split: str, limit: int | None) -> tuple[list[Fields], Origin]:
    folder = _folder(data_dir, language)
    found: list[Fields] = []
    digest = hashlib.sha256()
    for file, records in _files(folder, split):
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
        for where, record in records:
            if len(found) == limit:
                break
            found.append(_fields(record, where))
        if len(found) == limit:
            break
    if not found:
        raise UsageError(f"{folder}: its files hold no function of the split {split!r}.")
    source = folder.relative_to(data_dir).as_posix()
    return found, Origin(source=source, revision=None, sha256=digest.hexdigest(), records=len(found))


def _folder(data_dir: Path, language: str) -> Path:
    names = dict.fromkeys((LANGUAGES[language], language))
    there = [folder for name in names if (folder := data_dir / "codesearchnet" / name).is_dir()]
    if not there:
        raise UsageError(
            f"{data_dir / 'codesearchnet' / LANGUAGES[language]}: no such folder of data files. Check data_dir, or "
            "leave it out to load from the hub."
        )
    if len(there) > 1:
        raise UsageError(f"{there[0]} and {there[1]} are both there, and hold the same language; keep one.")
    return there[0]


def _files(folder: Path, split: str) -> Iterator[tuple[Path, Iterator[tuple[str, dict[str, Any]]]]]:
    """Files that may hold the split, in the order of their numbers, each with its records and where those stand.

    Where a path names a split, that counts; the records of other files say it themselves.
    """
    files = [file for file in folder.rglob("*") if file.is_file() and file.name.endswith((".jsonl", ".jsonl.gz"))]
    if not files:
        raise UsageError(f"{folder}: holds no .jsonl or .jsonl.gz file.")
    for file in sorted(files, key=lambda file: _natural(file.relative_to(folder).as_posix())):
        named = _split_in(file.relative_to(folder).as_posix())
        if named in (None, split):
            yield file, _records(file, None if named else split)


def _records(file: Path, split: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """All records, or those that say that they are of a split."""
    for number, record in read_jsonl(file):
        where = f"{file}, line {number}"
        if split is not None:
            said = next((record[field] for field in SPLIT_FIELDS if field in record), None)
            if said is None:
                raise UsageError(
                    f"{where}: says no split ({' or '.join(SPLIT_FIELDS)}), and neither does the path; name the file "
                    "or its folder train, valid or test."
                )
            if said not in (split, SPLITS[split]):
                continue
        yield where, record


def _split_in(path: str) -> str | None:
    words = re.split(r"[^a-z]+", path.lower())
    named = [split for split, theirs in SPLITS.items() if split in words or theirs in words]
    if len(named) > 1:
        raise UsageError(f"codesearchnet: the path {path} names two splits, {' and '.join(named)}; name it by one.")
    return named[0] if named else None


def _natural(path: str) -> list[tuple[int, str]]:
    """`java_train_2` before `java_train_10`."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path)]


def _fields(record: dict[str, Any], where: str) -> Fields:
    """Documentation, code, repository, path and name of a function, in either layout."""
    names = HUB_FIELDS if "func_code_string" in record else ORIGINAL_FIELDS
    missing = [name for name in names if not isinstance(record.get(name), str)]
    if missing:
        raise UsageError(
            f"{where}: no text in {missing[0]!r}; a record has {', '.join(ORIGINAL_FIELDS)}, or the hub's "
            f"{', '.join(HUB_FIELDS)}."
        )
    documentation, code, repository, path, function = (record[name] for name in names)
    if not code.strip():
        raise UsageError(f"{where}: {names[1]!r} is empty.")
    return documentation, code, repository, path, function
