"""What a hostile program tries, and what must have become of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from string import Template

from flexlora.execution.conformance.bait import Bait
from flexlora.execution.verdict import Status

BAIT = ("marker", "secret", "folder", "port", "victim")

OK, EXCEPTION, TIMEOUT = frozenset({Status.OK}), frozenset({Status.EXCEPTION}), frozenset({Status.TIMEOUT})
OUT_OF_MEMORY, OUTPUT_LIMIT = frozenset({Status.OUT_OF_MEMORY}), frozenset({Status.OUTPUT_LIMIT})
NOT_COMPILED = frozenset({Status.SYNTAX_ERROR, Status.OUT_OF_MEMORY})
"""A compiler that runs out of memory or time on a hostile source."""
STOPPED = frozenset({Status.TIMEOUT, Status.OUT_OF_MEMORY, Status.EXCEPTION})
"""However it ends, so long as it does."""
HARM = "HARM:"
"""What a program prints, followed by what, when it got what it must not get."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """One hostile program."""

    name: str
    """Of what it tries; the same in all languages that try it."""
    language: str
    program: str
    """With `$marker`, `$secret`, `$folder`, `$port` and `$victim` for what `Bait` holds; `$$` is a dollar sign."""
    ends: Collection[Status]
    """Statuses that are right."""
    timeout_s: float = 20.0
    needs_memory_cgroup: bool = False
    """Where no cgroup limits memory, this is not promised."""

    @property
    def id(self) -> str:
        return f"{self.name}-{self.language}"

    def source(self, bait: Bait) -> str:
        return Template(self.program).substitute({name: getattr(bait, name) for name in BAIT})
