"""How one sandboxed program ended, before anyone judges it: the supervisor writes it, the languages read it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Phase(Enum):
    """Where a program was when it ended."""

    SETUP = auto()
    COMPILE = auto()
    RUN = auto()


class End(Enum):
    """Why a program ended."""

    EXIT = auto()
    TIMEOUT = auto()
    OUTPUT_LIMIT = auto()
    BROKEN = auto()
    """The sandbox failed; `stderr` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The facts about one program's end. Text is complete, not shortened."""

    phase: Phase
    end: End
    exit_code: int | None
    """None where the program was killed for a limit; 128 + N where signal N ended it."""
    stdout: str
    """What the last phase wrote; `compiler_output` holds what the compiler wrote before a run."""
    stderr: str
    compiler_stdout: str = ""
    compiler_stderr: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    oom_killed: bool = False
    """EXIT only: failed as the kernel killed a process of it that used up the memory."""
    finished: bool | None = None
    """Whether it proved to have come to its end; None where its language cannot tell."""
