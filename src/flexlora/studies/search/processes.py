"""A worker of a search as a process of its own: its share of the machine, its log, its end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexlora import models
from flexlora.errors import FlexError
from flexlora.progress import say
from flexlora.studies.processes import PATIENCE_S
from flexlora.studies.search import storage
from flexlora.studies.search.budget import Budget
from flexlora.studies.search.plan import read_plan
from flexlora.studies.search.trial import Trials
from flexlora.studies.search.work import work
from flexlora.studies.workers import cores, visible_gpus

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess


def start(
    number: int, folder: Path, budget: Budget, workers: int, url: str | None, how: Mapping[str, Any]
) -> SpawnProcess:
    """Start a worker with its share of the cores, and a GPU of its own where there are several."""
    process = multiprocessing.get_context("spawn").Process(
        target=_worker, args=(folder, log_of(folder, number), budget, url, dict(how)), daemon=False
    )
    threads = os.environ.get("OMP_NUM_THREADS", str(share(workers)))
    given = {"CUDA_VISIBLE_DEVICES": _gpu(number), "OMP_NUM_THREADS": threads}
    before = {name: os.environ.get(name) for name in given}
    try:  # a process takes its environment, libraries read it as they are imported
        os.environ.update({name: value for name, value in given.items() if value})
        process.start()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return process


def share(workers: int) -> int:
    """A worker's part of the cores: threads of torch, and programs at a time."""
    return max(1, cores() // workers)


def _gpu(number: int) -> str | None:
    """Of the GPUs that may be used, one for each worker in turn; None where there is none."""
    gpus = visible_gpus()
    return gpus[number % len(gpus)] if gpus else None


def log_of(folder: Path, number: int) -> Path:
    """What a worker of this machine says."""
    return folder / "logs" / f"{os.uname().nodename}-{number}.log"


def _worker(folder: Path, log: Path, budget: Budget, url: str | None, how: dict[str, Any]) -> None:
    """A worker's process: everything that it says goes to its log, and it ends with the command that started it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    models.quiet()
    try:
        plan = read_plan(folder)
        ended = work(plan, folder, Trials(plan, folder, **how), budget, study=storage.open_trials(folder, url))
        say(f"no further trial: {ended}")
    except FlexError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def last_line(log: Path) -> str:
    """The last thing that it said, and where."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    return next((line for line in reversed(lines) if line.strip()), "it said nothing") + f" ({log})"


def end(processes: Collection[SpawnProcess]) -> None:
    """End workers that still run; their trials are gone on with when the search is."""
    for process in processes:
        process.terminate()
    try:
        until = time.monotonic() + PATIENCE_S
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
    finally:  # also after a second Ctrl-C
        for process in processes:
            if process.exitcode is None:
                process.kill()
                process.join()
