"""The programs of this machine: one worker thread a core, with verdicts that do not depend on how loaded it is.

A verdict that the machine may have caused (a timeout, memory run out, output beyond its limit, a sandbox that failed)
is not believed at once: the program is run again, alone in its pool and cold, and that second verdict counts.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue

from flexlora.execution.judge import doubtful, judge
from flexlora.execution.outcome import Outcome
from flexlora.execution.requirements import require_here
from flexlora.execution.runner import Mode, Runner
from flexlora.execution.sandbox import Sandbox
from flexlora.execution.sandboxed import Stopped
from flexlora.execution.tests_of_program import judge_cases
from flexlora.execution.verdict import Program, Status, Verdict

AHEAD = 2
"""Programs read ahead, for each worker."""


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
        return require_here({language}, self._sandbox)[language]

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
        if program.cases is not None:
            return judge_cases(program, partial(self._attempt, runner), compat=self._compat)
        return self._attempt(runner, program)[0]

    def _attempt(self, runner: Runner, program: Program, believed: Collection[Status] = ()) -> tuple[Verdict, Outcome]:
        """Run a program; if the verdict is doubtful, and not `believed` all the same, alone and cold once more."""
        with self._turns.together():
            outcome = runner.run(program)
        verdict = judge(program, outcome, compat=self._compat)
        if not doubtful(verdict, outcome) or verdict.status in believed:
            return verdict, outcome
        with self._turns.alone(), self._runner(Mode.COLD) as cold:
            outcome = cold.run(program)
        return judge(program, outcome, compat=self._compat), outcome

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
