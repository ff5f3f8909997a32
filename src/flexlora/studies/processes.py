"""A study's run as a process of its own: started, waited for, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flexlora.studies.folder import Run

PATIENCE_S = 20.0
"""How long a process may take to end after Ctrl-C, with the programs that it runs."""
_WITH_PARENT = Path(__file__).with_name("with_parent.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be started, in plain values that can be sent to another machine."""

    name: str
    command: tuple[str, ...]
    log: Path
    environment: Mapping[str, str]
    """Added to the process's own."""


def order(run: Run, *, threads: int, gpu: str | None = None, sandbox: str = "bubblewrap") -> Order:
    """The ordinary command of a run; running it again continues.

    Args:
        threads: of torch, and programs at a time.
        gpu: the one that it may see, as CUDA_VISIBLE_DEVICES names it; None leaves the environment's.
        sandbox: of the programs.
    """
    command = [*flexlora(), "run", str(run.file), "--output", str(run.path), "--sandbox", sandbox]
    if run.recipe.execution.workers is None:
        command += ["--set", f"execution.workers={threads}"]
    command += [] if run.first or run.config == "base" else ["--no-probe-steps"]
    return Order(name=run.name, command=tuple(command), log=run.log, environment=environment(threads=threads, gpu=gpu))


def flexlora() -> tuple[str, ...]:
    """The command line of this very installation."""
    return sys.executable, "-m", "flexlora"


def environment(*, threads: int, gpu: str | None) -> dict[str, str]:
    """Of a process that shares the machine with others."""
    shared = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)), "PYTHONUNBUFFERED": "1"}
    return shared if gpu is None else shared | {"CUDA_VISIBLE_DEVICES": gpu}


def start(ordered: Order) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, its output added to its log. It is killed when the calling thread ends.

    The session keeps Ctrl-C in a terminal from it, so that who started it decides; the kernel kills it where that one
    is killed, and a sandbox's programs die with it.
    """
    with ordered.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", _WITH_PARENT, str(os.getpid()), *ordered.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ordered.environment},
            start_new_session=True,
        )


def run_to_its_end(ordered: Order) -> int:
    """Start it and wait; returns its exit code. Whatever ends the waiting ends it too."""
    process = start(ordered)
    try:
        return process.wait()
    finally:
        stop([process])


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupt processes as Ctrl-C does, wait, and kill what is left of their sessions."""
    for process in processes:
        if process.poll() is None:
            _signal(process, signal.SIGINT)
    try:
        until = time.monotonic() + PATIENCE_S
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
    finally:  # also after a second Ctrl-C
        for process in processes:
            if process.poll() is None:
                _signal(process, signal.SIGKILL)
                process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
