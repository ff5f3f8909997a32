from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest

from flexlora.errors import FlexError
from flexlora.execution import Program, Sandbox, Status, Verdict, execute
from flexlora.execution.cache import VerdictCache, key_of
from flexlora.execution.languages import LANGUAGES
from flexlora.execution.runner import Runner
from flexlora.execution.sandboxed import SandboxBroken
from flexlora.execution.worker import Worker

PROGRAM = Program("t", 0, "py", "assert 2 > 1")


def run(programs: list[Program], **options: bool) -> list[Verdict]:
    return list(execute(programs, workers=2, **options))


def no_more_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Runner, program: Program) -> None:
        raise AssertionError(f"{program.task_id} runs again")

    monkeypatch.setattr(Runner, "run", run)


def test_a_verdict_is_given_again_without_running(monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = run([PROGRAM])
    no_more_runs(monkeypatch)
    (second,) = run([dataclasses.replace(PROGRAM, task_id="other", sample=3)])
    assert second == dataclasses.replace(first, task_id="other", sample=3, cached=True)
    assert not first.cached


def test_without_the_cache_it_runs_again() -> None:
    run([PROGRAM])
    (again,) = run([PROGRAM], cache=False)
    assert not again.cached


def test_a_call_without_the_cache_leaves_nothing_behind(own_verdicts: Path) -> None:
    run([PROGRAM], cache=False)
    assert list(own_verdicts.iterdir()) == []


def test_failures_of_the_harness_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    run([Program("warm-up", 0, "py", "pass")])

    def broken(self: Worker, job: object) -> None:
        raise SandboxBroken("no such sandbox")

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "run", broken)
        (verdict,) = run([PROGRAM])
    assert verdict.status is Status.INFRASTRUCTURE_ERROR
    (again,) = run([PROGRAM])
    assert (again.status, again.cached) == (Status.OK, False)


def test_the_key_holds_all_that_a_verdict_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(
        program: Program = PROGRAM, version: str = "3.11.2", compat: bool = False, sandbox: str = "bubblewrap"
    ) -> str:
        return key_of(program, version, compat=compat, sandbox=Sandbox(sandbox))

    keys = [
        key(),
        key(dataclasses.replace(PROGRAM, source="assert 3 > 1")),
        key(dataclasses.replace(PROGRAM, language="java")),
        key(dataclasses.replace(PROGRAM, timeout_s=3.0)),
        key(compat=True),
        key(version="3.11.3"),
        key(sandbox="none"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr("flexlora.execution.cache.ENGINE", -1)
        keys.append(key())
    with monkeypatch.context() as patch:
        patch.setitem(LANGUAGES, "py", dataclasses.replace(LANGUAGES["py"], memory_bytes=1 << 31))
        keys.append(key())
    assert len(set(keys)) == len(keys)
    assert key(dataclasses.replace(PROGRAM, task_id="other", sample=9)) == keys[0]


def test_a_damaged_cache_is_named_and_not_passed_over(own_verdicts: Path) -> None:
    path = own_verdicts / "verdicts.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(FlexError, match=rf"{path}.*--no-cache"):
        run([PROGRAM])


def test_several_processes_may_share_it(tmp_path: Path) -> None:
    (verdict,) = run([PROGRAM], cache=False)

    def fill(first: int) -> None:
        with VerdictCache(tmp_path) as cache:
            for i in range(first, first + 50):
                cache.put(f"key{i}", verdict)

    threads = [threading.Thread(target=fill, args=(i,)) for i in range(0, 200, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with VerdictCache(tmp_path) as cache:
        assert all(cache.get(f"key{i}", PROGRAM) for i in range(225))
        assert cache.get("key1000", PROGRAM) is None
