"""Execution beside generation: programs run while the completions that follow are still being generated.

A thread reads `samples.jsonl` as it grows and appends verdicts to `results.jsonl`. It works ahead of the execute stage
and replaces none of it: that stage checks every program against every result, runs what is missing, and reports what
failed. So a run that is stopped anywhere goes on as ever, and its results are those of one without this thread.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from flexlora.data import Problem
from flexlora.errors import FlexError
from flexlora.execution import Executor, How, Program, Status, execute_async
from flexlora.execution.results_file import Key, marks_of, recorded
from flexlora.execution.samples import writing
from flexlora.files import Record, append_jsonl, follow_appended

LOOK_S = 0.1
"""How often the file is looked at, and verdicts are fetched, while no sample comes."""

ToProgram = Callable[[Problem, Record], Program]


@dataclass(frozen=True, slots=True)
class _Task:
    """One evaluation whose samples are being written."""

    folder: Path
    problems: dict[str, Problem]
    complete: threading.Event = field(default_factory=threading.Event)


class Overlap:
    """Executes what `follow` was told of, one evaluation after the other, until the block is left.

    Leaving it waits for programs that run, or, after an error or Ctrl-C, kills them.
    """

    def __init__(self, to_program: ToProgram, how: How | None) -> None:
        """Args:
        to_program: the program of a problem and a record of its `samples.jsonl`.
        how: as in `execute`; None to do nothing at all.
        """
        self._to_program = to_program
        self._how: How = {**(how or {})}
        if self._how.get("executor") != Executor.RAY:  # there it is the workers of each node, as many as it has cores
            self._how["workers"] = self._how.get("workers") or max(1, len(os.sched_getaffinity(0)) - 1)
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._newest: _Task | None = None
        self._changed = threading.Condition()
        self._leaving = False
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._bug: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True) if how is not None else None

    def __enter__(self) -> Self:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        with self._changed:
            self._leaving = True
            if error is not None and self._running is not None:
                loop, task = self._running
                loop.call_soon_threadsafe(task.cancel)
            self._changed.notify_all()
        self._tasks.put(None)
        self._thread.join()
        if error is None and self._bug is not None:
            raise self._bug

    def follow(self, folder: Path, problems: Sequence[Problem]) -> None:
        """From now on samples are written to this evaluation's folder; those of the one before are complete."""
        if self._newest is not None:
            self._newest.complete.set()
        self._newest = _Task(folder, {problem.task_id: problem for problem in problems})
        self._tasks.put(self._newest)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None and not self._leaving:
            try:
                # Cancelled, or stopped by what the execute stage will meet again, and report.
                with suppress(asyncio.CancelledError, FlexError):
                    asyncio.run(self._execute(task))
            except BaseException as error:
                self._bug = error
                return

    async def _execute(self, task: _Task) -> None:
        current = asyncio.current_task()
        assert current is not None
        results = task.folder / "results.jsonl"
        with self._changed:
            if self._leaving:
                return
            self._running = asyncio.get_running_loop(), current
        try:
            with writing(results):
                done = recorded(results)
                if any(result.marks != marks_of(self._how) for result in done.values()):
                    return
                programs = self._programs(task, done.keys())
                async with aclosing(execute_async(programs, **self._how)) as verdicts:
                    async for verdict in verdicts:
                        if verdict.status is not Status.INFRASTRUCTURE_ERROR:
                            append_jsonl(results, verdict.record() | marks_of(self._how))
        finally:
            with self._changed:
                self._running = None

    def _programs(self, task: _Task, done: Container[Key]) -> Iterator[Program | None]:
        """The programs of an evaluation's samples without a result, as they are written; None while none is there."""
        records = follow_appended(task.folder / "samples.jsonl")
        while not self._leaving:
            complete = task.complete.is_set()  # asked before the file is
            record = next(records)
            if record is not None:
                problem = task.problems.get(record["task_id"])
                if problem is not None and (problem.task_id, record["sample"]) not in done:
                    yield self._to_program(problem, record)
            elif complete:
                return
            else:
                yield None
                with self._changed:
                    self._changed.wait_for(lambda: self._leaving, timeout=LOOK_S)
