"""What the execution room knows about a language: one `Language` a file, nothing about it anywhere else."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from flexlora.errors import UsageError
from flexlora.execution.outcome import Outcome
from flexlora.execution.verdict import Status

TOOL_PATH = "/usr/local/bin:/usr/bin:/bin"
"""PATH inside the sandbox; tools outside of it cannot be seen there."""


MOLD = ("-fuse-ld=mold", "-Wl,--no-fork,--thread-count=1")
"""What makes a C compiler link with mold, on one core and without leaving a process behind."""
VERSION = re.compile(r"\d+(?:\.\d+)+")


class ToolchainMissing(UsageError):
    """A language's tool is not installed; the message names it."""


class MemoryLimit(StrEnum):
    """The resource limit that holds a language to its memory; each of its processes has the limit for itself."""

    ADDRESS_SPACE = "v"
    """RLIMIT_AS: everything mapped. The tighter one, but the JVM, node and Go reserve far more than they use."""
    DATA = "d"
    """RLIMIT_DATA: private writable memory; memory shared between processes escapes it."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """What a probe found."""

    version: str
    tools: Mapping[str, str]
    """Tool name -> absolute path, valid inside the sandbox."""
    binds: tuple[str, ...] = ()
    """Files and folders outside /usr that the tools need, bound read-only at their own path."""


Command = Callable[[Toolchain, str], list[str]]
"""(toolchain, source) -> command line, run in the scratch folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """How a language is made fast: what is built once for all programs, and commands that use it.

    It must never change a verdict; whatever it cannot do exactly it leaves to the plain commands.
    """

    sources: tuple[str, ...] = ()
    """Files that the build needs, by their path from this folder."""
    build: Callable[[Toolchain], list[list[str]]] | None = None
    """Commands that fill the folder `warm_folder(code)`, where the sources are; run once, in a sandbox."""
    compiler: Callable[[Toolchain], list[str]] | None = None
    """A compiler that stays, in a sandbox of its own; see `compilers` for what it is asked and answers."""
    compile: Callable[[Toolchain, str], list[str] | None] | None = None
    """In place of the plain command; its None: use the plain one for this program."""
    run: Callable[[Toolchain, str], list[str] | None] | None = None
    """In place of the plain command; its None: Python, in a fork of an interpreter that runs already."""


def warm_folder(code: str) -> str:
    """Where in the sandbox lies what was built for a language."""
    return f"/warm/{code}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One language: how its programs are named, compiled, run and judged."""

    code: str
    """MultiPL-E's code (and `py`)."""
    name: str
    extension: str
    probe: Callable[[], Toolchain]
    """Finds the toolchain; raises ToolchainMissing."""
    install: str
    """What installs the toolchain on Debian: a command, or words where there is none."""
    stem: Callable[[str], str] = lambda _: "program"
    """Source -> name of the source file without its extension."""
    compile: Command | None = None
    """None: there is nothing to compile."""
    run: Command
    proves_end: bool = False
    """`run` starts the program so that it proves to have come to its end (`inside/python_main.py`)."""
    warm: Warm | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that compiling and running need beyond those that every program has."""
    compile_timeout_s: float = 15.0
    run_timeout_s: float = 15.0
    memory_bytes: int
    memory_limit: MemoryLimit
    memory_error: re.Pattern[str]
    """Found in the standard error of a failed program that ran out of memory."""
    judge: Callable[[Outcome], Status]
    """Outcome of a program that ran to its own end -> status. Failed compiles and limits are judged before."""
    judge_compat: Callable[[Outcome], Status] | None = None
    """The rule of the harness that published figures come from, where it is laxer than `judge`."""
    known_good: str
    known_bad: str
    """Compiles, runs, and must not pass."""
    verified: bool = True
    """False: the commands follow the public harness but were never run by us, for want of the toolchain."""

    def file_name(self, source: str) -> str:
        return f"{self.stem(source)}.{self.extension}"


def by_exit_code(outcome: Outcome) -> Status:
    """Exit code 0 is OK, anything else an Exception."""
    return Status.OK if outcome.exit_code == 0 else Status.EXCEPTION


def syntax_error_if(says: str, stream: Callable[[Outcome], str]) -> Callable[[Outcome], Status]:
    """The rule of interpreters that compile what they run: a failed program that says so did not compile.

    Args:
        says: text by which the interpreter tells.
        stream: where it stands, e.g. `attrgetter("stderr")`.
    """

    def judge(outcome: Outcome) -> Status:
        if outcome.exit_code != 0 and says in stream(outcome):
            return Status.SYNTAX_ERROR
        return by_exit_code(outcome)

    return judge


def by_silence(outcome: Outcome) -> Status:
    """Exit code 0 and nothing on standard error is OK, anything else an Exception."""
    return by_exit_code(outcome) if not outcome.stderr else Status.EXCEPTION


def inside(name: str) -> str:
    """Path in the sandbox of a file of the folder `inside`."""
    return f"/flexlora/{name}"


def find_tool(*names: str) -> str:
    """Absolute path of a tool, the first of these names that the sandbox sees.

    Raises:
        ToolchainMissing: none is on the sandbox's PATH.
    """
    for name in names:
        if path := shutil.which(name, path=TOOL_PATH):
            return path
    raise ToolchainMissing(f"`{'` or `'.join(names)}` is not in {TOOL_PATH.replace(':', ', ')}")


def fast_linker() -> dict[str, str]:
    """mold, if it is installed, to add to a toolchain's tools."""
    path = shutil.which("mold", path=TOOL_PATH)
    return {"mold": path} if path else {}


def tool_version(*command: str) -> str:
    """Tool and version, e.g. `javac 17.0.15`, from a command that prints a version in any manner.

    Raises:
        ToolchainMissing: the tool is there but does not run, or lacks the library that the command loads.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, stdin=subprocess.DEVNULL)
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip() or error.stdout.strip())[-300:]
        raise ToolchainMissing(f"`{shlex.join(command)}` failed ({said})") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolchainMissing(f"`{shlex.join(command)}` failed ({error})") from error
    said = (done.stdout + done.stderr).strip()
    found = VERSION.search(said)
    return f"{name} {found[0] if found else said.partition(chr(10))[0]}"
