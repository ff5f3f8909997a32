"""A study's runs as tasks of a Ray cluster that runs already, each with the GPU that it needs.

The study's directory must be on a file system that all nodes share, at the same path. A run whose node is lost is
started anew on another, where it goes on with what its directory holds.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flexlora.errors import UsageError
from flexlora.execution.ray_connection import connect, import_ray
from flexlora.execution.ray_node import identity
from flexlora.folder import LOCK
from flexlora.locks import is_held
from flexlora.studies.folder import Run
from flexlora.studies.processes import Order, order, run_to_its_end

RETRIES = 5
"""How many nodes may be lost under one run before it counts as failed."""
HELD_S = 120.0
"""How long the directory of a run may still be held by a node that was lost."""
LOST = 255
"""Exit code of a run whose nodes were lost, as a shell would give for a lost connection."""
CHECK_S = 60.0
"""How long a node may take to say that it sees the study's directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What each run asks of the cluster."""

    at_a_time: int
    cpus: int
    gpus: int


def demand(nodes: list[Mapping[str, float]], wanted: int | None) -> Demand:
    """What to ask for, of nodes with these resources.

    Where there are GPUs, a run has one and its share of a node's cores; else it has a core, or, with fewer runs at a
    time than cores, its share of them.

    Args:
        nodes: resource -> amount, of each.
        wanted: runs at a time; None for as many as there is room for.

    Raises:
        UsageError: nothing is there to run on.
    """
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if gpus:
        nodes = [node for node in nodes if node.get("GPU", 0) >= 1]
    nodes = [node for node in nodes if node.get("CPU", 0) >= 1]
    if not nodes:
        raise UsageError("The nodes of the Ray cluster have no CPUs to run anything on; see `ray status`.")
    if gpus:
        each = max(1, int(min(node["CPU"] // node["GPU"] for node in nodes)))
        return Demand(at_a_time=min(wanted or gpus, gpus), cpus=each, gpus=1)
    cpus = sum(int(node["CPU"]) for node in nodes)
    at_a_time = min(wanted or cpus, cpus)
    return Demand(at_a_time=at_a_time, cpus=max(1, min(cpus // at_a_time, max(int(n["CPU"]) for n in nodes))), gpus=0)


class RayWorkers:
    """All nodes of a cluster; connects when it is made."""

    def __init__(self, count: int | None, sandbox: str, folder: Path) -> None:
        """Connect, and check that every node has this FLeX and sees the study's directory.

        Args:
            count: runs at a time; None for as many as there is room for.
            sandbox: of the programs.
            folder: the study's directory; it need not be there yet.

        Raises:
            UsageError: no cluster, or a node that cannot take part; names it.
        """
        self._ray = import_ray()
        self._leave: Callable[[], None] = connect()
        self._sandbox, self._running = sandbox, dict[Any, Run]()
        try:
            nodes = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
            self._nodes = len(nodes)
            self._demand = demand([node["Resources"] for node in nodes], count)
            if folder.is_dir():
                self._check(folder.resolve(), nodes)
        except BaseException:
            self._leave()
            raise

    @property
    def count(self) -> int:
        return self._demand.at_a_time

    @property
    def threads(self) -> int:
        """Of each run."""
        return self._demand.cpus

    def words(self) -> str:
        each = f"{self._demand.cpus} CPU{'s' * (self._demand.cpus > 1)}" + ", 1 GPU" * self._demand.gpus
        return f"{self.count} at a time on {self._nodes} nodes of a Ray cluster ({each} each)"

    def start(self, run: Run) -> None:
        here = replace(run, path=run.path.resolve(), file=run.file.resolve(), log=run.log.resolve())
        ordered = order(here, threads=self._demand.cpus, sandbox=self._sandbox)
        task = self._ray.remote(run_on_node).options(
            num_cpus=self._demand.cpus,
            num_gpus=self._demand.gpus,
            max_retries=RETRIES,
            name=run.name,
        )
        self._running[task.remote(ordered, str(here.path), identity())] = run

    def ended(self) -> list[tuple[Run, int]]:
        if not self._running:
            return []
        from ray.exceptions import RayError, RayTaskError

        done, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        found = []
        for reference in done:
            run = self._running.pop(reference)
            try:
                found.append((run, self._ray.get(reference)))
            except RayTaskError as error:
                _add(run.log, f"flexlora: {error.cause}")
                found.append((run, 1))
            except RayError as error:
                _add(run.log, f"flexlora: its node of the Ray cluster was lost: {str(error).strip().splitlines()[0]}")
                found.append((run, LOST))
        return found

    def close(self) -> None:
        for reference in self._running:
            self._ray.cancel(reference, force=True)  # what it started dies with its worker
        self._running.clear()
        self._leave()

    def _check(self, folder: Path, nodes: list[Any]) -> None:
        """Every node sees the directory, and has the same FLeX."""
        from ray.exceptions import GetTimeoutError, RayError, RayTaskError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        mark = folder / f".shared-{secrets.token_hex(4)}"
        mark.touch()
        problems = []
        try:
            asked = {}
            for node in nodes:
                where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                task = self._ray.remote(_seen).options(num_cpus=0, scheduling_strategy=where, max_retries=0)
                asked[task.remote(str(mark))] = f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']})"
            until = time.monotonic() + CHECK_S
            for reference, name in asked.items():
                try:
                    sees, found = self._ray.get(reference, timeout=max(0.1, until - time.monotonic()))
                except RayTaskError as error:
                    problems.append(f"{name}: flexlora does not start there ({error.cause})")
                except GetTimeoutError:
                    problems.append(f"{name}: has not answered in {CHECK_S:.0f} s")
                except RayError as error:
                    problems.append(f"{name}: {str(error).strip().splitlines()[-1]}")
                else:
                    problems += [f"{name}: does not see {folder}"] * (not sees)
                    problems += [f"{name}: has {found}; here it is {identity()}"] * (found != identity())
        finally:
            mark.unlink()
        if problems:
            listed = "\n".join(f"- {problem}" for problem in problems)
            raise UsageError(
                f"These nodes of the Ray cluster cannot run the study:\n{listed}\nPut --output on a file system that "
                "all nodes share at the same path, and install the same FLeX on each; or take a node out of the "
                "cluster with `ray stop` on it."
            )


def _seen(mark: str) -> tuple[bool, str]:
    """On a node: whether it sees a file, and what FLeX it has."""
    return Path(mark).exists(), identity()


def run_on_node(ordered: Order, output: str, expected: str) -> int:
    """On a node: a run to its end; returns its exit code.

    Raises:
        UsageError: the node has another FLeX, or does not see the study's directory.
    """
    if identity() != expected:
        raise UsageError(f"a node that joined has {identity()}; the study was started by {expected}")
    if not ordered.log.parent.is_dir():
        raise UsageError(f"{ordered.log.parent}: not seen on {os.uname().nodename}; the file system must be shared")
    held = is_held(Path(output) / LOCK)
    until = time.monotonic() + HELD_S
    while held and time.monotonic() < until:  # by what a lost node left
        time.sleep(1)
        held = is_held(Path(output) / LOCK)
    return run_to_its_end(replace(ordered, command=(sys.executable, *ordered.command[1:])))


def _add(log: Path, line: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
