"""What runs on each node of a Ray cluster: its local pool, which is sent programs and asked for verdicts."""

from __future__ import annotations

import time

from flexlora.errors import UsageError
from flexlora.execution.cache import ENGINE
from flexlora.execution.local_pool import LocalPool
from flexlora.execution.runner import Mode
from flexlora.execution.sandbox import Sandbox
from flexlora.execution.verdict import Program, Verdict
from flexlora.version import __version__

THREADS = 8
"""Calls that a node may be in at the same time: one waits for verdicts while others submit, probe or close."""
GATHER_S = 0.01
"""How long a verdict may wait for others to go with: a message costs more than a fast program."""


def identity() -> str:
    """What must be the same on all nodes and here, or verdicts would depend on where a program ran."""
    return f"flexlora {__version__} (engine {ENGINE})"


class RayNode:
    """A Ray actor. What it holds it gets from `open`, so that `identity` answers whatever version is installed."""

    def identity(self) -> str:
        return identity()

    def open(self, workers: int, mode: Mode, compat: bool) -> None:
        self._pool = LocalPool(workers, mode, compat, Sandbox.BUBBLEWRAP)

    def version_of(self, language: str) -> tuple[str | None, str]:
        """The toolchain's version, or None and what is missing."""
        try:
            return self._pool.version_of(language), ""
        except UsageError as error:
            return None, str(error)

    def submit(self, programs: list[tuple[str, Program]]) -> None:
        for key, program in programs:
            self._pool.submit(key, program)

    def verdicts(self) -> list[tuple[str, Verdict]]:
        """Those reached since it was last asked; waits for the first, and hardly longer."""
        done = self._pool.next(wait=True)
        time.sleep(GATHER_S)
        verdicts = []
        while done is not None:
            verdicts.append(done)
            done = self._pool.next(wait=False)
        return verdicts

    def close(self) -> None:
        self._pool.close()
