"""Programs that run while samples are still being written: earlier, and with the same results."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from flexlora.data import Problem
from flexlora.evaluated import program_of
from flexlora.execution import Status
from flexlora.execution.samples import execute_programs
from flexlora.files import append_jsonl, read_appended
from flexlora.overlap import Overlap

PROBLEM = Problem(
    task="t", task_id="t/0", language="py", prompt="", prompt_style="verbatim", stop_tokens=(), prefix="", suffix=""
)  # fmt: skip
HOW: Any = {"workers": 1, "cache": False}


def write(folder: Path, sample: int, completion: str) -> None:
    append_jsonl(folder / "samples.jsonl", {"task_id": "t/0", "sample": sample, "completion": completion})


def statuses(folder: Path) -> dict[int, str]:
    return {record["sample"]: record["status"] for record in read_appended(folder / "results.jsonl")}


def wait_for(folder: Path, results: int) -> None:
    while len(statuses(folder)) < results:
        time.sleep(0.01)


def rest(folder: Path) -> int:
    """What the execute stage finds left to do."""
    programs = [program_of(PROBLEM, sample) for sample in read_appended(folder / "samples.jsonl")]
    return execute_programs(programs, folder / "results.jsonl", **HOW).executed


@pytest.mark.timeout(120)
def test_a_sample_is_executed_before_the_next_is_written(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write(first, 0, "pass")  # of an earlier call, with its result
    assert rest(first) == 1
    write(first, 1, "raise ValueError")  # of an earlier call, without one
    with Overlap(program_of, HOW) as overlap:
        overlap.follow(first, [PROBLEM])
        for sample, completion in ((2, "pass"), (3, "1 +")):
            wait_for(first, sample)
            write(first, sample, completion)
        overlap.follow(second, [PROBLEM])
        write(second, 0, "pass")
        wait_for(second, 1)
    assert statuses(first) == {0: Status.OK, 1: Status.EXCEPTION, 2: Status.OK, 3: Status.SYNTAX_ERROR}
    assert len(read_appended(first / "results.jsonl")) == 4
    assert rest(first) == rest(second) == 0


@pytest.mark.timeout(120)
def test_a_torn_line_that_is_written_over_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text('{"task_id": "t/0", "sample": 7, "comp')
    with Overlap(program_of, HOW) as overlap:
        overlap.follow(tmp_path, [PROBLEM])
        time.sleep(0.2)  # it has looked at the torn line by now, or it has not: both must do
        write(tmp_path, 0, "pass")
        wait_for(tmp_path, 1)
    assert statuses(tmp_path) == {0: Status.OK}


@pytest.mark.timeout(120)
def test_what_is_not_begun_is_left_to_the_execute_stage(tmp_path: Path) -> None:
    write(tmp_path, 0, "pass")
    with Overlap(program_of, HOW) as overlap:
        overlap.follow(tmp_path, [PROBLEM])
        wait_for(tmp_path, 1)
    write(tmp_path, 1, "pass")
    assert rest(tmp_path) == 1


@pytest.mark.timeout(120)
def test_an_error_ends_what_runs(tmp_path: Path) -> None:
    before = threading.active_count()
    write(tmp_path, 0, "pass")
    write(tmp_path, 1, "import time\nwhile True: time.sleep(1)")

    def interrupted() -> None:
        with Overlap(program_of, HOW) as overlap:
            overlap.follow(tmp_path, [PROBLEM])
            wait_for(tmp_path, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert statuses(tmp_path) == {0: Status.OK}  # the other one was killed, and has no verdict
    assert threading.active_count() == before


@pytest.mark.timeout(120)
def test_results_reached_in_another_way_are_left_for_the_stage_to_refuse(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        write(folder, 0, "pass")
    unboxed = {"task_id": "t/0", "sample": 1, "passed": True, "status": "OK", "sandbox": "none", "program_sha256": "0"}
    append_jsonl(first / "results.jsonl", unboxed)
    with Overlap(program_of, HOW) as overlap:
        overlap.follow(first, [PROBLEM])
        overlap.follow(second, [PROBLEM])
        wait_for(second, 1)
    assert read_appended(first / "results.jsonl") == [unboxed]


@pytest.mark.timeout(120)
def test_a_bug_in_the_thread_is_not_hidden(tmp_path: Path) -> None:
    def broken(problem: Problem, record: dict[str, Any]) -> Any:
        raise ZeroDivisionError

    def met() -> None:
        with Overlap(broken, HOW) as overlap:
            overlap.follow(tmp_path, [PROBLEM])
            overlap._thread.join()  # type: ignore[union-attr]  # there is one

    write(tmp_path, 0, "pass")
    with pytest.raises(ZeroDivisionError):
        met()


def test_nothing_happens_where_it_is_off(tmp_path: Path) -> None:
    write(tmp_path, 0, "pass")
    with Overlap(program_of, None) as overlap:
        overlap.follow(tmp_path, [PROBLEM])
    assert not (tmp_path / "results.jsonl").exists()
