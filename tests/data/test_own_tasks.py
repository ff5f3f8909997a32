"""A user's own tasks, from a JSONL file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flexlora.data.tasks import load_problems
from flexlora.errors import UsageError
from flexlora.execution import run_program
from flexlora.recipe import Task

TWICE: dict[str, Any] = {
    "prompt": "def twice(x):\n",
    "tests": "assert twice(2) == 4\n",
    "stop_tokens": ["\ndef", "\nclass"],
    "language": "py",
}
EXAMPLE = Path(__file__).parents[2] / "examples" / "tasks.jsonl"


def written(tmp_path: Path, *records: dict[str, Any]) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_line_is_a_problem_whose_program_is_put_together_as_multipl_es(tmp_path: Path) -> None:
    named = {**TWICE, "task_id": "doubling", "timeout": 2, "solution": "    return x * 2\n", "note": "ignored"}
    path = written(tmp_path, TWICE, named)
    (first, second), origin = load_problems(Task(name=str(path)), None)
    assert (first.task, first.task_id, first.timeout_s, first.reference) == (str(path), "mine/1", None, None)
    assert (second.task_id, second.timeout_s, second.reference) == ("doubling", 2, "    return x * 2\n")
    assert first.program("    return 2 * x\ndef other(): ...") == (
        "def twice(x):\n    return 2 * x\nassert twice(2) == 4\n"
    )
    assert (origin.source, origin.records, origin.revision) == ("mine.jsonl", 2, None)
    assert len(origin.sha256 or "") == 64
    assert run_program("py", first.program("    return 2 * x\ndef other(): ...")).passed
    assert not run_program("py", first.program("    return x\n")).passed


def test_prompts_lose_their_ends_where_that_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, TWICE)
    (problem,), _ = load_problems(Task(name=str(path), prompt_style="stripped"), None)
    assert problem.prompt == "def twice(x):"
    assert problem.prefix == "def twice(x):\n"
    with pytest.raises(UsageError, match="no prompt style 'docstring'; it has verbatim and stripped"):
        load_problems(Task(name=str(path), prompt_style="docstring"), None)


def test_a_path_is_the_same_wherever_a_run_is_continued_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, TWICE)
    monkeypatch.chdir(tmp_path)
    assert Task(name="mine.jsonl").name == str(path)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"tests": None}, "tests must be text, found NoneType"),
        ({"prompt": 3}, "prompt must be text, found int"),
        ({"stop_tokens": "\ndef"}, "stop_tokens must be a list of texts"),
        ({"stop_tokens": ["", "x"]}, "stop_tokens must be a list of texts"),
        ({"stop_tokens": None}, "stop_tokens must be a list of texts"),
        ({"language": "python"}, "language 'python' is not one of py, java"),
        ({"language": "lua"}, "language 'lua', but the lines before are in 'py'"),
        ({"tests": " \n"}, "tests are empty"),
        ({"timeout": "2"}, "timeout must be a number of seconds, found str"),
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"timeout": True}, "timeout must be a number"),
        ({"task_id": 7}, "task_id must be text, found int"),
        ({"task_id": "mine/1"}, "mine/1 occurs twice in mine.jsonl"),
    ],
)
def test_wrong_records_are_refused_with_file_and_line(change: dict[str, Any], part: str, tmp_path: Path) -> None:
    path = written(tmp_path, TWICE, TWICE | change)
    with pytest.raises(UsageError) as caught:
        load_problems(Task(name=str(path)), None)
    assert part in str(caught.value)
    assert f"{path}, line 2" in str(caught.value) or "occurs twice" in part


def test_missing_files_columns_and_records_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.jsonl: no such file"):
        load_problems(Task(name=str(tmp_path / "nothing.jsonl")), None)
    with pytest.raises(UsageError, match="line 1: no 'tests'; found prompt"):
        load_problems(Task(name=str(written(tmp_path, {"prompt": "p"}))), None)
    with pytest.raises(UsageError, match="the file holds no problems"):
        load_problems(Task(name=str(written(tmp_path))), None)


def test_the_documented_example_passes_with_its_own_solutions() -> None:
    problems, _ = load_problems(Task(name=str(EXAMPLE)), None)
    assert len(problems) == 2
    for problem in problems:
        assert problem.reference
        assert run_program(problem.language, problem.program(problem.reference)).passed
    page = (EXAMPLE.parents[1] / "docs" / "how-to" / "dataset.md").read_text()
    assert EXAMPLE.read_text() in page
