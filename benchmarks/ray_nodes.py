"""Programs per second over a Ray cluster: one node of one CPU against two, and how many the driver can hand out at all.

    python benchmarks/ray_nodes.py [--programs 400] [--seconds 0.05] [--rounds 3]
    python benchmarks/ray_nodes.py --driver [--programs 50000] [--workers 64]

The nodes are on loopback addresses of this machine, which needs a core for each and is busy with handing out, too. The
baseline is one local worker, without Ray. Programs: distinct Python programs that end at once, and programs that sleep,
which need no core; then only the way there and back is left to cost anything. All take turns, `--rounds` times; the
medians are shown. The cache is off, and nodes have started before the clock does.

`--driver`: two nodes that run nothing but answer at once, so that only the driver limits; also its memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from queue import SimpleQueue
from statistics import median
from typing import Any
from unittest.mock import patch

from flexlora.execution import Program, execute, ray_cluster
from flexlora.execution.ray_node import RayNode
from flexlora.execution.runner import Mode
from flexlora.execution.verdict import Status, Verdict

HEAD, OTHER = "127.0.0.2", "127.0.0.3"


class Instant:
    """In place of a local pool: every program passes as soon as it comes."""

    def __init__(self) -> None:
        self._programs: SimpleQueue[tuple[str, Program]] = SimpleQueue()

    def version_of(self, language: str) -> str:
        return "none"

    def submit(self, key: str, program: Program) -> None:
        self._programs.put((key, program))

    def next(self, *, wait: bool) -> tuple[str, Verdict] | None:
        if not wait and self._programs.empty():
            return None
        key, program = self._programs.get()
        return key, Verdict(
            program.task_id, program.sample, program.language, Status.OK, True, 0, "", "", 0.0, 0.0, False,
            program.sha256,
        )  # fmt: skip

    def close(self) -> None:
        pass


class InstantNode(RayNode):
    """A node that costs nothing."""

    def open(self, workers: int, mode: Mode, compat: bool) -> None:
        self._pool: Any = Instant()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=int)
    parser.add_argument("--seconds", type=float, default=0.05, help="how long the sleeping programs sleep")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--driver", action="store_true")
    parser.add_argument("--workers", type=int, default=64, help="of each node, with --driver")
    arguments = parser.parse_args()
    if arguments.driver:
        measure_driver(arguments.programs or 50_000, arguments.workers)
    else:
        compare(arguments.programs or 400, arguments.seconds, arguments.rounds)


def compare(programs: int, seconds: float, rounds: int) -> None:
    kinds = {"at once": "pass", f"sleeping {seconds:g} s": f"import time; time.sleep({seconds})"}
    print("| programs | local, 1 worker, /s | 1 node, /s | 2 nodes, /s | 2 nodes of 1 |\n|---|---|---|---|---|")
    for name, source in kinds.items():
        local, one, two = [], [], []
        for i in range(rounds):
            local.append(rate(source, programs, i))
            with cluster(1):
                one.append(rate(source, programs, i, executor="ray"))
            with cluster(2):
                two.append(rate(source, programs, i, executor="ray"))
        rates = [median(rates) for rates in (local, one, two)]
        ratio = median(b / a for a, b in zip(one, two, strict=True))
        print(f"| {name} | {' | '.join(f'{rate:.1f}' for rate in rates)} | {ratio:.2f} |", flush=True)


def rate(source: str, programs: int, seed: int, **options: Any) -> float:
    """Programs per second, after a first few by which everything has started."""
    first = 16
    each = (Program(str(i), 0, "py", f"{source}\n# {seed} {i}") for i in range(first + programs))
    with closing(execute(each, workers=1, cache=False, **options)) as verdicts:
        for _ in range(first):
            assert next(verdicts).passed
        started = time.perf_counter()
        assert all(verdict.passed for verdict in verdicts)
        return programs / (time.perf_counter() - started)


def measure_driver(programs: int, workers: int) -> None:
    print("| programs | workers | a second | driver's CPU ms each | driver's peak memory, MiB |\n|---|---|---|---|---|")
    with patch.object(ray_cluster, "RayNode", InstantNode), cluster(2):
        for count in (programs // 10, programs):
            started, cpu = time.perf_counter(), time.process_time()
            each = (Program(str(i), 0, "py", f"# {i}\n" + "x = 1\n" * 150) for i in range(count))
            assert sum(1 for _ in execute(each, workers=workers, cache=False, executor="ray")) == count
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            cells = (count, 2 * workers, f"{count / seconds:.0f}", f"{1000 * cpu / count:.2f}", f"{peak:.0f}")
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


@contextmanager
def cluster(nodes: int) -> Iterator[None]:
    """So many nodes of one CPU each, named by RAY_ADDRESS."""
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args={"node_ip_address": HEAD, **options})
    try:
        if nodes == 2:
            started.add_node(node_ip_address=OTHER, **options)
        os.environ["RAY_ADDRESS"] = started.address
        yield
    finally:
        started.shutdown()


if __name__ == "__main__":
    main()
