from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flexlora.errors import FlexError, UsageError
from flexlora.execution import Program
from flexlora.execution.outcome import Outcome
from flexlora.execution.samples import execute_programs, read_programs
from flexlora.execution.sandboxed import SandboxBroken
from flexlora.execution.worker import Job, Worker

FIELDS = [
    *("task_id", "sample", "language", "status", "passed", "exit_code"),
    *("stdout", "stderr", "wall_s", "cpu_s", "cached", "program_sha256"),
]


def some(n: int) -> list[Program]:
    return [Program(f"t{i}", 0, "py", f"assert {i} != 1") for i in range(n)]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_results_are_written_with_all_fields_in_order(tmp_path: Path) -> None:
    seen = []
    summary = execute_programs(some(3), tmp_path / "results.jsonl", on_verdict=seen.append)
    records = lines(tmp_path / "results.jsonl")
    assert [list(record) for record in records] == [FIELDS] * 3
    assert {r["task_id"]: (r["status"], r["passed"]) for r in records} == {
        "t0": ("OK", True),
        "t1": ("Exception", False),
        "t2": ("OK", True),
    }
    assert [v.record() for v in seen] == records
    assert (summary.executed, summary.skipped, summary.statuses) == (3, 0, {"OK": 2, "Exception": 1})


def test_running_again_runs_only_what_is_missing_and_mends_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    execute_programs(some(3), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    summary = execute_programs(some(5), path)
    assert (summary.executed, summary.skipped) == (3, 2)
    assert sorted(str(record["task_id"]) for record in lines(path)) == ["t0", "t1", "t2", "t3", "t4"]
    before = path.read_bytes()
    assert execute_programs(some(5), path).executed == 0
    assert path.read_bytes() == before


def test_a_result_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    execute_programs(some(1), path)
    with pytest.raises(UsageError, match=r"t0 sample 0.*--overwrite"):
        execute_programs([Program("t0", 0, "py", "assert True")], path)


def test_a_result_of_a_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    execute_programs(some(2), path)
    with pytest.raises(UsageError, match=r"t1 sample 0, which is not among these programs.*--overwrite"):
        execute_programs(some(1), path)
    assert execute_programs(some(1), path, overwrite=True).executed == 1
    assert len(lines(path)) == 1


@pytest.mark.parametrize(("first", "then"), [({}, {"compat": True}), ({"compat": True}, {}), ({"sandbox": "none"}, {})])
def test_verdicts_reached_in_different_ways_are_not_mixed(
    first: dict[str, Any], then: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "results.jsonl"
    execute_programs(some(2), path, **first)
    assert execute_programs(some(2), path, **first).skipped == 2
    with pytest.raises(UsageError, match=r"reached by .*--overwrite"):
        execute_programs(some(2), path, **then)
    assert execute_programs(some(2), path, overwrite=True, **then).executed == 2


def test_the_same_key_twice_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="t0 sample 0"):
        execute_programs([*some(2), *some(1)], tmp_path / "results.jsonl")
    assert not (tmp_path / "results.jsonl").exists()


def test_programs_that_can_be_read_only_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="read twice"):
        execute_programs(iter(some(2)), tmp_path / "results.jsonl")
    assert execute_programs(lambda: iter(some(2)), tmp_path / "results.jsonl").executed == 2


def test_programs_that_change_between_the_readings_are_refused(tmp_path: Path) -> None:
    changed = [Program("t0", 0, "py", "assert True"), *some(2)[1:]]
    for other, message in ((changed, "t0 sample 0 changed"), (some(1), "There were 2 programs, now there are 1")):
        readings = iter((some(2), other))
        with pytest.raises(UsageError, match=message):
            execute_programs(lambda readings=readings: next(readings), tmp_path / "results.jsonl")


def test_results_are_numbered_by_the_lowest_free_number(tmp_path: Path) -> None:
    samples = [{}, {"sample": 1}, {}, {}, {"sample": 5}, {}]
    path = write(tmp_path / "p.jsonl", *({"language": "py", "program": "", "task_id": "x"} | s for s in samples))
    assert [program.sample for program in read_programs(path)] == [0, 1, 2, 3, 5, 4]


def test_a_file_that_holds_no_results_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"x": 1}\n{"y": 2}')
    with pytest.raises(UsageError, match="line 1: not a result"):
        execute_programs(some(1), path)
    assert path.read_text() == '{"x": 1}\n{"y": 2}'
    with pytest.raises(UsageError, match=r"cannot be written.*--output"):
        execute_programs(some(1), tmp_path)


def test_two_processes_do_not_execute_into_one_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process"):
            execute_programs(some(1), path)


def test_programs_that_the_harness_could_not_run_have_no_result_and_are_run_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    run = Worker.run

    def broken_for_one(self: Worker, job: Job) -> Outcome:
        if some(3)[2].source.encode() in job.files.values():
            raise SandboxBroken("no such sandbox")
        return run(self, job)

    monkeypatch.setattr(Worker, "run", broken_for_one)
    with pytest.raises(FlexError, match=r"1 programs .* t2 sample 0: no such sandbox"):
        execute_programs(some(3), path)
    assert sorted(str(record["task_id"]) for record in lines(path)) == ["t0", "t1"]
    monkeypatch.undo()
    assert execute_programs(some(3), path).executed == 1


SLOW_STAGE = """
import sys
from pathlib import Path
from flexlora.execution import Program
from flexlora.execution.samples import execute_programs
source = "import subprocess; subprocess.run(['sh', '-c', 'sleep 0.%d; true', '{marker}'])"
programs = [Program(f"t{{i}}", 0, "py", source % (i % 3 + 1) + f"  # {{i}}") for i in range(40)]
execute_programs(programs, Path({path!r}), workers=3)
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_stage_leaves_no_process_and_resumes_without_gaps_or_doubles(
    ending: signal.Signals,
    tmp_path: Path,
    marker: str,
    left_behind: Callable[[str], list[str]],
    orphaned_sandboxes: Callable[[], set[str]],
    wait_until: Callable[[Callable[[], object]], None],
) -> None:
    path = tmp_path / "results.jsonl"
    script = SLOW_STAGE.format(marker=marker, path=str(path))
    before = orphaned_sandboxes()
    for wanted in (4, 12, 20):
        process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
        wait_until(lambda n=wanted: path.exists() and path.read_bytes().count(b"\n") >= n)
        process.send_signal(ending)
        process.wait(timeout=60)
        wait_until(lambda: not left_behind(marker))
        wait_until(lambda: orphaned_sandboxes() <= before)
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    records = lines(path)
    assert sorted(str(r["task_id"]) for r in records) == sorted(f"t{i}" for i in range(40))
    assert all(r["passed"] for r in records)


# read_programs


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_programs_are_read_with_their_defaults(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.jsonl",
        {"language": "py", "program": "a"},
        {"language": "java", "program": "b", "task_id": "x"},
        {"language": "py", "program": "c", "task_id": "x"},
        {"language": "py", "program": "d", "task_id": "y", "sample": 7, "passed": True},
    )
    assert list(read_programs(path)) == [
        Program("program/1", 0, "py", "a"),
        Program("x", 0, "java", "b"),
        Program("x", 1, "py", "c"),
        Program("y", 7, "py", "d"),
    ]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"language": "py"}, "`program` must be a string; it is missing"),
        ({"program": "x"}, "`language` must be a string; it is missing"),
        ({"language": "py", "program": 3}, "`program` must be a string; it is 3"),
        ({"language": "cobol", "program": ""}, "`language` must be one of cpp, .*py, .*; it is 'cobol'"),
        ({"language": "py", "program": "", "task_id": 1}, "`task_id` must be a string; it is 1"),
        ({"language": "py", "program": "", "sample": "1"}, "`sample` must be a number from 0; it is '1'"),
        ({"language": "py", "program": "", "sample": True}, "`sample` must be a number from 0; it is True"),
    ],
)
def test_a_wrong_field_is_named_with_file_and_line(tmp_path: Path, record: object, message: str) -> None:
    path = write(tmp_path / "p.jsonl", {"language": "py", "program": ""}, record)
    with pytest.raises(UsageError, match=f"p.jsonl, line 2: {message}"):
        list(read_programs(path))


def test_nothing_heavy_is_imported() -> None:
    script = "import sys, flexlora.execution.samples, flexlora.execution.doctor; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "pydantic", "rich", "numpy", "transformers"} & set(modules.split())
