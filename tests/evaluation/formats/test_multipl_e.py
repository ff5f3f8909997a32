from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flexlora.errors import UsageError
from flexlora.evaluation.formats import recognise
from flexlora.evaluation.sample_files import execute_file, score_file
from flexlora.execution import Program

Write = Callable[..., Path]


def problem(name: str, *completions: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "language": "py",
        "prompt": "def f(x):\n",
        "tests": "assert f(2) == 4",
        "completions": list(completions),
        "stop_tokens": ["\ndef"],
        "temperature": 0.2,
        **more,
    }


def load(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    value: dict[str, Any] = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    return value


def test_a_folder_of_problems_gets_a_results_file_each_that_scores_the_same(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "java-0.2"
    good, bad, loud = "    return 2 * x", "    return x", "    print('y' * 5000); return 4"
    write(folder / "a.json.gz", problem("a", good, bad, bad))
    write(folder / "b.json", problem("b", loud))
    summary = execute_file(folder)
    assert (summary["format"], summary["task"], summary["samples_per_problem"]) == ("MultiPL-E", None, [1, 3])
    assert summary["pass@1"] == pytest.approx((1 / 3 + 1) / 2)
    assert Path(summary["results"]) == folder / "results.jsonl"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("a.json.gz", "a.results.json.gz", "b.json", "b.results.json", "results.jsonl"),
    ]
    a, b = load(folder / "a.results.json.gz"), load(folder / "b.results.json")
    assert {k: v for k, v in a.items() if k != "results"} == {
        k: v for k, v in problem("a").items() if k != "completions"
    }
    assert [list(result) for result in a["results"]] == [
        ["program", "timestamp", "stdout", "stderr", "exit_code", "status"]
    ] * 3
    assert [(r["status"], r["exit_code"]) for r in a["results"]] == [("OK", 0), ("Exception", 1), ("Exception", 1)]
    assert a["results"][0]["program"] == f"def f(x):\n{good}\nassert f(2) == 4"
    assert len(b["results"][0]["stdout"]) == 2048
    scored = score_file(folder)
    assert {k: scored[k] for k in ("pass_at_k", "statuses", "samples")} == {
        k: summary[k] for k in ("pass_at_k", "statuses", "samples")
    }


def test_running_again_changes_nothing_and_more_completions_run_alone(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "a.json.gz", problem("a", "    return 2 * x"))
    execute_file(path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(before) == {"a.json.gz", "a_results.jsonl", "a.results.json.gz"}
    execute_file(path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    write(path, problem("a", "    return 2 * x", "    return 0"))
    assert execute_file(path)["pass@1"] == 0.5
    assert (tmp_path / "a_results.jsonl").read_bytes().startswith(before["a_results.jsonl"])
    assert len(load(tmp_path / "a.results.json.gz")["results"]) == 2


def test_the_whole_completion_is_run_and_languages_have_our_names(write: Write, tmp_path: Path) -> None:
    whole = "    return g(x)\n\ndef g(x):\n    return 2 * x"
    path = write(tmp_path / "a.json", problem("a", whole, language="python"))
    assert list(recognise(path)) == [Program("a", 0, "py", f"def f(x):\n{whole}\nassert f(2) == 4")]


def test_one_object_over_many_lines_is_one_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(problem("a", "    return 2 * x"), indent=2))
    assert len(list(recognise(path))) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"completions": []}, "`completions`: the list is empty"),
        ({"completions": ["", 3]}, "`completions`, number 2: expected a text, found 3"),
        ({"completions": "x"}, "`completions` must be a list; it is 'x'"),
        ({"tests": None}, "`tests` must be text; it is None"),
        ({"language": "cobol"}, "`language` must be one of cpp, cs, d, go, java"),
        ({"name": "a"}, "its problem 'a' is in a.json too"),
    ],
)
def test_a_wrong_problem_is_named(changed: dict[str, Any], message: str, write: Write, tmp_path: Path) -> None:
    write(tmp_path / "a.json", problem("a", ""))
    path = write(tmp_path / "b.json", problem("b", "") | changed)
    with pytest.raises(UsageError) as error:
        execute_file(tmp_path)
    assert str(path) in str(error.value)
    assert message in str(error.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_results_of_another_harness_are_not_replaced(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "in" / "a.json", problem("a", "    return 2 * x"))
    theirs = write(tmp_path / "in" / "a.results.json", problem("a") | {"results": [{"status": "OK", "exit_code": 1}]})
    before = theirs.read_bytes()
    with pytest.raises(UsageError, match=r"a\.results\.json: is there already.*--overwrite"):
        execute_file(path.parent)
    assert theirs.read_bytes() == before
    execute_file(path.parent, output=tmp_path / "out" / "results.jsonl")
    assert theirs.read_bytes() == before
    assert load(tmp_path / "out" / "a.results.json")["results"][0]["exit_code"] == 0
    execute_file(path.parent, overwrite=True)
    assert load(theirs)["results"][0]["exit_code"] == 0


@pytest.mark.slow
def test_java_completions_of_a_real_model_agree_with_the_published_verdicts(
    write: Write, data_dir: Path, tmp_path: Path
) -> None:
    lines = (data_dir / "multipl-e" / "humaneval-java.jsonl").read_text().splitlines()
    problems = {p["name"]: p for p in map(json.loads, lines)}
    labelled = (data_dir / "labelled" / "qwen2.5-coder-1.5b-java.jsonl").read_text().splitlines()[:2]
    for sample in map(json.loads, labelled):
        made = problems[sample["task_id"]]
        completion = sample["program"].removeprefix(made["prompt"]).removesuffix("\n" + made["tests"])
        write(tmp_path / f"{made['name']}.json.gz", made | {"completions": [completion]})
    execute_file(tmp_path)
    for sample in map(json.loads, labelled):
        (result,) = load(tmp_path / f"{sample['task_id']}.results.json.gz")["results"]
        assert result["program"] == sample["program"]
        assert (result["status"] == "OK" and result["exit_code"] == 0) == sample["passed"]
    assert score_file(tmp_path)["pass@1"] == 0.5
