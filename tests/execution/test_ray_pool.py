"""On two real nodes of a Ray cluster, on loopback addresses of this machine; each test has a cluster of its own."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import flexlora
from flexlora.errors import FlexError, UsageError
from flexlora.execution import Executor, Program, Verdict, execute, execute_async, run_program, run_program_async
from flexlora.execution.cache import ENGINE
from flexlora.execution.ray_node import RayNode
from flexlora.execution.ray_pool import RayPool
from flexlora.execution.runner import Mode
from flexlora.execution.sandbox import Sandbox
from ray_nodes import HEAD, OTHER, Start, clusters, descendants, kill, ray

LeftBehind = Callable[[str], list[str]]
WaitUntil = Callable[[Callable[[], object]], None]
OtherFlexlora = Callable[[str, str, str], dict[str, str]]

SOURCE = Path(flexlora.__file__).parent


def command_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a cluster and has RAY_ADDRESS name it; all of it ends with the test."""
    with clusters(monkeypatch) as start:
        yield start


@pytest.fixture
def other_flexlora(tmp_path: Path) -> OtherFlexlora:
    """Makes a copy of the package in which one piece of text is another; the environment of a node that uses it."""

    def change(file: str, text: str, instead: str) -> dict[str, str]:
        copy = tmp_path / "flexlora"
        shutil.copytree(SOURCE, copy)
        path = copy / file
        assert path.read_text().count(text) == 1
        path.write_text(path.read_text().replace(text, instead))
        return {"PYTHONPATH": str(tmp_path)}

    return change


def some_programs(count: int, *, seconds: float = 0) -> list[Program]:
    sources = ("assert {i} >= 0", "assert {i} < 0", "assert {i} >= 0 and (", "print({i} * 'x')")
    sleep = f"import time; time.sleep({seconds})\n" if seconds else ""
    return [
        Program(f"t{i}", i % 3, "py", sleep + sources[i % len(sources)].format(i=i), timeout_s=60) for i in range(count)
    ]


def what_was_found(verdicts: Iterable[Verdict]) -> list[tuple[object, ...]]:
    """All but the milliseconds, sorted; a verdict that is there twice is here twice."""
    return sorted((v.task_id, v.sample, v.status, v.passed, v.exit_code, v.stdout, v.stderr) for v in verdicts)


def nodes_at_work(marker: str) -> int:
    """How many nodes' pools have a process with this word below them."""
    return sum(any(marker.encode() in command_of(below) for below in descendants(pool)) for pool in pools())


def pools() -> list[int]:
    """The processes of the actors that this process's nodes have started."""
    return [process for process in descendants(os.getpid()) if b"RayNode" in command_of(process)]


def sleepers(marker: str, count: int = 9) -> list[Program]:
    source = f"import os; os.execv('/bin/sh', ['sh', '-c', 'sleep 1000; true', '{marker}'])"
    return [Program("slow", i, "py", f"{source}  # {i}", 900) for i in range(count)]


def test_two_nodes_find_what_one_machine_finds(start: Start) -> None:
    start()
    programs = [*some_programs(60), Program("js", 0, "js", "throw 1"), Program("sh", 0, "sh", "exit 0")]
    found = list(execute(programs, executor="ray", cache=False))
    assert what_was_found(found) == what_was_found(execute(programs, cache=False))
    assert not ray.is_initialized()


@pytest.mark.thorough
def test_the_verdicts_are_kept_under_the_same_keys_as_those_of_one_machine(start: Start) -> None:
    start()
    programs = some_programs(8)
    assert not any(verdict.cached for verdict in execute(programs, executor="ray"))
    assert all(verdict.cached for verdict in execute(programs))
    assert run_program("py", "assert 1", executor=Executor.RAY).passed


@pytest.mark.thorough
def test_all_nodes_work_and_closing_ends_it(
    start: Start, marker: str, left_behind: LeftBehind, wait_until: WaitUntil
) -> None:
    start()
    verdicts = execute([Program("quick", 0, "py", "pass"), *sleepers(marker)], executor="ray", workers=2)
    assert next(verdicts).task_id == "quick"
    wait_until(lambda: len([line for line in left_behind(marker) if line.startswith("sh -c")]) == 4)
    assert nodes_at_work(marker) == 2
    verdicts.close()
    assert left_behind(marker) == []
    wait_until(lambda: not pools())


@pytest.mark.thorough
@pytest.mark.slow
def test_cancelling_a_task_ends_what_runs_on_the_nodes(start: Start, marker: str, left_behind: LeftBehind) -> None:
    async def run() -> None:
        async for _ in execute_async(sleepers(marker), executor="ray", cache=False):
            pass

    async def main() -> None:
        task = asyncio.create_task(run())
        while nodes_at_work(marker) < 2:
            assert not task.done(), task.exception()
            await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    start()
    asyncio.run(main())
    assert left_behind(marker) == []


@pytest.mark.thorough
@pytest.mark.slow
def test_the_callers_connection_is_used_and_left_open(start: Start) -> None:
    nodes = start(head_cpus=0)
    ray.init(address=nodes.cluster.address, log_to_driver=False)
    for _ in range(2):
        assert run_program("py", "assert 1", executor="ray").passed
    assert ray.is_initialized()


@pytest.mark.thorough
@pytest.mark.slow
def test_the_programs_of_a_lost_node_go_to_the_others(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    nodes = start()
    programs = some_programs(80, seconds=0.05)
    verdicts = execute(programs, executor="ray", cache=False)
    found = [next(verdicts) for _ in range(30)]
    nodes.kill_other()
    found += verdicts
    (warning,) = [record.message for record in caplog.records if record.name.startswith("flexlora")]
    assert re.search(rf"{OTHER}.* is lost", warning)
    assert what_was_found(found) == what_was_found(execute(programs, cache=False))


@pytest.mark.thorough
@pytest.mark.slow
def test_a_node_that_joins_later_gets_work(
    start: Start, marker: str, left_behind: LeftBehind, wait_until: WaitUntil
) -> None:
    nodes = start()
    with closing(RayPool(None, Mode.WARM, False, Sandbox.BUBBLEWRAP)) as pool:
        pool.version_of("py")
        nodes.add()
        for program in sleepers(marker, 12):
            pool.submit(str(program.sample), program)
        wait_until(lambda: nodes_at_work(marker) == 3)
    assert left_behind(marker) == []


@pytest.mark.thorough
@pytest.mark.slow
def test_nodes_whose_cpus_others_hold_are_not_waited_for(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = start()
    ray.init(address=nodes.cluster.address, log_to_driver=False)
    holder = ray.remote(num_cpus=1)(RayNode).remote()  # anything that is installed there
    ray.get(holder.identity.remote())
    monkeypatch.setattr("flexlora.execution.ray_cluster.START_S", 0.1)
    assert run_program("py", "assert 1", executor="ray").passed
    assert any(re.search(r"Not started .*`ray status`", record.message) for record in caplog.records)


@pytest.mark.thorough
def test_nothing_outlives_a_killed_driver(
    start: Start, marker: str, left_behind: LeftBehind, wait_until: WaitUntil
) -> None:
    start()
    script = (
        "from flexlora.execution import Program, execute\n"
        f"list(execute([Program('t', 0, 'py', {sleepers(marker)[0].source!r}, 900)], executor='ray', cache=False))"
    )
    driver = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL, start_new_session=True)
    wait_until(lambda: nodes_at_work(marker))
    driver.kill()
    driver.wait(timeout=60)
    wait_until(lambda: not left_behind(marker))


@pytest.mark.thorough
def test_without_any_node_left_it_ends_and_says_what_to_do(start: Start) -> None:
    start()
    verdicts = execute(some_programs(80, seconds=0.05), executor="ray", cache=False)
    for _ in range(10):
        next(verdicts)
    kill(pools())
    with pytest.raises(FlexError, match=r"No node .* is left.*`ray start`.*same command again") as failed:
        list(verdicts)
    assert not isinstance(failed.value, UsageError)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("file", "text", "instead", "says"),
    [
        ("execution/languages/py.py", 'tool_version(python, "--version")', '"python3 0.0.1"', "has python3 0.0.1"),
        ("execution/sandbox.py", '("bwrap", "setpriv", "timeout")', '("nobwrap", "setpriv", "timeout")', "bubblewrap"),
        ("execution/cache.py", f"ENGINE = {ENGINE}\n", "ENGINE = -1\n", r"engine -1\)"),
        ("version.py", f'"{flexlora.__version__}"', '"0.0.0"', r"flexlora 0\.0\.0"),
    ],
    ids=["toolchain", "sandbox", "engine", "version"],
)
def test_nodes_that_would_judge_otherwise_are_refused(
    start: Start, other_flexlora: OtherFlexlora, file: str, text: str, instead: str, says: str
) -> None:
    start(other_flexlora(file, text, instead))
    with pytest.raises(UsageError, match=rf"(?s){OTHER} \(.*{says}"):
        list(execute(some_programs(3), executor="ray"))


@pytest.mark.thorough
def test_a_language_that_a_node_lacks_is_refused_when_it_is_met(start: Start, other_flexlora: OtherFlexlora) -> None:
    start(other_flexlora("execution/languages/sh.py", 'find_tool("bash")', 'find_tool("nobash")'))
    programs = [*some_programs(4), Program("sh", 0, "sh", "exit 0"), *some_programs(4)]
    found = []
    with pytest.raises(UsageError, match=rf"(?s)judge sh alike.*{HEAD} .* has bash .*{OTHER} .* has none.*`nobash`"):
        found.extend(execute(programs, executor="ray", cache=False))
    assert all(verdict.language == "py" for verdict in found)


@pytest.mark.thorough
def test_a_node_without_flexlora_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "flexlora.py").write_text("raise ImportError('nothing of the kind')")
    start({"PYTHONPATH": str(tmp_path)})
    with pytest.raises(UsageError, match=rf"(?s){OTHER} \(.*nothing of the kind.*Install flexlora"):
        run_program("py", "pass", executor="ray")


@pytest.mark.parametrize("address", ["nobody", "local", "ray://127.0.0.2:10001", "no address"])
def test_without_a_cluster_nothing_is_started(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    if address == "nobody":
        with socket.create_server((HEAD, 0)) as server:
            address = f"{HEAD}:{server.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UsageError, match=rf"RAY_ADDRESS={address}.*`ray start --head`"):
        asyncio.run(run_program_async("py", "pass", executor="ray"))
    assert not ray.is_initialized()


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'flexlora\[ray\]'"):
        run_program("py", "pass", executor="ray")


def test_an_unknown_language_or_executor_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Unknown executor 'sky'\. Known: local, ray"):
        run_program("py", "pass", executor="sky")
    with pytest.raises(UsageError, match="cobol"):
        run_program("cobol", "", executor="ray")


def test_a_cluster_always_has_the_sandbox() -> None:
    with pytest.raises(UsageError, match=r"sandbox: none .* does not go with executor: ray"):
        run_program("py", "assert 1 == 1", executor="ray", sandbox="none")
