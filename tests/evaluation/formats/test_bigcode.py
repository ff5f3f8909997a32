from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flexlora.errors import UsageError
from flexlora.evaluation.formats import bigcode, recognise
from flexlora.evaluation.sample_files import execute_file

Write = Callable[..., Path]


def good(i: int) -> str:
    return f"def double_{i}(x):\n    return 2 * x"


def test_generations_are_scored_in_the_order_of_the_task(write: Write, benchmark: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "generations_humaneval.json", [[good(0), good(1)], [good(1), good(1)], ["", "1/0"]])
    summary = execute_file(path, data_dir=benchmark)
    assert (summary["format"], summary["task"]) == ("bigcode", "humaneval")
    assert (summary["problems"], summary["task_problems"], summary["pass@1"]) == (3, 4, 0.5)
    own = json.loads((tmp_path / "generations_humaneval_evaluation_results.json").read_text())
    assert own["humaneval"] == {"pass@1": 0.5}
    results = [json.loads(line) for line in (tmp_path / "generations_humaneval_results.jsonl").read_text().splitlines()]
    assert sorted((r["task_id"], r["sample"]) for r in results if r["passed"]) == [
        ("HumanEval/0", 0),
        ("HumanEval/1", 0),
        ("HumanEval/1", 1),
    ]


def test_the_program_is_the_generation_and_the_tests(write: Write, benchmark: Path, tmp_path: Path) -> None:
    java = write(tmp_path / "x_multiple-java.json", [["class Problem {"]])
    (program,) = recognise(java, data_dir=benchmark)
    assert program.source.startswith("class Problem {\n    }\n    public static void main")
    mbpp = write(tmp_path / "whatever.json", [["def add_11(x): return x + 11"]])
    (program,) = recognise(mbpp, "mbpp", benchmark)
    assert program.task_id == "MBPP/11"
    assert program.source.startswith("def add_11(x): return x + 11\n")
    with pytest.raises(UsageError, match=r"whatever\.json: the task cannot be told.*--task"):
        recognise(mbpp, data_dir=benchmark)


@pytest.mark.parametrize(
    ("generations", "message"),
    [
        ([[""]] * 5, "holds more entries than task humaneval has problems (4)"),
        ([[""], "text"], "entry 2 (HumanEval/1): expected a list of texts, found 'text'"),
        ([[""], None], "entry 2 (HumanEval/1): expected a list of texts, found None"),
        ([[""], []], "entry 2 (HumanEval/1): the list is empty"),
        ([["", 5]], "entry 1 (HumanEval/0), number 2: expected a text, found 5"),
        ([], "the file holds no samples"),
    ],
)
def test_a_wrong_entry_is_named(
    generations: object, message: str, write: Write, benchmark: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "generations_humaneval.json", generations)
    with pytest.raises(UsageError) as error:
        execute_file(path, data_dir=benchmark)
    assert str(path) in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_elements_are_read_one_at_a_time_in_chunks_of_any_size(
    chunk: int, indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigcode, "CHUNK", chunk)
    value = [["é\u2028😀]", '"[', "\\"], [], ["x" * 50], [",", "]"]]
    path = tmp_path / "g.json"
    for text in (json.dumps(value, indent=indent), "\n " + json.dumps(value, indent=indent, ensure_ascii=False) + "\n"):
        path.write_text(text)
        assert list(bigcode.elements(path)) == value
    path.write_text("[]")
    assert list(bigcode.elements(path)) == []


@pytest.mark.parametrize("text", ['[["a"], ["b"', '[["a"] ["b"]]', '[["a"],', '[["a"]', '[["a"], nonsense]'])
def test_a_list_that_is_no_json_is_named_with_its_entry(text: str, tmp_path: Path) -> None:
    path = tmp_path / "g.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"g\.json, entry 2: not valid JSON"):
        list(bigcode.elements(path))
    path.write_bytes(b'[["\xff"]]')
    with pytest.raises(UsageError, match=r"g\.json: not valid JSON"):
        list(bigcode.elements(path))


@pytest.mark.slow
def test_the_first_problems_of_humaneval_pass(write: Write, data_dir: Path, tmp_path: Path) -> None:
    records = [json.loads(line) for line in (data_dir / "humaneval.jsonl").read_text().splitlines()[:10]]
    generations = [[r["prompt"] + r["canonical_solution"], r["prompt"] + "    pass"] for r in records]
    summary = execute_file(write(tmp_path / "generations_humaneval.json", generations), data_dir=data_dir)
    assert (summary["passed"], summary["pass@1"]) == (10, 0.5)
