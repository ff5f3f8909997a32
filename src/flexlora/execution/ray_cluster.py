"""The nodes of a Ray cluster as seen by who hands out programs: who takes part, who runs what, who was lost.

All of it happens in one event loop. Each node is an actor that reserves the node's CPUs and runs a local pool there; it
gets programs as it has room, so a fast node gets more. The programs of a lost node go to the others, and as a node is
never asked again once it counts as lost, every program has one verdict.

The machine that hands out needs no toolchains. Nodes must have the same flexlora and, of each language, the same
toolchain: verdicts are kept by its version, and must not depend on where a program ran.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flexlora.errors import FlexError, UsageError
from flexlora.execution.ray_connection import REMEDY, connect, import_ray
from flexlora.execution.ray_node import THREADS, RayNode, identity
from flexlora.execution.runner import Mode
from flexlora.execution.verdict import Program, Verdict

AHEAD_S = 0.06
"""A node has this many seconds of work ahead for each worker, to have some while messages are on their way."""
MOST_AHEAD, LEAST_AHEAD = 16, 2
"""Programs at a node for each of its workers: of fast ones many, of slow ones few, which would wait there while others
have nothing to do."""
START_S = 60.0
"""How long nodes are waited for at the start; those whose CPUs others hold take part when they are free."""
LOOK_S = 5.0
"""Seconds between looks for nodes that have joined."""
CLOSE_S = 30.0
"""How long a node may take to call off what runs, before its processes are killed, which ends their sandboxes."""

Event = tuple[str, Verdict] | str | BaseException
"""A verdict with its key, a warning, or what ends the work."""
Answer = tuple[str | None, str]
"""A toolchain's version, or None and what is missing."""


@dataclass(eq=False, slots=True)
class _Node:
    name: str
    workers: int
    actor: Any
    is_open: bool = False
    languages: dict[str, Answer] = field(default_factory=dict)
    running: dict[str, Program] = field(default_factory=dict)
    pace_s: float = AHEAD_S
    """Seconds that its programs take, of late; none counts as more than one."""
    ahead: int = LEAST_AHEAD

    @property
    def room(self) -> int:
        """Programs that it should have."""
        return self.workers * self.ahead

    @property
    def load(self) -> float:
        return len(self.running) / (self.workers * self.ahead)

    def learn(self, verdict: Verdict) -> None:
        self.pace_s += 0.1 * (min(verdict.wall_s, 1.0) - self.pace_s)
        self.ahead = min(MOST_AHEAD, max(LEAST_AHEAD, round(AHEAD_S / max(self.pace_s, 0.001))))


class Cluster:
    """Use it in one event loop, except for `capacity` and for appending to `backlog`, which every thread may do."""

    def __init__(self, workers: int | None, mode: Mode, compat: bool, report: Callable[[Event], None]) -> None:
        """Connects to nothing yet.

        Args:
            workers: of each node; None for as many as it has CPUs.
            report: called with all that happens, in the loop's thread.
        """
        self.backlog: deque[tuple[str, Program]] = deque()
        self.capacity = 0
        self._workers, self._mode, self._compat, self._report = workers, mode, compat, report
        self._founding: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._seen: set[str] = set()
        self._started: list[_Node] = []
        self._nodes: list[_Node] = []
        self._languages: dict[str, str] = {}
        self._disconnect: Callable[[], None] = lambda: None

    async def version_of(self, language: str) -> str:
        """The one version of its toolchain on all nodes; the first call connects and starts them.

        Raises:
            UsageError: no cluster, or nodes that differ or lack something; names them.
            FlexError: no node is left.
        """
        if self._founding is None:
            self._founding = asyncio.create_task(self._found())
        await self._founding
        while unasked := [node for node in self._nodes if language not in node.languages]:
            await asyncio.gather(*(self._ask_member(node, language) for node in unasked))
        if not self._nodes:
            raise _none_left()
        versions = {node.languages[language][0] for node in self._nodes}
        (version, *others) = versions
        if version is None or others:
            raise _differ(language, self._nodes)
        self._languages[language] = version
        return version

    def hand_out(self) -> None:
        """Give waiting programs to nodes that have room, the emptiest first."""
        batches: dict[_Node, list[tuple[str, Program]]] = {}
        while self.backlog and self._nodes:
            node = min(self._nodes, key=lambda node: node.load)
            if node.load >= 1:
                break
            key, program = self.backlog.popleft()
            node.running[key] = program
            batches.setdefault(node, []).append((key, program))
        for node, batch in batches.items():
            node.actor.submit.remote(batch)

    async def close(self) -> None:
        """Call off what runs on the nodes and end their actors. Nothing else may be under way here."""
        ray = import_ray()
        try:
            closing = [
                asyncio.create_task(_answer(node.actor.close.remote())) for node in self._started if node.is_open
            ]
            if closing:
                await asyncio.wait(closing, timeout=CLOSE_S)
            for task in closing:
                task.cancel()
            await asyncio.gather(*closing, return_exceptions=True)
            for node in self._started:
                ray.kill(node.actor)
        finally:
            self._disconnect()

    async def _found(self) -> None:
        self._disconnect = connect()
        joining = self._invite()
        if not joining:
            raise UsageError(f"The Ray cluster has no node with CPUs. {REMEDY}")
        done, pending = await asyncio.wait(joining, timeout=START_S)
        if pending:
            self._report(
                f"Not started after {START_S:.0f} s: {', '.join(sorted(map(joining.__getitem__, pending)))}. They take "
                "part once they are; `ray status` shows who holds their CPUs."
            )
        while not self._nodes and pending:
            more, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        if problems := [problem for task in done if (problem := task.result())]:
            raise UsageError(
                "Not all nodes of the Ray cluster can take part.\n"
                + "\n".join(f"- {problem}" for problem in sorted(problems))
                + f"\nInstall {identity()} on each, for the Python that `ray start` runs with."
            )
        if not self._nodes:
            raise _none_left()
        for task in pending:
            task.add_done_callback(self._came_late)
        self._spawn(self._look_for_nodes())

    async def _look_for_nodes(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            for task in self._invite():
                task.add_done_callback(self._came_late)

    def _came_late(self, task: asyncio.Task[str]) -> None:
        if not task.cancelled() and not task.exception() and (problem := task.result()):
            self._report(f"A node of the Ray cluster is left out: {problem}")

    def _invite(self) -> dict[asyncio.Task[str], str]:
        """Start an actor on each node that was not there before; a node that died and came back is a new one."""
        rows = [row for row in import_ray().nodes() if row["Alive"] and row["NodeID"] not in self._seen]
        self._seen |= {row["NodeID"] for row in rows}
        nodes = [self._start(row) for row in rows if row["Resources"].get("CPU", 0) >= 1]
        return {self._spawn(self._join(node)): node.name for node in nodes}

    def _start(self, row: Mapping[str, Any]) -> _Node:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cpus = int(row["Resources"]["CPU"])
        workers = self._workers or cpus
        actor = import_ray().remote(RayNode)
        options = {
            "num_cpus": min(workers, cpus),
            "max_concurrency": THREADS,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(row["NodeID"], soft=False),
        }
        # Several nodes can have one address, so the ID that `ray list nodes` shows is named, too.
        name = f"{row['NodeManagerAddress']} ({row['NodeManagerHostname']}, {row['NodeID'][:8]})"
        node = _Node(name, workers, actor.options(**options).remote())
        self._started.append(node)
        return node

    async def _join(self, node: _Node) -> str:
        """Make a started node take part; returns why it cannot, or nothing."""
        problem = await self._refusal(node)
        if problem:
            import_ray().kill(node.actor)
            self._started.remove(node)
            return problem
        self._nodes.append(node)
        self._count()
        self._spawn(self._collect(node))
        self.hand_out()
        return ""

    async def _refusal(self, node: _Node) -> str:
        try:
            found = await _answer(node.actor.identity.remote())
            if found != identity():
                return f"{node.name} has {found}; here it is {identity()}"
            await _answer(node.actor.open.remote(node.workers, self._mode, self._compat))
            node.is_open = True
            while unasked := self._languages.keys() - node.languages.keys():
                for language in unasked:
                    node.languages[language] = await _answer(node.actor.version_of.remote(language))
        except (_Lost, ImportError, AttributeError) as error:
            return f"{node.name}: flexlora does not start there ({error})"
        for language, version in self._languages.items():
            if node.languages[language][0] != version:
                return f"{_describe(node, language)}; the others have {version}"
        return ""

    async def _ask_member(self, node: _Node, language: str) -> None:
        try:
            node.languages[language] = await _answer(node.actor.version_of.remote(language))
        except _Lost as error:
            self._lose(node, error)

    async def _collect(self, node: _Node) -> None:
        """Pass on a node's verdicts as long as it lives."""
        while node in self._nodes:
            try:
                verdicts = await _answer(node.actor.verdicts.remote())
            except _Lost as error:
                self._lose(node, error)
                return
            except FlexError as error:
                raise type(error)(f"{node.name}: {error}") from error
            for key, verdict in verdicts:
                if node.running.pop(key, None) is not None:
                    node.learn(verdict)
                    self._report((key, verdict))
            self._count()
            self.hand_out()

    def _lose(self, node: _Node, why: _Lost) -> None:
        if node not in self._nodes:
            return
        self._nodes.remove(node)
        self._count()
        given_back = len(node.running)
        self.backlog.extendleft(node.running.items())
        node.running.clear()
        import_ray().kill(node.actor)
        if self._nodes:
            self._report(
                f"Node {node.name} of the Ray cluster is lost ({why}). The others run its {given_back} programs in "
                "flight anew."
            )
            self.hand_out()
        else:
            self._report(_none_left(f" The last was {node.name} ({why})."))

    def _count(self) -> None:
        self.capacity = sum(node.room for node in self._nodes)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._report(error)


class _Lost(Exception):
    """An actor gives no answers any more; says why."""


async def _answer(reference: Any) -> Any:
    """What an actor returns.

    Raises:
        _Lost: the actor or its node is gone.
        Exception: whatever the method raised there.
    """
    from ray.exceptions import RayError, RayTaskError

    try:
        return await reference
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        raise _Lost(_in_short(str(error))) from error


def _in_short(words: str) -> str:
    """Ray says who died and where on many lines, and the cause on the last."""
    return words.strip().splitlines()[-1].strip().rstrip(".")


def _describe(node: _Node, language: str) -> str:
    version, problem = node.languages[language]
    return f"{node.name} has {version or 'none: ' + problem}"


def _differ(language: str, nodes: Iterable[_Node]) -> UsageError:
    rows = "\n".join(f"- {words}" for words in sorted(_describe(node, language) for node in nodes))
    return UsageError(
        f"The nodes of the Ray cluster cannot judge {language} alike.\n{rows}\nInstall the same toolchain on each, or "
        "take a node out of the cluster with `ray stop` on it."
    )


def _none_left(more: str = "") -> FlexError:
    return FlexError(
        f"No node of the Ray cluster is left.{more} Bring nodes back with `ray start`; running the same command again "
        "goes on with the programs that have no verdict yet."
    )
