"""Runs programs one after another, each as its mode says: on what is warm already, or cold."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from enum import StrEnum
from pathlib import Path

from flexlora.execution.languages import Language, Toolchain, get_language, toolchain
from flexlora.execution.outcome import End, Outcome, Phase
from flexlora.execution.verdict import Program
from flexlora.execution.worker import Job, SandboxBroken, Stopped, Worker


class Mode(StrEnum):
    """How a program is started. The verdict is the same; the milliseconds are not."""

    WARM = "warm"
    """Compilers that stay, and Python programs in a fork of a running interpreter."""
    FRESH = "fresh"
    """As warm, but each Python program in an interpreter of its own."""
    COLD = "cold"
    """A sandbox of its own for each program, and the plain commands."""


class Runner:
    """What one thread needs to run programs; use it from that thread, except for `stop`."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._worker: Worker | None = None
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, program: Program) -> Outcome:
        """Compile and run one program; returns when its last process is gone.

        Raises:
            Stopped: `stop` was called.
        """
        language = get_language(program.language)
        before = _oom_kills()
        try:
            outcome = self._run(language, toolchain(program.language), program)
        except SandboxBroken as error:
            self._drop()
            return Outcome(phase=Phase.SETUP, end=End.BROKEN, exit_code=None, stdout="", stderr=str(error))
        if outcome.exit_code == 128 + signal.SIGKILL and _oom_kills() > before:
            return dataclasses.replace(outcome, oom_killed=True)
        return outcome

    def stop(self) -> None:
        """Call off what runs, from any thread, and refuse what comes."""
        with self._lock:
            self._stopped = True
            if self._worker is not None:
                self._worker.stop()

    def close(self) -> None:
        """End the sandboxes; returns when nothing is left."""
        self._drop()

    def _run(self, language: Language, tools: Toolchain, program: Program) -> Outcome:
        try:
            return self._ready(tools).run(_job(language, tools, program, self._mode))
        finally:
            if self._mode is Mode.COLD:
                self._drop()

    def _ready(self, tools: Toolchain) -> Worker:
        """A worker whose sandbox shows what these tools need."""
        python = toolchain("py")
        binds = {folder: folder for folder in (*python.binds, *tools.binds)}
        if self._worker is not None and not binds.items() <= self._worker.binds.items():
            binds |= self._worker.binds
            self._drop()
        if self._worker is None:
            worker = Worker(python.tools["python3"], binds)
            with self._lock:
                self._worker = worker
                if self._stopped:
                    worker.stop()
        return self._worker

    def _drop(self) -> None:
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()


def _job(language: Language, tools: Toolchain, program: Program, mode: Mode) -> Job:
    source = program.source
    compile_command = language.compile(tools, source) if language.compile else None
    run_command: list[str] | None = language.run(tools, source)
    return Job(
        files={language.file_name(source): source.encode("utf-8", "surrogatepass")},
        compile=compile_command,
        run=run_command,
        compile_timeout_s=language.compile_timeout_s,
        run_timeout_s=program.timeout_s or language.run_timeout_s,
        memory_bytes=language.memory_bytes,
        memory_limit=language.memory_limit,
        environment=language.environment,
    )


def _oom_kills() -> int:
    """How many processes the kernel's out-of-memory killer has ended on this machine."""
    try:
        _, _, rest = Path("/proc/vmstat").read_bytes().partition(b"\noom_kill ")
    except OSError:
        return 0
    return int(rest.split(maxsplit=1)[0]) if rest else 0
