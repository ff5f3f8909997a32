"""Running programs: the functions that everybody calls, and which program runs where and how often.

One queue holds programs of all tasks, samples and languages. Equal programs run once: a verdict that is known, here or
from an earlier run on this machine, is given again (`Verdict.cached`). What runs them is a pool: `local_pool` on this
machine, `ray_pool` on many.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Collection, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol, Unpack

from flexlora.execution.bare import WARNING
from flexlora.execution.cache import VerdictCache, as_cached, key_of
from flexlora.execution.how import Executor, How
from flexlora.execution.local_pool import LocalPool
from flexlora.execution.ray_pool import RayPool
from flexlora.execution.requirements import require_here
from flexlora.execution.runner import Mode
from flexlora.execution.sandbox import Sandbox
from flexlora.execution.sandboxed import Stopped
from flexlora.execution.verdict import Program, Verdict
from flexlora.execution.warm import default_folder

WAITING = 1000
"""Programs that wait for an equal one to end, at most; of these no source is kept."""


class Pool(Protocol):
    """What runs programs, here or elsewhere; `_Execution` feeds it from one thread."""

    @property
    def capacity(self) -> int:
        """Programs that it should hold, running or about to; it may change."""

    def version_of(self, language: str) -> str:
        """The version of a language's toolchain, which has passed a program.

        Raises:
            UsageError: unknown language, missing toolchain or no working sandbox.
        """

    def submit(self, key: str, program: Program) -> None:
        """Run a program whose language `version_of` was asked for."""

    def next(self, *, wait: bool) -> tuple[str, Verdict] | None:
        """The next verdict with its key; None where there is none yet and we do not wait.

        Raises:
            Stopped: the pool was closed.
        """

    def close(self) -> None:
        """Call off what runs, from any thread; returns when nothing is left."""


def require(languages: Collection[str], **how: Unpack[How]) -> dict[str, str]:
    """Check the sandbox and the toolchains of these languages, each by a program that must pass.

    Args:
        how: as in `execute`; what has nothing to do with this is passed over.

    Returns:
        Language -> version of its toolchain; with Ray, of the one that all nodes have.

    Raises:
        UsageError: lists all that is missing and how to install it.
    """
    sandbox = Sandbox(how.get("sandbox", Sandbox.BUBBLEWRAP))
    if Executor(how.get("executor", Executor.LOCAL)) is Executor.RAY:
        return dict(_require_of_cluster(frozenset(languages), sandbox))
    return require_here(languages, sandbox)


@cache
def _require_of_cluster(languages: Collection[str], sandbox: Sandbox) -> dict[str, str]:
    """Once in a process; whoever runs programs there asks again for what he runs."""
    with closing(RayPool(1, Mode.COLD, False, sandbox)) as pool:
        return {code: pool.version_of(code) for code in sorted(languages)}


def run_program(
    language: str,
    source: str,
    *,
    timeout_s: float | None = None,
    mode: Mode | str = Mode.WARM,
    compat: bool = False,
    sandbox: Sandbox | str = Sandbox.BUBBLEWRAP,
    executor: Executor | str = Executor.LOCAL,
) -> Verdict:
    """Run one program in the sandbox, whatever the cache may know of it.

    Args:
        timeout_s: time limit of the run in seconds; None for the language's own.
        mode: how it is started; see `Mode`.
        compat: judge as the harness of the published figures does, where that is laxer.
        sandbox: `none` runs the program without one, and warns each time; see `bare`.
        executor: where it runs; see `Executor`.

    Raises:
        UsageError: unknown language, mode, sandbox or executor, missing toolchain or no working sandbox; with Ray, no
            cluster, or one whose nodes differ.
    """
    program = Program("program", 0, language, source, timeout_s)
    (verdict,) = execute(
        [program], workers=1, mode=mode, cache=False, compat=compat, sandbox=sandbox, executor=executor
    )
    return verdict


async def run_program_async(
    language: str,
    source: str,
    *,
    timeout_s: float | None = None,
    mode: Mode | str = Mode.WARM,
    compat: bool = False,
    sandbox: Sandbox | str = Sandbox.BUBBLEWRAP,
    executor: Executor | str = Executor.LOCAL,
) -> Verdict:
    """`run_program` for asyncio; cancelling it ends the program."""
    program = Program("program", 0, language, source, timeout_s)
    verdicts = execute_async(
        [program], workers=1, mode=mode, cache=False, compat=compat, sandbox=sandbox, executor=executor
    )
    async for verdict in verdicts:
        return verdict
    raise AssertionError("a program without a verdict")


def execute(
    programs: Iterable[Program],
    *,
    workers: int | None = None,
    mode: Mode | str = Mode.WARM,
    cache: bool = True,
    compat: bool = False,
    sandbox: Sandbox | str = Sandbox.BUBBLEWRAP,
    executor: Executor | str = Executor.LOCAL,
) -> Generator[Verdict, None, None]:
    """Run programs in the sandbox; verdicts come as they are reached, in any order.

    `programs` is read a few ahead of the workers, so it may be endless. Closing the generator (or Ctrl-C) kills what
    runs. Who knows the languages beforehand calls `require` first; here each is checked when it is first met.

    Args:
        workers: programs at a time, with Ray on each node; None for one per core.
        mode: how programs are started; see `Mode`.
        cache: use and fill the cache on disk. Equal programs of one call run once in any case.
        compat: judge as the harness of the published figures does, where that is laxer.
        sandbox: `none` runs programs without one, and warns each time; see `bare`.
        executor: where programs run; see `Executor`.

    Raises:
        UsageError: unknown language, mode, sandbox or executor, missing toolchain or no working sandbox; with Ray, no
            cluster, or one whose nodes differ.
        FlexError: the cache cannot be used, or all nodes of the Ray cluster were lost.
    """
    within = _allowed(sandbox, executor)
    with (
        VerdictCache(default_folder() if cache else None) as known,
        closing(_pool(executor, workers, mode, compat, within)) as pool,
    ):
        yield from _Execution(pool, known, compat, within).verdicts(programs)


async def execute_async(
    programs: Iterable[Program | None],
    *,
    workers: int | None = None,
    mode: Mode | str = Mode.WARM,
    cache: bool = True,
    compat: bool = False,
    sandbox: Sandbox | str = Sandbox.BUBBLEWRAP,
    executor: Executor | str = Executor.LOCAL,
) -> AsyncGenerator[Verdict, None]:
    """`execute` for asyncio: the event loop is free while programs run. Closing or cancelling it kills what runs.

    An item of `programs` that is None is no program: whoever waits for the next one yields it now and then, so that
    verdicts come meanwhile.
    """
    within = _allowed(sandbox, executor)
    loop = asyncio.get_running_loop()
    with VerdictCache(default_folder() if cache else None) as known:
        pool = _pool(executor, workers, mode, compat, within)
        verdicts = _Execution(pool, known, compat, within).verdicts(programs)
        try:
            while True:
                verdict = await loop.run_in_executor(None, next, verdicts, None)
                if verdict is None:
                    return
                yield verdict
        finally:
            await asyncio.shield(loop.run_in_executor(None, pool.close))
            with suppress(Stopped, ValueError):  # ValueError: the other thread is still on its way out of it
                verdicts.close()


def _allowed(name: Sandbox | str, executor: Executor | str) -> Sandbox:
    """The sandbox with this name; to have none is warned of, each time. (A cluster refuses it.)"""
    sandbox = Sandbox(name)
    if sandbox is Sandbox.NONE and Executor(executor) is Executor.LOCAL:
        logging.getLogger(__name__).warning(WARNING)
    return sandbox


def _pool(executor: Executor | str, workers: int | None, mode: Mode | str, compat: bool, sandbox: Sandbox) -> Pool:
    if Executor(executor) is Executor.LOCAL:
        return LocalPool(workers or len(os.sched_getaffinity(0)), Mode(mode), compat, sandbox)
    return RayPool(workers, Mode(mode), compat, sandbox)


@dataclass(slots=True)
class _Leader:
    """A program that runs, and the later ones that are equal to it."""

    program: Program
    followers: list[Program]


class _Execution:
    """One call of `execute`: which programs need to run, and who gets which verdict."""

    def __init__(self, pool: Pool, known: VerdictCache, compat: bool, sandbox: Sandbox) -> None:
        self._pool, self._known, self._compat, self._sandbox = pool, known, compat, sandbox
        self._running: dict[str, _Leader] = {}
        self._waiting = 0

    def verdicts(self, programs: Iterable[Program | None]) -> Generator[Verdict, None, None]:
        versions: dict[str, str] = {}
        for program in programs:
            if program is None:
                while done := self._pool.next(wait=False):
                    yield from self._deliver(*done)
                continue
            if not isinstance(program, Program):
                raise TypeError(f"Not a flexlora.execution.Program: {program!r:.80}.")
            if program.language not in versions:
                versions[program.language] = self._pool.version_of(program.language)
            key = key_of(program, versions[program.language], compat=self._compat, sandbox=self._sandbox)
            if leader := self._running.get(key):
                leader.followers.append(replace(program, source="", stdin=None, cases=None))
                self._waiting += 1
            elif verdict := self._known.get(key, program):
                yield verdict
            else:
                self._running[key] = _Leader(program, [])
                self._pool.submit(key, program)
            while done := self._pool.next(wait=self._is_full()):
                yield from self._deliver(*done)
        while self._running and (done := self._pool.next(wait=True)):
            yield from self._deliver(*done)

    def _is_full(self) -> bool:
        return len(self._running) >= self._pool.capacity or self._waiting >= WAITING

    def _deliver(self, key: str, verdict: Verdict) -> Iterator[Verdict]:
        leader = self._running.pop(key)
        self._waiting -= len(leader.followers)
        self._known.put(key, verdict)
        yield verdict
        for follower in leader.followers:
            yield as_cached(verdict, follower)
