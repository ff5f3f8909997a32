"""One sandbox with a supervisor in it, which runs one program after another; the host's end of it.

The supervisor keeps all limits itself (see `supervisor`); this end sends a program and waits for the answer. Should
this process be killed, the supervisor meets the end of its socket and ends, and with it everything in the sandbox.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flexlora.execution.languages.language import MemoryLimit
from flexlora.execution.outcome import End, Outcome, Phase
from flexlora.execution.sandbox import ENVIRONMENT, PROCESSES, SCRATCH_BYTES, SCRATCH_FILES, sandbox_command

OUTPUT_BYTES = 16 << 20
"""Captured from each of standard output and standard error; more is OutputLimit."""
START_TIMEOUT_S = 60.0
"""Starting a sandbox takes 30 ms; a machine on which it takes this long is broken, not loaded."""
OVERTIME_S = 120.0
"""What the supervisor may take beyond the longest time that its program may."""
PATIENCE = 10
"""The longest that a stage may take, in its time limits; the supervisor's, too."""
RLIMITS = {MemoryLimit.ADDRESS_SPACE: "AS", MemoryLimit.DATA: "DATA"}
NO_ENVIRONMENT: dict[str, str] = {}


class Stopped(Exception):
    """The run was called off; nothing of the program is left and there is no outcome."""


class SandboxBroken(Exception):
    """The sandbox ended or did not start; says why."""


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
    environment: Mapping[str, str] = field(default_factory=dict)


class Worker:
    """A started sandbox. Use it from the thread that made it: the kernel ends the sandbox with that thread."""

    def __init__(self, python: str, binds: Mapping[str, str]) -> None:
        """Start the sandbox and wait until it is ready.

        Args:
            python: the interpreter that runs the supervisor, and Python programs.
            binds: path in the sandbox -> path of the host: what is shown beyond /usr, read-only.

        Raises:
            SandboxBroken: it does not start.
        """
        self.binds = dict(binds)
        self._closed = False
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        self._words = os.memfd_create("stderr")
        self._info = os.memfd_create("info")
        source = os.memfd_create("supervisor")
        with os.fdopen(os.dup(source), "wb") as writer:
            writer.write(_supervisor_source())
        os.lseek(source, 0, os.SEEK_SET)
        # Named program.py, as every Python program is, and -I keeps the scratch folder off the module path.
        command = sandbox_command(
            [python, "-I", "program.py"],
            binds=binds,
            info_fd=self._info,
            file=(source, "program.py"),
            starts_programs=True,
        )
        try:
            self._process = subprocess.Popen(
                command,
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=self._words,
                pass_fds=(source, self._info),
                start_new_session=True,  # Ctrl-C is for us; we decide what becomes of the sandbox
                env=NO_ENVIRONMENT,
                cwd="/",
            )
        except OSError as error:
            self._close_descriptors()
            raise SandboxBroken(str(error)) from error
        finally:
            theirs.close()
            os.close(source)
        try:
            self._receive(START_TIMEOUT_S)
        except SandboxBroken:
            self.close()
            raise

    def run(self, job: Job) -> Outcome:
        """Run one program to its end.

        Raises:
            SandboxBroken: the sandbox ended before the program did; this worker is of no more use.
            Stopped: `stop` was called.
        """
        limits = {
            "NPROC": PROCESSES,
            "CORE": 0,
            "FSIZE": SCRATCH_BYTES,
            RLIMITS[job.memory_limit]: job.memory_bytes,
        }
        stages = [(job.compile, job.compile_timeout_s)] if job.compile else []
        stages.append((job.run, job.run_timeout_s))
        request = {
            "stages": [{"argv": argv, "timeout_s": timeout_s} for argv, timeout_s in stages],
            "environment": {**ENVIRONMENT, **job.environment},
            "limits": limits,
            "files": [(name, len(content)) for name, content in job.files.items()],
            "output_bytes": OUTPUT_BYTES,
            "scratch_bytes": SCRATCH_BYTES,
            "scratch_files": SCRATCH_FILES,
        }
        self._send(request, b"".join(job.files.values()))
        answer, output = self._receive(PATIENCE * sum(timeout_s for _, timeout_s in stages) + OVERTIME_S)
        return _outcome(answer, output, compiles=job.compile is not None)

    def stop(self) -> None:
        """Call off what runs, from any thread; `run` raises Stopped."""
        with self._lock:
            if not self._closed:
                self._closed = True
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the sandbox; returns when nothing of it is left."""
        self.stop()
        try:
            self._process.wait(timeout=START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._kill()
        self._close_descriptors()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _send(self, header: dict[str, Any], body: bytes) -> None:
        text = json.dumps(header).encode()
        try:
            self._socket.sendall(struct.pack("!II", len(text), len(body)) + text + body)
        except OSError as error:
            self._raise_ended(error)

    def _receive(self, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        self._socket.settimeout(timeout_s)
        try:
            header, body = struct.unpack("!II", self._exactly(8))
            return json.loads(self._exactly(header)), self._exactly(body)
        except OSError as error:  # a timeout, too
            self._raise_ended(error)
            raise AssertionError from error

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = self._socket.recv(min(size - len(data), 1 << 20))
            if not chunk:
                raise ConnectionResetError("the sandbox ended")
            data += chunk
        return bytes(data)

    def _raise_ended(self, error: OSError) -> None:
        if self._closed:
            raise Stopped from error
        if isinstance(error, TimeoutError):
            self._kill()
            raise SandboxBroken("The sandbox gave no answer.") from error
        self._process.wait()
        words = os.pread(self._words, 1 << 12, 0).decode("utf-8", "replace").strip()
        raise SandboxBroken(words or f"The sandbox ended ({self._process.returncode}).") from error

    def _kill(self) -> None:
        """The sandbox's init, where we know it: bubblewrap and everything inside then end."""
        with suppress(OSError, ValueError, KeyError):
            os.kill(json.loads(os.pread(self._info, 1 << 12, 0))["child-pid"], signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def _close_descriptors(self) -> None:
        self._socket.close()
        os.close(self._words)
        os.close(self._info)


@cache
def _supervisor_source() -> bytes:
    return Path(__file__).with_name("supervisor.py").read_bytes()


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
