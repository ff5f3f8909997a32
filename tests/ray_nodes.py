"""Two real nodes of a Ray cluster, on loopback addresses of this machine; each test has a cluster of its own."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

try:
    import ray
    from ray.cluster_utils import Cluster
except ImportError as error:
    if os.environ.get("CI"):
        raise
    pytest.skip(f"ray: {error}; pip install 'flexlora[ray]'", allow_module_level=True)

Start = Callable[..., "TwoNodes"]

HEAD, OTHER = "127.0.0.2", "127.0.0.3"


class TwoNodes:
    """A head and another node, with one CPU each unless told."""

    def __init__(self, environment: dict[str, str], head_cpus: int) -> None:
        common = {"object_store_memory": 80 << 20, "include_dashboard": False}
        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": head_cpus, "node_ip_address": HEAD, **common}
        )
        self._environment, self._common = environment, common
        self.other = self.add()

    def add(self) -> Any:
        return self.cluster.add_node(num_cpus=1, node_ip_address=OTHER, env_vars=self._environment, **self._common)

    def kill_other(self) -> None:
        """As if its plug was pulled: the node's own processes and all that they started."""
        (raylet,) = self.other.all_processes["raylet"]
        kill([*descendants(raylet.process.pid), raylet.process.pid])


def kill(processes: Iterable[int]) -> None:
    for process in list(processes):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def descendants(process: int) -> list[int]:
    children = []
    with suppress(OSError):
        for path in Path(f"/proc/{process}/task").glob("*/children"):
            children += [int(child) for child in path.read_text().split()]
    return children + [pid for child in children for pid in descendants(child)]


@contextmanager
def clusters(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a cluster and has RAY_ADDRESS name it; all of it ends with the block."""
    folder = tempfile.mkdtemp(prefix="ray-")  # not tmp_path: a socket's path must be short
    monkeypatch.setenv("RAY_TMPDIR", folder)  # also keeps off the note of a cluster that is in use here
    started: list[TwoNodes] = []

    def start(environment: dict[str, str] | None = None, *, head_cpus: int = 1) -> TwoNodes:
        nodes = TwoNodes(environment or {}, head_cpus)
        started.append(nodes)
        monkeypatch.setenv("RAY_ADDRESS", nodes.cluster.address)
        return nodes

    try:
        yield start
    finally:
        ray.shutdown()
        for nodes in started:
            nodes.cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
