"""One sandbox with a supervisor in it, which runs one program after another; the host's end of it.

The supervisor keeps all limits itself (see `supervisor`); this end sends a program and waits for the answer.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from flexlora.errors import UsageError
from flexlora.execution.languages import toolchain
from flexlora.execution.languages.language import MemoryLimit
from flexlora.execution.outcome import End, Outcome, Phase
from flexlora.execution.sandbox import ENVIRONMENT, OPEN_FILES, PROCESSES, REMEDY, SCRATCH_BYTES, SCRATCH_FILES, version
from flexlora.execution.sandboxed import START_TIMEOUT_S, SandboxBroken, Sandboxed
from flexlora.execution.seccomp import syscall_filter

OUTPUT_BYTES = 16 << 20
"""Captured from each of standard output and standard error; more is OutputLimit."""
PATIENCE = 10
"""The longest that a stage may take, in its time limits; the supervisor's, too."""
OVERTIME_S = 120.0
"""What the supervisor may take beyond the longest time that its program may."""
FOLDER = "/flexlora"
INSIDE = Path(__file__).with_name("inside")
RLIMITS = {MemoryLimit.ADDRESS_SPACE: "AS", MemoryLimit.DATA: "DATA"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker is asked to run."""

    files: Mapping[str, bytes]
    """Path in the scratch folder -> content."""
    compile: Sequence[str] | None
    run: Sequence[str] | None
    """None: `program.py`, in a fork of the Python that is running already."""
    compile_timeout_s: float
    run_timeout_s: float
    memory_bytes: int
    memory_limit: MemoryLimit
    proves_end: bool
    """The run command proves that the program came to its end (`inside/python_main.py`)."""
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes | None = None
    """What the run reads, by a pipe; None: nothing. The compiler reads nothing in any case."""


class Worker:
    """A sandbox that runs programs; use it from the thread that made it."""

    def __init__(self, python: str, binds: Mapping[str, str], memory_bytes: int) -> None:
        """Start the sandbox and wait until it is ready.

        Args:
            python: the interpreter that runs the supervisor, and Python programs.
            memory_bytes: of the first program.
            binds: path in the sandbox -> path of the host: what is shown beyond /usr, read-only.

        Raises:
            SandboxBroken: it does not start.
        """
        argv = [python, "-I", f"{FOLDER}/supervisor.py"]
        self.sandbox = Sandboxed(argv, binds, memory_bytes=memory_bytes, files=_files(), starts_programs=True)
        try:
            self._answer(START_TIMEOUT_S)
        except SandboxBroken:
            self.sandbox.close()
            raise

    def run(self, job: Job) -> Outcome:
        """Run one program to its end; returns when its last process is gone.

        Raises:
            SandboxBroken: the sandbox ended before the program did; this worker is of no more use. It is OutOfMemory
                where the program used up the memory of all.
            Stopped: the sandbox was stopped.
        """
        stages: list[tuple[Sequence[str] | None, float]] = [(job.compile, job.compile_timeout_s)] if job.compile else []
        stages.append((job.run, job.run_timeout_s))
        request = {
            "stages": [
                {"argv": argv, "timeout_s": timeout_s, "proves_end": job.proves_end and i == len(stages) - 1}
                for i, (argv, timeout_s) in enumerate(stages)
            ],
            "environment": {**ENVIRONMENT, **job.environment},
            "limits": {
                "NPROC": PROCESSES,
                "NOFILE": OPEN_FILES,
                "CORE": 0,
                "FSIZE": SCRATCH_BYTES,
                RLIMITS[job.memory_limit]: job.memory_bytes,
            },
            "files": [(name, len(content)) for name, content in job.files.items()],
            "stdin_bytes": None if job.stdin is None else len(job.stdin),
            "output_bytes": OUTPUT_BYTES,
            "scratch_bytes": SCRATCH_BYTES,
            "scratch_files": SCRATCH_FILES,
        }
        try:
            self.sandbox.limit_memory(job.memory_bytes)
        except OSError as error:
            raise SandboxBroken(f"The memory limit cannot be set: {error}") from error
        header, size = json.dumps(request).encode(), sum(map(len, job.files.values())) + len(job.stdin or b"")
        self.sandbox.send(struct.pack("!II", len(header), size) + header + b"".join(job.files.values()))
        self.sandbox.send(job.stdin or b"")
        answer, output = self._answer(PATIENCE * sum(timeout_s for _, timeout_s in stages) + OVERTIME_S)
        killed = self.sandbox.oom_killed()  # asked after every program, so that it is about this one
        outcome = _outcome(answer, output, compiles=job.compile is not None)
        finished = answer["finished"] if job.proves_end else None
        return replace(outcome, finished=finished, oom_killed=bool(killed and outcome.exit_code))

    def _answer(self, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        self.sandbox.wait_at_most(timeout_s)
        header, body = struct.unpack("!II", self.sandbox.receive(8))
        return json.loads(self.sandbox.receive(header)), self.sandbox.receive(body)


@cache
def probe() -> str:
    """Start a sandbox that could run programs; returns bubblewrap's version.

    Raises:
        UsageError: it does not work; holds bubblewrap's own words and the remedy.
    """
    python = toolchain("py")
    try:
        Worker(python.tools["python3"], {path: path for path in python.binds}, 1 << 30).sandbox.close()
    except SandboxBroken as error:
        raise UsageError(f"The sandbox does not start ({version()}): {error}. {REMEDY}") from error
    return version()


@cache
def _files() -> dict[str, bytes]:
    """What lies in the sandbox: the supervisor, what starts programs, and the system call filter of programs."""
    inside = {f"{FOLDER}/{file.name}": file.read_bytes() for file in INSIDE.iterdir() if file.is_file()}
    return inside | {f"{FOLDER}/filter": syscall_filter(starts_programs=False)}


def _outcome(answer: dict[str, Any], output: bytes, *, compiles: bool) -> Outcome:
    parts = []
    for size in answer["sizes"]:
        parts.append(output[:size].decode("utf-8", "replace"))
        output = output[size:]
    stage = answer["stage"]
    phase = Phase.SETUP if stage < 0 else Phase.COMPILE if compiles and stage == 0 else Phase.RUN
    end = {"exit": End.EXIT, "timeout": End.TIMEOUT, "output": End.OUTPUT_LIMIT, "broken": End.BROKEN}[answer["end"]]
    last = max(stage, 0)
    stdout, stderr = parts[2 * last : 2 * last + 2]
    compiler = parts[:2] if phase is Phase.RUN and compiles else ["", ""]
    return Outcome(
        phase=phase,
        end=end,
        exit_code=answer["code"],
        stdout=stdout,
        stderr=f"{stderr}{answer['error']}" if end is End.BROKEN else stderr,
        compiler_stdout=compiler[0],
        compiler_stderr=compiler[1],
        wall_s=answer["wall_s"],
        cpu_s=answer["cpu_s"],
    )
