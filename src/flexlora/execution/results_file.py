"""Reading `results.jsonl`: of every result what resuming and scoring need, of one at a time the whole record.

A results file of 20,000 programs can hold hundreds of megabytes of output, so that is left in the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import IO, Any

from flexlora.errors import UsageError
from flexlora.execution.how import How
from flexlora.execution.sandbox import Sandbox
from flexlora.execution.verdict import Status
from flexlora.files import Record, iterate_appended

MARKS = ("rule", "sandbox")
USUAL: Mapping[str, str] = {}
Key = tuple[str, int]
"""(task_id, sample): what identifies a program within a file."""


def marks_of(how: How) -> dict[str, str]:
    """What a result says of how it was reached, where that is not the usual way: `rule` compat, `sandbox` none."""
    marks = {"rule": "compat"} if how.get("compat") else {}
    return marks | ({"sandbox": "none"} if how.get("sandbox") == Sandbox.NONE else {})


@dataclass(frozen=True, slots=True)
class Done:
    """What is kept in memory of one result."""

    passed: bool
    status: str
    program_sha256: str | None
    marks: Mapping[str, str]
    """How it was reached, where not in the usual way; see `marks_of`."""
    offset: int
    """Where its line begins in the file."""
    share: float | None = None
    """Of its test cases, how many passed; None where it has none."""


def recorded(path: Path) -> dict[Key, Done]:
    """The results in a file, by task and sample; a missing file has none.

    Raises:
        UsageError: the file cannot be read, or a line is no result; names the line.
    """
    results: dict[Key, Done] = {}
    for line, (offset, record) in enumerate(iterate_appended(path), start=1):
        task_id, sample, passed, status = (record.get(field) for field in ("task_id", "sample", "passed", "status"))
        if not (isinstance(task_id, str) and type(sample) is int and type(passed) is bool and status in list(Status)):
            raise UsageError(
                f"{path}, line {line}: not a result (task_id, sample, status, passed); the file was left as it is. "
                "Choose another --output."
            )
        sha256, marks = record.get("program_sha256"), {name: record[name] for name in MARKS if name in record} or USUAL
        share = share_passed(record)
        results[intern(task_id), sample] = Done(passed, intern(str(status)), sha256, marks, offset, share)
    return results


def share_passed(record: Mapping[str, Any]) -> float | None:
    """Which share of its test cases a program passed, by its result; None where it has none."""
    tests = record.get("tests")
    if not isinstance(tests, Mapping) or not (isinstance(tests.get("total"), int) and tests["total"] > 0):
        return None
    return float(tests["passed"] / tests["total"])


@dataclass(frozen=True, slots=True)
class Results:
    """A results file that is open for reading."""

    done: Mapping[Key, Done]
    file: IO[bytes]

    def record(self, key: Key) -> Record:
        """The whole record of one result."""
        self.file.seek(self.done[key].offset)
        record: dict[str, Any] = json.loads(self.file.readline())
        return record


@contextmanager
def open_results(path: Path) -> Iterator[Results]:
    """The results in `path`, whole records included."""
    done = recorded(path)
    with path.open("rb") as file:
        yield Results(done, file)
