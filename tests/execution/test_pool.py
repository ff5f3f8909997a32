from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flexlora.errors import UsageError
from flexlora.execution import (
    Mode,
    Program,
    Verdict,
    execute,
    execute_async,
    require,
    run_program,
    run_program_async,
)
from flexlora.execution.languages import LANGUAGES
from flexlora.execution.local_pool import _Turns
from flexlora.execution.outcome import End, Outcome
from flexlora.execution.runner import Runner

LeftBehind = Callable[[str], list[str]]
WaitUntil = Callable[[Callable[[], object]], None]


def sleeper(marker: str, number: int = 0) -> str:
    return f"import os; os.execv('/bin/sh', ['sh', '-c', 'sleep 1000; true', '{marker}'])  # {number}"


def test_every_program_has_its_verdict() -> None:
    programs = [Program(f"t{i}", i % 3, "py", f"assert {i} % 7") for i in range(60)]
    verdicts = {(v.task_id, v.sample): v for v in execute(programs, workers=4)}
    assert {key: v.passed for key, v in verdicts.items()} == {
        (p.task_id, p.sample): int(p.task_id[1:]) % 7 != 0 for p in programs
    }
    assert all(v.program_sha256 == p.sha256 for p in programs for v in [verdicts[p.task_id, p.sample]])


def test_programs_are_read_only_a_little_ahead() -> None:
    read = itertools.count()
    programs = (Program(f"t{i}", 0, "py", f"assert {i} >= 0") for _ in itertools.count() if (i := next(read)) >= 0)
    verdicts = execute(programs, workers=2, cache=False)
    for _ in range(5):
        next(verdicts)
    verdicts.close()
    assert next(read) <= 5 + 2 * 2 + 1


def test_no_programs_no_verdicts() -> None:
    assert list(execute([])) == []


def test_closing_kills_what_runs(left_behind: LeftBehind, marker: str, wait_until: WaitUntil) -> None:
    programs = [
        Program("quick", 0, "py", "pass"),
        *(Program("slow", i, "py", sleeper(marker, i), 900) for i in range(9)),
    ]
    verdicts = execute(programs, workers=3)
    assert next(verdicts).task_id == "quick"
    wait_until(lambda: len(left_behind(marker)) == 3)
    verdicts.close()
    assert left_behind(marker) == []


def test_an_error_in_the_programs_kills_what_runs(left_behind: LeftBehind, marker: str) -> None:
    def programs() -> Iterator[Program]:
        yield Program("slow", 0, "py", sleeper(marker), 900)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        list(execute(programs()))
    assert left_behind(marker) == []


def test_what_is_no_program_and_an_unknown_mode_are_refused() -> None:
    with pytest.raises(TypeError, match=r"Not a flexlora\.execution\.Program: .'py', 'pass'"):
        list(execute([("py", "pass")]))  # type: ignore[list-item]  # on purpose
    with pytest.raises(UsageError, match="Unknown mode 'hot'"):
        run_program("py", "pass", mode="hot")


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(UsageError, match="cobol"):
        list(execute([Program("t", 0, "cobol", "")]))


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_sandbox_outlives_this_process(
    ending: signal.Signals, left_behind: LeftBehind, marker: str, wait_until: WaitUntil
) -> None:
    script = (
        "from flexlora.execution import Program, execute\n"
        f"programs = (Program('t', i, 'py', {sleeper(marker)!r} + str(i), 900) for i in range(9))\n"
        "list(execute(programs, workers=3))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL, start_new_session=True)
    wait_until(lambda: sum("sh -c sleep 1000" in command for command in left_behind(marker)) == 3)
    os.kill(process.pid, ending)
    process.wait(timeout=60)
    wait_until(lambda: not left_behind(marker))


def test_who_sleeps_has_twice_its_time() -> None:
    assert run_program("py", "import time; time.sleep(2.5)", timeout_s=2).passed


def test_a_timeout_is_run_again_alone_and_cold_before_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[Mode] = []
    run = Runner.run

    def late_unless_cold(self: Runner, program: Program) -> Outcome:
        modes.append(self._mode)
        outcome = run(self, program)
        if self._mode is Mode.COLD:
            return outcome
        return dataclasses.replace(outcome, end=End.TIMEOUT, exit_code=None)

    require({"py"})
    monkeypatch.setattr(Runner, "run", late_unless_cold)
    assert run_program("py", "pass").passed
    assert modes == [Mode.WARM, Mode.COLD]


def test_busy_loops_are_timeouts_however_many_run_at_a_time() -> None:
    programs = [Program("t", i, "py", f"while {i + 1}: pass", 0.5) for i in range(8)]
    assert {verdict.status for verdict in execute(programs, workers=8, cache=False)} == {"Timeout"}


def test_slow_programs_pass_on_a_loaded_machine() -> None:
    # About 0.3 CPU seconds each, of 0.5; eight at a time on each core take 2.4 s and more.
    source = "import time\nwhile time.process_time() < 0.3 + %d * 1e-9: pass"
    cores = len(os.sched_getaffinity(0))
    programs = [Program("t", i, "py", source % i, 0.5) for i in range(8 * cores)]
    assert all(verdict.passed for verdict in execute(programs, workers=8 * cores, cache=False))


def test_who_runs_alone_runs_alone() -> None:
    turns, running, most = _Turns(), [], []

    def together() -> None:
        for _ in range(200):
            with turns.together():
                running.append("t")
                assert "a" not in running
                running.remove("t")

    def alone() -> None:
        for _ in range(50):
            with turns.alone():
                running.append("a")
                most.append(len(running))
                running.remove("a")

    threads = [threading.Thread(target=target) for target in (together, together, alone, alone)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1] * 100


def test_cpu_time_is_that_of_the_program_and_its_children() -> None:
    burn = "while time.process_time() < 0.5: pass\n"
    alone = run_program("py", f"import time\n{burn}")
    assert alone.cpu_s > 0.45
    both = run_program("py", f"import os, time\npid = os.fork()\n{burn}if pid: os.wait()")
    assert both.cpu_s > 0.95


def test_nothing_stays_open() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def children() -> set[str]:  # even dead ones
        return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}

    run_program("py", "pass")
    before, others = descriptors(), children()
    sources = ("pass", "while True: print('x' * 9999)", "import os\nfor _ in range(9): os.fork()")
    programs = [Program("t", i, "py", f"{source}\n# {i}") for i, source in enumerate(sources * 3)]
    list(execute(programs, cache=False))
    next(iter(execute(programs, cache=False)))
    run_program("java", LANGUAGES["java"].known_good)
    run_program("py", "while True: pass", timeout_s=0.1)
    assert descriptors() == before
    assert children() <= others


def test_a_program_goes_first_when_memory_is_short_and_its_init_stays_as_we_are() -> None:
    source = """
import time
def score(process): return open(f"/proc/{process}/oom_score_adj").read().strip()
while score(1) == "1000": time.sleep(0.01)
print(score("self"), score(1))
"""
    script = (
        "import sys\nfrom pathlib import Path\nfrom flexlora.execution import run_program\n"
        "Path('/proc/self/oom_score_adj').write_text('500')  # as in many containers\n"
        "for mode in ('warm', 'fresh', 'cold'): print(run_program('py', sys.argv[1], mode=mode).stdout)"
    )
    done = subprocess.run([sys.executable, "-c", script, source], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1000", "500"] * 3


# Equal programs


def test_equal_programs_run_once_and_each_sample_has_the_verdict() -> None:
    source = "import time; time.sleep(0.3); assert %d"
    programs = [Program(f"t{i}", i, "py", source % (i % 2)) for i in range(40)]
    verdicts = list(execute(programs, workers=3, cache=False))
    assert {(v.task_id, v.sample, v.passed) for v in verdicts} == {(f"t{i}", i, bool(i % 2)) for i in range(40)}
    assert sum(not verdict.cached for verdict in verdicts) == 2


def test_equal_sources_with_other_limits_or_languages_are_other_programs() -> None:
    programs = [Program("a", 0, "py", "pass"), Program("b", 0, "py", "pass", 3.0), Program("c", 0, "sh", "pass")]
    verdicts = {verdict.task_id: verdict for verdict in execute(programs, workers=1, cache=False)}
    assert not any(verdict.cached for verdict in verdicts.values())
    assert {task_id: verdict.passed for task_id, verdict in verdicts.items()} == {"a": True, "b": True, "c": False}


def test_the_sources_of_programs_that_wait_for_an_equal_one_are_not_kept() -> None:
    alive: weakref.WeakSet[_Source] = weakref.WeakSet()
    most = 0

    def programs() -> Iterator[Program]:
        nonlocal most
        for i in range(300):
            source = _Source("import time; time.sleep(0.5)")
            alive.add(source)
            yield Program(f"t{i}", 0, "py", source)
            most = max(most, len(alive))

    assert len(list(execute(programs(), workers=2, cache=False))) == 300
    assert most <= 10


class _Source(str):
    """A string that can be watched."""


# asyncio


def test_the_event_loop_is_free_while_programs_run() -> None:
    async def main() -> tuple[list[Verdict], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticker = asyncio.create_task(tick())
        programs = [Program("t", i, "py", f"import time; time.sleep(0.2); assert {i}") for i in range(4)]
        verdicts = [verdict async for verdict in execute_async(programs, workers=2, cache=False)]
        ticker.cancel()
        return verdicts, ticks

    verdicts, ticks = asyncio.run(main())
    assert {verdict.sample: verdict.passed for verdict in verdicts} == {0: False, 1: True, 2: True, 3: True}
    assert ticks > 5


def test_cancelling_a_task_kills_what_it_runs(left_behind: LeftBehind, marker: str) -> None:
    async def main() -> None:
        task = asyncio.create_task(run_program_async("py", sleeper(marker), timeout_s=900))
        while not left_behind(marker):
            await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert left_behind(marker) == []


def test_an_error_reaches_who_awaits() -> None:
    with pytest.raises(UsageError, match="cobol"):
        asyncio.run(run_program_async("cobol", ""))
