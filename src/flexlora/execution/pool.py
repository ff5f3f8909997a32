"""Many programs at a time, one worker per core, with verdicts that do not depend on how loaded the machine is.

A verdict that the machine may have caused (a timeout with little CPU time, memory run out, output beyond its limit,
a sandbox that failed) is not believed at once: the program is run again, alone in its pool and with twice the time,
and that second verdict counts.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from flexlora.execution.judge import judge_program
from flexlora.execution.requirements import require
from flexlora.execution.running import Stopped, StopSignal
from flexlora.execution.verdict import Program, Verdict


def run_program(language: str, source: str, *, timeout_s: float | None = None, compat: bool = False) -> Verdict:
    """Run one program in the sandbox.

    Args:
        timeout_s: wall time limit of the run; None for the language's own.
        compat: where a published harness is laxer than the language's own rule, judge as it does.

    Raises:
        UsageError: unknown language, missing toolchain or no working sandbox.
    """
    program = Program("program", 0, language, source, timeout_s)
    require({language})
    verdict, doubtful = judge_program(program, compat=compat)
    return judge_program(program, patience=2, compat=compat)[0] if doubtful else verdict


def execute(
    programs: Iterable[Program], *, workers: int | None = None, compat: bool = False
) -> Generator[Verdict, None, None]:
    """Run programs in the sandbox; verdicts come as they are reached, in any order.

    `programs` is read a few ahead of the workers, so it may be endless. Closing the generator (or Ctrl-C) kills what
    runs. Who knows the languages beforehand calls `require` first; here each is checked when it is first met.

    Args:
        workers: programs at a time; None for one per core.
        compat: where a published harness is laxer than the language's own rule, judge as it does.

    Raises:
        UsageError: unknown language, missing toolchain or no working sandbox.
    """
    workers = workers or len(os.sched_getaffinity(0))
    pool = _Pool(workers, compat)
    checked: set[str] = set()
    waiting = 0
    try:
        for program in programs:
            if program.language not in checked:
                require({program.language})
                checked.add(program.language)
            pool.submit(program)
            waiting += 1
            while verdict := pool.next(wait=waiting >= 2 * workers):
                yield verdict
                waiting -= 1
        while waiting and (verdict := pool.next(wait=True)):
            yield verdict
            waiting -= 1
    finally:
        pool.close()


class _Pool:
    """Worker threads, each of which runs one program at a time from start to end."""

    def __init__(self, workers: int, compat: bool) -> None:
        self._compat = compat
        self._stop = StopSignal()
        self._turns = _Turns()
        self._programs: SimpleQueue[Program | None] = SimpleQueue()
        self._done: SimpleQueue[Verdict | BaseException] = SimpleQueue()
        # Daemons, so that a generator which nobody closed does not keep the interpreter from ending.
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, program: Program) -> None:
        self._programs.put(program)

    def next(self, *, wait: bool) -> Verdict | None:
        """The next verdict; None where there is none yet and we do not wait."""
        try:
            result = self._done.get(block=wait)
        except Empty:
            return None
        if isinstance(result, BaseException):
            raise result
        return result

    def close(self) -> None:
        """Call off what runs; returns when nothing is left."""
        self._stop.set()
        self._turns.stop()
        for _ in self._threads:
            self._programs.put(None)
        for thread in self._threads:
            thread.join()
        self._stop.close()

    def _work(self) -> None:
        try:
            while (program := self._programs.get()) is not None:
                self._done.put(self._judge(program))
        except Stopped:
            pass
        except BaseException as error:
            self._done.put(error)

    def _judge(self, program: Program) -> Verdict:
        with self._turns.together():
            verdict, doubtful = judge_program(program, compat=self._compat, stop=self._stop)
        if doubtful:
            with self._turns.alone():
                verdict, _ = judge_program(program, patience=2, compat=self._compat, stop=self._stop)
        return verdict


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
