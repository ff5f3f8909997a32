"""Who runs a study's runs: processes of this machine. `ray_workers` has the nodes of a cluster."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Protocol

from flexlora.errors import UsageError
from flexlora.studies.folder import Run
from flexlora.studies.processes import order, start, stop

OVERHEAD_GB = 1.5
"""Memory of a worker beside the model: Python, torch, and the programs that it runs."""
WEIGHTS = 1.5
"""What training and evaluation hold, in sizes of the float32 weights."""


class Workers(Protocol):
    """A number of places at which runs are run."""

    @property
    def count(self) -> int:
        """How many runs at a time."""

    def words(self) -> str:
        """Who they are, for the user."""

    def start(self, run: Run) -> None:
        """Run it at a free place."""

    def ended(self) -> list[tuple[Run, int]]:
        """Those that have ended since it was last asked, with their exit codes."""

    def close(self) -> None:
        """End what still runs."""


class LocalWorkers:
    """Processes that share this machine's cores, each with a GPU of its own where there are several."""

    def __init__(self, count: int, gpus: tuple[str, ...], sandbox: str) -> None:
        """Start nothing yet.

        Args:
            count: runs at a time.
            gpus: as CUDA_VISIBLE_DEVICES names them; none, and the environment is left as it is.
            sandbox: of the programs.
        """
        self._count, self._gpus, self._sandbox = count, gpus, sandbox
        self.threads = max(1, cores() // count)
        self._running: dict[str, tuple[Run, str | None, subprocess.Popen[bytes]]] = {}

    @property
    def count(self) -> int:
        return self._count

    def words(self) -> str:
        each = f"{self.threads} thread{'s' * (self.threads > 1)}"
        each += f", GPU {' or '.join(self._gpus)}" if self._gpus else ""
        return f"{self.count} at a time on this machine ({each} each)"

    def start(self, run: Run) -> None:
        taken = [gpu for _, gpu, _ in self._running.values()]
        gpu = min(self._gpus, key=taken.count, default=None)
        ordered = order(run, threads=self.threads, gpu=gpu, sandbox=self._sandbox)
        self._running[run.name] = run, gpu, start(ordered)

    def ended(self) -> list[tuple[Run, int]]:
        done = [(run, code) for run, _, process in self._running.values() if (code := process.poll()) is not None]
        for run, _ in done:
            del self._running[run.name]
        return done

    def close(self) -> None:
        stop([process for _, _, process in self._running.values()])
        self._running.clear()


def local_workers(wanted: int | None, parameters: int | None, sandbox: str, runs: int) -> LocalWorkers:
    """As many as were asked for; by default one for each GPU, else as cores and memory allow; no more than runs.

    Args:
        wanted: None for the default.
        parameters: of the largest model, where it is known.
        runs: how many are to be run.

    Raises:
        UsageError: fewer than one.
    """
    if wanted is not None and wanted < 1:
        raise UsageError(f"--workers {wanted}: at least one is needed.")
    gpus = visible_gpus()
    count = wanted or len(gpus) or min(cores(), _that_memory_holds(parameters))
    return LocalWorkers(max(1, min(count, runs)), gpus, sandbox)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(part.strip() for part in named.split(",") if part.strip() and part.strip() != "-1")
    import torch

    return tuple(map(str, range(torch.cuda.device_count())))


def _that_memory_holds(parameters: int | None) -> int:
    """How many workers the free memory holds, at least one; without a word on it from the system, any number."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as file:
            free = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return cores()
    each = OVERHEAD_GB + WEIGHTS * 4 * (parameters or 0) / 1e9
    return max(1, int(free * 1024 / 1e9 / each))
