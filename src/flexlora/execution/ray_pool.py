"""The same queue over a Ray cluster: `pool.Pool`, whose programs run on all nodes of the cluster.

Ray's answers are awaited in an event loop on a thread of its own (`ray_cluster`); here is what other threads call.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import CancelledError
from queue import Empty, SimpleQueue

from flexlora.errors import UsageError
from flexlora.execution.languages import get_language
from flexlora.execution.ray_cluster import Cluster, Event
from flexlora.execution.ray_connection import import_ray
from flexlora.execution.runner import Mode
from flexlora.execution.sandbox import Sandbox
from flexlora.execution.sandboxed import Stopped
from flexlora.execution.verdict import Program, Verdict


class RayPool:
    """All nodes of a Ray cluster that have CPUs; connects when it is first asked for a language."""

    def __init__(self, workers: int | None, mode: Mode, compat: bool, sandbox: Sandbox) -> None:
        """Start the thread.

        Args:
            workers: programs at a time on each node; None for as many as Ray gives the node CPUs.

        Raises:
            UsageError: Ray is not installed, or there is to be no sandbox.
        """
        if sandbox is Sandbox.NONE:
            raise UsageError("sandbox: none is for programs on one's own machine; it does not go with executor: ray.")
        import_ray()
        self._lock = threading.Lock()
        self._stopped = False
        self._stop = asyncio.Event()
        self._events: SimpleQueue[tuple[str, Verdict] | BaseException] = SimpleQueue()
        self._cluster = Cluster(workers, mode, compat, self._report)
        self._loop = asyncio.new_event_loop()
        # A daemon, so that a generator which nobody closed does not keep the interpreter from ending.
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    @property
    def capacity(self) -> int:
        return self._cluster.capacity

    def version_of(self, language: str) -> str:
        """The version of a language's toolchain, which is the same on all nodes.

        Raises:
            UsageError: no cluster, or nodes that differ or lack something; names them.
            FlexError: no node is left.
            Stopped: the pool was closed.
        """
        get_language(language)
        with self._lock:
            if self._stopped:
                raise Stopped
            answer = asyncio.run_coroutine_threadsafe(self._cluster.version_of(language), self._loop)
        try:
            return answer.result()
        except CancelledError:
            raise Stopped from None

    def submit(self, key: str, program: Program) -> None:
        self._cluster.backlog.append((key, program))
        with self._lock:
            if not self._stopped:
                self._loop.call_soon_threadsafe(self._cluster.hand_out)

    def next(self, *, wait: bool) -> tuple[str, Verdict] | None:
        """As in `Pool`.

        Raises:
            FlexError: no node is left.
            Stopped: the pool was closed.
        """
        try:
            event = self._events.get(block=wait)
        except Empty:
            return None
        if isinstance(event, BaseException):
            raise event
        return event

    def close(self) -> None:
        with self._lock:
            if not self._stopped:
                self._stopped = True
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._events.put(Stopped())  # for who still waits for a verdict

    def _report(self, event: Event) -> None:
        """In the loop's thread."""
        if isinstance(event, str):
            logging.getLogger(__name__).warning(event)
        else:
            self._events.put(event)

    def _work(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        await self._stop.wait()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._cluster.close()
