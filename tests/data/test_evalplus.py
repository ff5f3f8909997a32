"""HumanEval+ and MBPP+ on small records in both published formats; their programs really run, in the sandbox."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from flexlora.data import Problem
from flexlora.data.evalplus_check import agree, close
from flexlora.data.tasks import load_problems
from flexlora.errors import UsageError
from flexlora.execution import run_program
from flexlora.recipe import Task
from small_evalplus import HALF, HALF_ON_HUB, SHARED, SHARED_ON_HUB, ZERO_ON_HUB


def written(folder: Path, name: str, *records: dict[str, Any]) -> Path:
    (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def one(name: str, data_dir: Path) -> Problem:
    (problem,), _ = load_problems(Task(name=name), data_dir)
    return problem


def passes(problem: Problem, completion: str) -> bool:
    return run_program("py", problem.program(completion), timeout_s=problem.timeout_s).passed


def test_a_release_of_humaneval_plus_judges_by_its_reference_on_all_inputs(tmp_path: Path) -> None:
    problem = one("humaneval+", written(tmp_path, "HumanEvalPlus.jsonl", HALF))
    assert problem.prompt == problem.prefix == HALF["prompt"]
    assert problem.reference is not None
    assert passes(problem, problem.reference)
    assert passes(problem, "    return [number * 0.5 + 1e-9 for number in numbers]\n")  # floats: within 1e-6
    # Right on the original tests, wrong on a further one.
    assert not passes(problem, "    return [abs(number) / 2 for number in numbers]\n")
    assert not passes(problem, "    return tuple(number / 2 for number in numbers)\n")


def test_an_input_has_four_times_the_references_time_but_at_least_a_second(tmp_path: Path) -> None:
    problem = one("humaneval+", written(tmp_path, "HumanEvalPlus.jsonl", HALF))
    verdict = run_program("py", problem.program("    while True: pass\n"), timeout_s=problem.timeout_s)
    assert not verdict.passed
    assert "TimeoutError: an input took more than four times as long as the reference" in verdict.stderr


def test_a_release_of_mbpp_plus_restores_tuples_and_compares_what_has_no_order_as_sets(tmp_path: Path) -> None:
    problem = one("mbpp+", written(tmp_path, "MbppPlus.jsonl", SHARED))
    assert (problem.task_id, problem.prompt) == ("MBPP/2", SHARED["prompt"])
    assert problem.reference is not None
    assert passes(problem, problem.reference)
    assert passes(problem, "def similar_elements(a, b):\n    return sorted(set(a) & set(b), reverse=True)\n")
    assert not passes(problem, "def similar_elements(a, b):\n    return (4,)\n")
    # The reference's names are out of reach of the program's own, and the other way round.
    assert not passes(problem, "def other(a, b):\n    return a\n")


def test_the_hubs_tests_run_without_numpy_too(tmp_path: Path) -> None:
    half, zero = load_problems(
        Task(name="humaneval+"), written(tmp_path, "HumanEvalPlus.jsonl", HALF_ON_HUB, ZERO_ON_HUB)
    )[0]
    assert passes(half, HALF["canonical_solution"])
    assert passes(half, "    return [number * 0.5 + 1e-9 for number in numbers]\n")
    assert not passes(half, "    return numbers\n")
    assert passes(zero, ZERO_ON_HUB["canonical_solution"])  # as published, this test fails whatever it is given
    assert not passes(zero, "    return 1.0\n")
    shared = one("mbpp+", written(tmp_path, "MbppPlus.jsonl", SHARED_ON_HUB))
    assert shared.prompt == SHARED["prompt"]
    assert shared.task_id == "MBPP/2"
    assert shared.reference is not None
    assert passes(shared, shared.reference)
    assert not passes(shared, "def similar_elements(a, b):\n    return (3,)\n")


def test_mbpp_plus_has_mbpps_splits(tmp_path: Path) -> None:
    records = [{**SHARED, "task_id": f"Mbpp/{number}"} for number in (2, 11, 510, 601)]
    folder = written(tmp_path, "MbppPlus.jsonl", *records)
    ids = {
        split: [p.task_id for p in load_problems(Task(name="mbpp+", split=split), folder)[0]]
        for split in (None, "test", "train")
    }
    assert ids[None] == ["MBPP/2", "MBPP/11", "MBPP/510", "MBPP/601"]
    assert ids["test"] == ["MBPP/11", "MBPP/510"]
    assert ids["train"] == ["MBPP/601"]


@pytest.mark.parametrize(
    ("entry_point", "given", "answer", "expected", "right"),
    [
        ("are_equivalent", [1, 2], False, True, True),
        ("sum_div", [8], 0, 7, True),
        ("sum_div", [8], 1, 7, False),
        ("check_str", ["a"], True, object(), True),
        ("check_str", ["a"], "match", object(), True),
        ("check_str", ["a"], None, object(), False),
        ("check_str", ["a"], False, None, True),
        ("surface_Area", [3, 4], 34, 33, False),
        ("surface_Area", [3, 4], 9 + round(6 * math.sqrt(1.5**2 + 16)), 33, True),
        ("digit_distance_nums", [23, 56], 6, 33, True),
        ("digit_distance_nums", [1, 256], 12, 33, True),
        ("other", [1], 0.1 + 0.2, 0.3, True),
        ("other", [1], 1, 1.0000001, False),  # a number of another type is right only if it is equal
        ("other", [1], [0.5], [0.5000001], True),
        ("other", [1], [1, 2], [1, 3], False),
        ("other", [1], "a", "b", False),
    ],
)
def test_evalplus_rules_for_mbpp(entry_point: str, given: list[Any], answer: Any, expected: Any, right: bool) -> None:
    assert agree(given, answer, expected, 0, entry_point, "mbpp") is right


def test_any_zero_of_a_polynomial_is_right() -> None:
    assert agree([[2, -3, 1]], 1.0, 2.0, 1e-4, "find_zero", "humaneval")
    assert not agree([[2, -3, 1]], 1.5, 2.0, 1e-4, "find_zero", "humaneval")
    assert not agree([[2, -3, 1]], 1.0, 2.0, 1e-4, "find_zero", "mbpp")


def test_closeness_is_numpys() -> None:
    import numpy as np

    for answer, expected in [
        (1.0, 1.0 + 5e-7),
        (1.0, 1.1),
        (1e9, 1e9 + 50),
        (1e9, 1e9 + 500),
        (math.inf, math.inf),
        (math.inf, -math.inf),
        (math.nan, math.nan),
        (True, 1.0),
        (1 + 2j, 1 + 2.0000001j),
    ]:
        assert close(answer, expected, 1e-6) == bool(np.allclose(answer, expected, rtol=1e-7, atol=1e-6))
    assert close([1.0, (2.0,)], [1.0, (2.0,)], 0)
    assert not close([1.0], [1.0, 2.0], 1)
    assert not close("a", "a", 1)


@pytest.mark.parametrize(
    ("name", "file", "record", "part"),
    [
        ("humaneval+", "HumanEvalPlus.jsonl", {**HALF, "base_input": "x"}, "base_input must be a list (found str)"),
        ("humaneval+", "HumanEvalPlus.jsonl", {**HALF_ON_HUB, "test": 3}, "test must be text (found int)"),
        ("mbpp+", "MbppPlus.jsonl", {"task_id": 2, "test": "x", "prompt": "p"}, "code must be text (found no such"),
        ("mbpp+", "MbppPlus.jsonl", {**SHARED, "task_id": "two"}, "a number or Mbpp/NUMBER"),
        ("mbpp+", "MbppPlus.jsonl", {**SHARED_ON_HUB, "test_list": []}, "test_list is empty"),
    ],
)
def test_wrong_records_are_named(name: str, file: str, record: dict[str, Any], part: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_problems(Task(name=name), written(tmp_path, file, record))
    assert part in str(caught.value)
    assert f"record 1 of {file}" in str(caught.value)
