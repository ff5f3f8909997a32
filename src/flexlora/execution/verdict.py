"""What goes in (`Program`) and what comes out (`Verdict`) of the execution room."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from flexlora.execution.cases import Cases


class Status(StrEnum):
    """How a program ended. The first four are MultiPL-E's; the others are reported apart and never pass."""

    OK = "OK"
    SYNTAX_ERROR = "SyntaxError"
    EXCEPTION = "Exception"
    TIMEOUT = "Timeout"
    OUT_OF_MEMORY = "OutOfMemory"
    OUTPUT_LIMIT = "OutputLimit"
    INFRASTRUCTURE_ERROR = "InfrastructureError"
    """The harness failed, not the program; `stderr` says why."""


@dataclass(frozen=True, slots=True)
class Program:
    """One whole program to run: a completion already joined with its tests, or with `cases` that test it."""

    task_id: str
    sample: int
    language: str
    source: str
    timeout_s: float | None = None
    """Wall time limit of the run in seconds; None for the language's own. Compiling has a limit of its own. With
    `cases` it is that of each."""
    stdin: str | None = None
    """What it reads from standard input, by a pipe. Such a program is judged by what it writes, so it may end where it
    likes; None gives it nothing, and where its language can tell it must be seen to come to its end."""
    cases: Cases | None = None
    """Its tests, for each of which it is run; `stdin` is theirs then."""

    @property
    def sha256(self) -> str:
        """Hash of source, input and cases, by which a resumed run knows that a result is of this very program."""
        digest = hashlib.sha256(self.source.encode("utf-8", "surrogatepass"))
        if self.stdin is not None:
            digest.update(b"\0stdin\0" + self.stdin.encode("utf-8", "surrogatepass"))
        if self.cases is not None:
            digest.update(b"\0cases\0" + self.cases.sha256.encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class TestsPassed:
    """How many of a program's cases passed."""

    __test__ = False  # no test class, whatever pytest makes of its name

    passed: int
    total: int
    first_failed: int | None
    """Number of the first case that failed, from 1; None where all passed."""
    reason: str
    """Why that one failed, in words; empty where none did."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one program."""

    task_id: str
    sample: int
    language: str
    status: Status
    passed: bool
    exit_code: int | None
    """Of the program or the failed compiler, 128 + N for signal N; None where it was killed for a limit."""
    stdout: str
    """Head and tail of what was captured, compiler included; the verdict was reached on all of it."""
    stderr: str
    wall_s: float
    """Seconds from the sandbox being ready to the program's end, compiling included."""
    cpu_s: float
    """CPU seconds of the sandbox and all that ran in it, except processes still running at the program's end."""
    cached: bool
    program_sha256: str
    tests: TestsPassed | None = None
    """Of a program with cases: how they went. The other fields are then of the first case that failed (of the first,
    where none did), the times of all."""

    def record(self) -> dict[str, Any]:
        """The line of `results.jsonl`, fields in declared order; `tests` only where there are cases."""
        fields = asdict(self) | {"status": str(self.status)}
        return {name: value for name, value in fields.items() if name != "tests" or value is not None}
