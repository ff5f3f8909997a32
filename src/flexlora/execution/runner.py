"""Runs programs one after another, each as its mode says: on what is warm already, or cold."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from flexlora.execution.bare import Bare
from flexlora.execution.choice import Choice
from flexlora.execution.compilers import Compiled, Compiler
from flexlora.execution.languages import Language, Toolchain, get_language, toolchain
from flexlora.execution.outcome import End, Outcome, Phase
from flexlora.execution.sandbox import Sandbox
from flexlora.execution.sandboxed import OutOfMemory, SandboxBroken, Sandboxed
from flexlora.execution.verdict import Program
from flexlora.execution.warm import warm_binds
from flexlora.execution.worker import Job, Worker

SIGKILLED = 128 + signal.SIGKILL


class Mode(Choice):
    """How a program is started. The verdict is the same; the milliseconds are not."""

    WARM = "warm"
    """Compilers that stay, and Python programs in a fork of a running interpreter."""
    FRESH = "fresh"
    """As warm, but each Python program in an interpreter of its own."""
    COLD = "cold"
    """A sandbox of its own for each program, and the plain commands."""


class Runner:
    """What one thread needs to run programs; use it from that thread, except for `stop`."""

    def __init__(self, mode: Mode, sandbox: Sandbox = Sandbox.BUBBLEWRAP) -> None:
        self._mode = mode
        self._bare = Bare() if sandbox is Sandbox.NONE else None
        self._worker: Worker | None = None
        self._compilers: dict[str, Compiler] = {}
        self._lock = threading.Lock()
        self._sandboxes: set[Sandboxed] = set()
        self._stopped = False

    def run(self, program: Program) -> Outcome:
        """Compile and run one program; returns when its last process is gone.

        Raises:
            Stopped: `stop` was called.
            UsageError: what warm starts need cannot be built.
        """
        language, tools = get_language(program.language), toolchain(program.language)
        before = oom_kills_of_the_machine()
        try:
            outcome = self._run_cold(language, tools, program) if self._is_cold(language) else (
                self._run_warm(language, tools, program)
            )  # fmt: skip
        except OutOfMemory:
            self._drop_worker()
            return Outcome(phase=Phase.RUN, end=End.EXIT, exit_code=SIGKILLED, stdout="", stderr="", oom_killed=True)
        except SandboxBroken as error:
            self._drop_worker()
            return Outcome(phase=Phase.SETUP, end=End.BROKEN, exit_code=None, stdout="", stderr=str(error))
        if program.stdin is not None:
            outcome = dataclasses.replace(outcome, finished=None)  # judged by its output, wherever it ended
        if outcome.exit_code == SIGKILLED and oom_kills_of_the_machine() > before:
            return dataclasses.replace(outcome, oom_killed=True)
        return outcome

    def stop(self) -> None:
        """Call off what runs, from any thread, and refuse what comes."""
        with self._lock:
            self._stopped = True
            for sandbox in self._sandboxes:
                sandbox.stop()
        if self._bare is not None:
            self._bare.stop()

    def close(self) -> None:
        """End the sandboxes; returns when nothing is left."""
        self._drop_worker()
        for code in list(self._compilers):
            self._end(self._compilers.pop(code).sandbox)

    def _is_cold(self, language: Language) -> bool:
        return self._mode is Mode.COLD or language.warm is None or self._bare is not None

    def _run_cold(self, language: Language, tools: Toolchain, program: Program) -> Outcome:
        job = job_of(language, program, _files(language, program), _plain_compile(language, tools, program),
                   language.run(tools, program.source))  # fmt: skip
        if self._bare is not None:
            return self._bare.run(job)
        try:
            return self._ready(tools, {}, job.memory_bytes).run(job)
        finally:
            if self._mode is Mode.COLD:
                self._drop_worker()

    def _run_warm(self, language: Language, tools: Toolchain, program: Program) -> Outcome:
        warm, source = language.warm, program.source
        assert warm is not None
        binds = warm_binds(language.code)
        run: list[str] | None = language.run(tools, source)
        if warm.run is not None:
            run = warm.run(tools, source) or (run if self._mode is Mode.FRESH else None)
        started = time.monotonic()
        if warm.compiler is not None and (compiled := self._compile(language, tools, program, binds)):
            return self._run_compiled(language, tools, program, binds, run, compiled, time.monotonic() - started)
        compile_command = (warm.compile and warm.compile(tools, source)) or _plain_compile(language, tools, program)
        job = job_of(language, program, _files(language, program), compile_command, run)
        return self._ready(tools, binds, job.memory_bytes).run(job)

    def _run_compiled(
        self,
        language: Language,
        tools: Toolchain,
        program: Program,
        binds: Mapping[str, str],
        run: list[str] | None,
        compiled: Compiled,
        wall_s: float,
    ) -> Outcome:
        if compiled.exit_code != 0:
            outcome = Outcome(
                phase=Phase.COMPILE, end=End.EXIT, exit_code=compiled.exit_code, stdout="", stderr=compiled.words
            )
        else:
            job = job_of(language, program, compiled.files, None, run)
            outcome = self._ready(tools, binds, job.memory_bytes).run(job)
            outcome = dataclasses.replace(outcome, compiler_stderr=compiled.words)
        return dataclasses.replace(outcome, wall_s=outcome.wall_s + wall_s, cpu_s=outcome.cpu_s + compiled.cpu_s)

    def _compile(
        self, language: Language, tools: Toolchain, program: Program, binds: Mapping[str, str]
    ) -> Compiled | None:
        """By the resident compiler; None: the plain command has to do it."""
        assert language.warm is not None
        assert language.warm.compiler is not None
        ((name, source),) = _files(language, program).items()
        try:
            if language.code not in self._compilers:
                shown = {path: path for path in tools.binds} | dict(binds)
                compiler = Compiler(language.warm.compiler(tools), shown)
                self._begin(compiler.sandbox)
                self._compilers[language.code] = compiler
            return self._compilers[language.code].compile(name, source, language.compile_timeout_s)
        except SandboxBroken:
            if language.code in self._compilers:
                self._end(self._compilers.pop(language.code).sandbox)
            return None

    def _ready(self, tools: Toolchain, more_binds: Mapping[str, str], memory_bytes: int) -> Worker:
        """A worker whose sandbox shows what these tools need."""
        python = toolchain("py")
        binds = {path: path for path in (*python.binds, *tools.binds)} | dict(more_binds)
        if self._worker is not None and not self._worker.sandbox.is_as_new():
            self._drop_worker()
        if self._worker is not None and not binds.items() <= self._worker.sandbox.binds.items():
            binds |= self._worker.sandbox.binds
            self._drop_worker()
        if self._worker is None:
            worker = Worker(python.tools["python3"], binds, memory_bytes)
            self._begin(worker.sandbox)
            self._worker = worker
        return self._worker

    def _drop_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            self._end(worker.sandbox)

    def _begin(self, sandbox: Sandboxed) -> None:
        with self._lock:
            self._sandboxes.add(sandbox)
            if self._stopped:
                sandbox.stop()

    def _end(self, sandbox: Sandboxed) -> None:
        with self._lock:
            self._sandboxes.discard(sandbox)
        sandbox.close()


def _files(language: Language, program: Program) -> dict[str, bytes]:
    return {language.file_name(program.source): program.source.encode("utf-8", "surrogatepass")}


def _plain_compile(language: Language, tools: Toolchain, program: Program) -> list[str] | None:
    return language.compile(tools, program.source) if language.compile else None


def job_of(
    language: Language,
    program: Program,
    files: Mapping[str, bytes],
    compile_command: list[str] | None,
    run: list[str] | None,
) -> Job:
    return Job(
        files=files,
        compile=compile_command,
        run=run,
        compile_timeout_s=language.compile_timeout_s,
        run_timeout_s=program.timeout_s or language.run_timeout_s,
        memory_bytes=language.memory_bytes,
        memory_limit=language.memory_limit,
        proves_end=language.proves_end,
        environment=language.environment,
        stdin=None if program.stdin is None else program.stdin.encode("utf-8", "surrogatepass"),
    )


def oom_kills_of_the_machine() -> int:
    """How many processes the kernel's out-of-memory killer has ended on this machine."""
    try:
        _, _, rest = Path("/proc/vmstat").read_bytes().partition(b"\noom_kill ")
    except OSError:
        return 0
    return int(rest.split(maxsplit=1)[0]) if rest else 0
