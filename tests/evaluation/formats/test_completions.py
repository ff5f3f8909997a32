from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flexlora.errors import UsageError
from flexlora.evaluation.formats import recognise
from flexlora.evaluation.sample_files import execute_file
from small_evalplus import HALF

Write = Callable[..., Path]
GOOD, BAD = "    return 2 * x\n", "    return x\n"
LOOP = "    while True: pass\n"


def test_human_eval_samples_get_their_results_file(write: Write, benchmark: Path, tmp_path: Path) -> None:
    lines = [
        {"task_id": "HumanEval/0", "completion": GOOD, "note": "kept"},
        {"task_id": "HumanEval/1", "completion": "    return y\n"},
        {"task_id": "HumanEval/0", "completion": BAD},
        {"task_id": "HumanEval/1", "completion": "    )\n"},
        {"task_id": "HumanEval/2", "completion": GOOD},
        {"task_id": "HumanEval/2", "completion": LOOP},
    ]
    path = write(tmp_path / "samples.jsonl", *lines)
    summary = execute_file(path, data_dir=benchmark)
    assert (summary["format"], summary["task"], summary["task_problems"]) == ("human-eval", "humaneval", 4)
    assert (summary["samples"], summary["passed"], summary["problems"]) == (6, 2, 3)
    assert summary["pass@1"] == pytest.approx((1 / 2 + 0 + 1 / 2) / 3)
    own = tmp_path / "samples.jsonl_results.jsonl"
    assert summary["native_results"] == [str(own)]
    written = [json.loads(line) for line in own.read_text().splitlines()]
    assert [(r["result"], r["passed"]) for r in written] == [
        ("passed", True),
        ("failed: NameError: name 'y' is not defined", False),
        ("failed: AssertionError", False),
        ("failed: SyntaxError: unmatched ')'", False),
        ("passed", True),
        ("timed out", False),
    ]
    assert [{k: v for k, v in r.items() if k not in ("result", "passed")} for r in written] == lines


def test_packed_samples_are_read_as_they_are(write: Write, benchmark: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl.gz", {"task_id": "HumanEval/0", "completion": GOOD})
    summary = execute_file(path, data_dir=benchmark)
    assert summary["passed"] == 1
    assert Path(summary["results"]).name == "s_results.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UsageError, match=r"s\.jsonl\.gz: damaged gzip"):
        list(recognise(path, data_dir=benchmark))


def test_completions_run_whole_as_human_eval_runs_them(write: Write, benchmark: Path, tmp_path: Path) -> None:
    helped = "    return helper(x)\n\ndef helper(x):\n    return 2 * x\n"
    path = write(tmp_path / "samples.jsonl", {"task_id": "HumanEval/0", "completion": helped})
    (program,) = recognise(path, data_dir=benchmark)
    assert program.source.startswith(f'def double_0(x):\n    """Double x."""\n{helped}\n')
    assert program.timeout_s == 3


def test_completions_of_translated_problems_are_cut(write: Write, benchmark: Path, tmp_path: Path) -> None:
    completion = "        return 2 * x;\n    }\n    chatter"
    path = write(tmp_path / "samples.jsonl", {"task_id": "HumanEval_0_double", "completion": completion})
    (program,) = recognise(path, "multipl-e/humaneval/java", benchmark)
    assert "return 2 * x;\n    }\n    public static void main" in program.source
    with pytest.raises(UsageError, match="task of 'HumanEval_0_double' cannot be told"):
        recognise(path, data_dir=benchmark)


def test_solutions_get_evalplus_results_by_problem(write: Write, benchmark: Path, tmp_path: Path) -> None:
    def solution(i: int, body: str) -> str:
        return f"import math\n\n\ndef double_{i}(x):\n{body}\n\nif False:\n    print()\n"

    lines = [
        {"task_id": "HumanEval/1", "solution": solution(1, GOOD)},
        {"task_id": "HumanEval/0", "solution": solution(0, BAD)},
        {"task_id": "HumanEval/1", "solution": solution(1, LOOP)},
        {"task_id": "HumanEval/0", "completion": GOOD},
    ]
    summary = execute_file(write(tmp_path / "samples.jsonl", *lines), data_dir=benchmark)
    assert (summary["format"], summary["passed"], summary["pass@1"]) == ("EvalPlus", 2, 0.5)
    own = json.loads((tmp_path / "samples_eval_results.json").read_text())
    assert list(own) == ["date", "hash", "eval"]
    assert {task_id: [s["base_status"] for s in samples] for task_id, samples in own["eval"].items()} == {
        "HumanEval/1": ["pass", "timeout"],
        "HumanEval/0": ["fail", "pass"],
    }
    assert own["eval"]["HumanEval/1"][1] == {
        "task_id": "HumanEval/1",
        "solution": lines[2]["solution"],
        "base_status": "timeout",
        "plus_status": None,
        "base_fail_tests": [],
        "plus_fail_tests": [],
    }
    assert own["eval"]["HumanEval/0"][1]["solution"] == f'def double_0(x):\n    """Double x."""\n{GOOD}'


def test_mbpp_samples_of_any_split_are_found_by_evalplus_ids(write: Write, benchmark: Path, tmp_path: Path) -> None:
    lines = [{"task_id": f"Mbpp/{i}", "solution": f"def add_{i}(x):\n    return x + {i}\n"} for i in (5, 11, 601)]
    path = write(tmp_path / "mbpp.jsonl", *lines)
    summary = execute_file(path, data_dir=benchmark)
    assert (summary["task"], summary["passed"], summary["problems"]) == ("mbpp", 3, 3)
    own = json.loads((tmp_path / "mbpp_eval_results.json").read_text())
    assert list(own["eval"]) == ["Mbpp/5", "Mbpp/11", "Mbpp/601"]


def test_with_evalplus_tests_the_verdict_is_the_one_on_all_of_them(write: Write, tmp_path: Path) -> None:
    write(tmp_path / "HumanEvalPlus.jsonl", HALF)
    bodies = (HALF["canonical_solution"], "    return [abs(number) / 2 for number in numbers]\n")
    lines = [{"task_id": "HumanEval/0", "solution": HALF["prompt"] + body} for body in bodies]
    summary = execute_file(write(tmp_path / "s.jsonl", *lines), "humaneval+", tmp_path)
    assert (summary["task"], summary["passed"]) == ("humaneval+", 1)
    (samples,) = json.loads((tmp_path / "s_eval_results.json").read_text())["eval"].values()
    assert [(one["base_status"], one["plus_status"]) for one in samples] == [("pass", "pass"), (None, "fail")]


def test_a_prompt_style_in_the_samples_counts(write: Write, benchmark: Path, tmp_path: Path) -> None:
    lines = [
        {"task_id": "MBPP/11", "completion": "def add_11(x):\n    return x + 11", "prompt_style": "three-shot"},
        {"task_id": "MBPP/12", "completion": "def add_12(x):\n    return x + 12", "prompt_style": "docstring"},
    ]
    path = write(tmp_path / "s.jsonl", *lines[:1])
    (program,) = recognise(path, data_dir=benchmark)
    assert program.source.startswith("def add_11")
    with pytest.raises(UsageError, match=r"line 2: `prompt_style` is 'docstring', but line 1 has 'three-shot'"):
        list(recognise(write(path, *lines), data_dir=benchmark))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"task_id": "HumanEval/0"}, "line 2: `completion` must be text; it is missing; found task_id"),
        ({"task_id": "HumanEval/0", "completion": None}, "line 2: `completion` must be text; it is None"),
        ({"task_id": 0, "completion": ""}, "line 2: `task_id` must be text; it is 0"),
        ({"task_id": "HumanEval/9", "completion": ""}, "line 2: task humaneval has no problem 'HumanEval/9'"),
        ({"task_id": "HumanEval/0", "completion": "", "sample": -1}, "line 2: `sample` must be a number from 0"),
        ({"task_id": "HumanEval/0", "completion": "", "sample": 0}, "line 2: an earlier line is HumanEval/0 sample 0"),
        ([1], "line 2: expected a JSON object, found list"),
    ],
)
def test_a_wrong_line_is_named_before_anything_runs(
    second: object, message: str, write: Write, benchmark: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "s.jsonl", {"task_id": "HumanEval/0", "completion": GOOD}, second)
    with pytest.raises(UsageError) as error:
        execute_file(path, data_dir=benchmark)
    assert f"{path}, {message}" in str(error.value)
    assert list(tmp_path.glob("s*")) == [path]


@pytest.mark.slow
def test_the_first_problems_of_humaneval_pass(write: Write, data_dir: Path, tmp_path: Path) -> None:
    records = [json.loads(line) for line in (data_dir / "humaneval.jsonl").read_text().splitlines()[:10]]
    completions = [{"task_id": r["task_id"], "completion": r["canonical_solution"]} for r in records]
    solutions = [{"task_id": r["task_id"], "solution": r["prompt"] + r["canonical_solution"]} for r in records]
    solutions[4]["solution"] = "x = 1"
    assert execute_file(write(tmp_path / "a.jsonl", *completions), data_dir=data_dir)["passed"] == 10
    summary = execute_file(write(tmp_path / "b.jsonl", *solutions), data_dir=data_dir)
    assert (summary["passed"], summary["pass@1"], summary["task_problems"]) == (9, 0.9, 164)
