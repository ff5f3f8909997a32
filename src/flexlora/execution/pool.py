"""Many programs at a time, one worker per core, with verdicts that do not depend on how loaded the machine is.

One queue holds programs of all tasks, samples and languages. Equal programs run once: a verdict that is known, here or
from an earlier run on this machine, is given again (`Verdict.cached`).

A verdict that the machine may have caused (a timeout, memory run out, output beyond its limit, a sandbox that failed)
is not believed at once: the program is run again, alone in its pool and cold, and that second verdict counts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Protocol

from flexlora.execution.bare import WARNING
from flexlora.execution.cache import VerdictCache, as_cached, key_of
from flexlora.execution.how import Executor
from flexlora.execution.judge import doubtful, judge
from flexlora.execution.requirements import require
from flexlora.execution.runner import Mode, Runner
from flexlora.execution.sandbox import Sandbox
from flexlora.execution.sandboxed import Stopped
from flexlora.execution.verdict import Program, Verdict
from flexlora.execution.warm import default_folder

AHEAD = 2
"""Programs read ahead, for each worker."""
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
    within = _allowed(sandbox)
    with (
        VerdictCache(default_folder() if cache else None) as known,
        closing(_pool(executor, workers, mode, compat, within)) as pool,
    ):
        yield from _Execution(pool, known, compat, within).verdicts(programs)


async def execute_async(
    programs: Iterable[Program],
    *,
    workers: int | None = None,
    mode: Mode | str = Mode.WARM,
    cache: bool = True,
    compat: bool = False,
    sandbox: Sandbox | str = Sandbox.BUBBLEWRAP,
    executor: Executor | str = Executor.LOCAL,
) -> AsyncGenerator[Verdict, None]:
    """`execute` for asyncio: the event loop is free while programs run. Closing or cancelling it kills what runs."""
    within = _allowed(sandbox)
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


def _allowed(name: Sandbox | str) -> Sandbox:
    """The sandbox with this name; to have none is warned of, each time."""
    sandbox = Sandbox(name)
    if sandbox is Sandbox.NONE:
        logging.getLogger(__name__).warning(WARNING)
    return sandbox


def _pool(executor: Executor | str, workers: int | None, mode: Mode | str, compat: bool, sandbox: Sandbox) -> Pool:
    if Executor(executor) is Executor.LOCAL:
        return LocalPool(workers or len(os.sched_getaffinity(0)), Mode(mode), compat, sandbox)
    from flexlora.execution.ray_pool import RayPool  # imports this file

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

    def verdicts(self, programs: Iterable[Program]) -> Generator[Verdict, None, None]:
        versions: dict[str, str] = {}
        for program in programs:
            if program.language not in versions:
                versions[program.language] = self._pool.version_of(program.language)
            key = key_of(program, versions[program.language], compat=self._compat, sandbox=self._sandbox)
            if leader := self._running.get(key):
                leader.followers.append(replace(program, source=""))
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


class LocalPool:
    """Worker threads, each of which runs one program at a time from start to end."""

    def __init__(self, workers: int, mode: Mode, compat: bool, sandbox: Sandbox) -> None:
        self._mode, self._compat, self._sandbox = mode, compat, sandbox
        self._lock = threading.Lock()
        self._stopped = False
        self._runners: set[Runner] = set()
        self._turns = _Turns()
        self._programs: SimpleQueue[tuple[str, Program] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[str, Verdict] | BaseException] = SimpleQueue()
        # Daemons, so that a generator which nobody closed does not keep the interpreter from ending.
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    @property
    def capacity(self) -> int:
        return AHEAD * len(self._threads)

    def version_of(self, language: str) -> str:
        return require({language}, sandbox=self._sandbox)[language]

    def submit(self, key: str, program: Program) -> None:
        self._programs.put((key, program))

    def next(self, *, wait: bool) -> tuple[str, Verdict] | None:
        try:
            result = self._done.get(block=wait)
        except Empty:
            return None
        if isinstance(result, BaseException):
            raise result
        return result

    def close(self) -> None:
        with self._lock:
            self._stopped = True
            runners = set(self._runners)
        self._turns.stop()
        for runner in runners:
            runner.stop()
        for _ in self._threads:
            self._programs.put(None)
        for thread in self._threads:
            thread.join()
        self._done.put(Stopped())  # for who still waits for a verdict

    def _work(self) -> None:
        try:
            with self._runner(self._mode) as runner:
                while (job := self._programs.get()) is not None:
                    key, program = job
                    self._done.put((key, self._judge(runner, program)))
        except Stopped:
            pass
        except BaseException as error:
            self._done.put(error)

    def _judge(self, runner: Runner, program: Program) -> Verdict:
        with self._turns.together():
            outcome = runner.run(program)
        verdict = judge(program, outcome, compat=self._compat)
        if not doubtful(verdict, outcome):
            return verdict
        with self._turns.alone(), self._runner(Mode.COLD) as cold:
            return judge(program, cold.run(program), compat=self._compat)

    @contextmanager
    def _runner(self, mode: Mode) -> Iterator[Runner]:
        runner = Runner(mode, self._sandbox)
        with self._lock:
            self._runners.add(runner)
            if self._stopped:
                runner.stop()
        try:
            yield runner
        finally:
            with self._lock:
                self._runners.discard(runner)
            runner.close()


class _Turns:
    """Programs run together, or one alone; who wants to run alone goes before those who have not started."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._alone_waiting = 0
        self._alone = False
        self._stopped = False

    @contextmanager
    def together(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not (self._alone or self._alone_waiting))
            self._raise_if_stopped()
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._alone_waiting += 1
            self._changed.wait_for(lambda: self._stopped or not (self._alone or self._running))
            self._alone_waiting -= 1
            self._raise_if_stopped()
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _raise_if_stopped(self) -> None:
        if self._stopped:
            raise Stopped
