"""Test cases of a program: what each gives it to read, and what it must write.

What is expected never enters the sandbox: a program gets its input by a pipe, and its output is compared out here
(`outputs`). Cases are read when the program runs, and again where it runs again, so that a benchmark's gigabyte of
inputs is never in memory at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test of a program, which starts anew for each."""

    input: str
    """All that it can read from standard input."""
    expected: Any
    """What standard output must hold; of a call, the value that it must return, as JSON has it."""


class Cases:
    """All test cases of a program, in order. Equal ones have equal hashes."""

    def __init__(
        self, sha256: str, read: Callable[[], Sequence[Case]], *, calls: bool = False, compat: bool = False
    ) -> None:
        """Remember where they are; nothing is read yet.

        Args:
            sha256: of all that `read` gives.
            read: gives the cases, the same each time.
            calls: the last line that a program writes is the value of a call, as JSON, and is compared as such.
            compat: compare as APPS's own harness does, which is laxer; see `outputs`.
        """
        self.sha256 = hashlib.sha256(f"{sha256} {calls} {compat}".encode()).hexdigest()
        self.calls, self.compat = calls, compat
        self._of, self._read = sha256, read

    @classmethod
    def of(cls, cases: Sequence[Case], *, calls: bool = False, compat: bool = False) -> Cases:
        """Cases that are in memory."""
        written = json.dumps([[case.input, case.expected] for case in cases]).encode()
        return cls(hashlib.sha256(written).hexdigest(), lambda: cases, calls=calls, compat=compat)

    def __iter__(self) -> Iterator[Case]:
        return iter(self._read())

    def __reduce__(self) -> tuple[Any, ...]:
        """Where programs run on other machines they are sent with all their cases."""
        return _unpacked, (self._of, list(self), self.calls, self.compat)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cases) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"Cases({self.sha256[:12]})"


def _unpacked(sha256: str, cases: Sequence[Case], calls: bool, compat: bool) -> Cases:
    return Cases(sha256, lambda: cases, calls=calls, compat=compat)
