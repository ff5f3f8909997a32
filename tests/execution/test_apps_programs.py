"""APPS's programs in the sandbox: both kinds, by the task interface; the published solutions of real problems."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from toolchains import ALL

from flexlora.data.apps_source import records
from flexlora.data.tasks import load_problems
from flexlora.evaluation.sample_files import execute_file
from flexlora.execution import Program, Verdict, execute
from flexlora.execution.json_values import MOST_DIGITS
from flexlora.execution.verdict import TestsPassed
from flexlora.recipe import Task
from small_apps import PLAIN, SUM, TWICE, write_apps


def run(tmp_path: Path, problem: dict[str, Any], completion: str, **options: Any) -> Verdict:
    """The verdict on one completion of one problem, as a run reaches it."""
    data_dir = write_apps(tmp_path / str(len(list(tmp_path.iterdir()))), train=[], test=[problem])
    ((found,), _) = load_problems(Task.model_validate({"name": "apps", **options}), data_dir)
    program = Program(found.task_id, 0, found.language, found.program(completion), found.timeout_s, cases=found.cases)
    (verdict,) = execute([program], workers=1, cache=False)
    return verdict


def counts(verdict: Verdict) -> TestsPassed:
    assert verdict.tests is not None, verdict.stderr
    return verdict.tests


def call(inputs: list[Any], outputs: list[Any], name: str = "f") -> dict[str, Any]:
    return {**PLAIN, "input_output": json.dumps({"fn_name": name, "inputs": inputs, "outputs": outputs})}


@pytest.mark.parametrize("problem", [SUM, TWICE, PLAIN], ids=["standard input", "method", "function"])
def test_solutions_pass_and_others_do_not(problem: dict[str, Any], tmp_path: Path) -> None:
    verdict = run(tmp_path, problem, problem["solutions"][0])
    assert verdict.passed, counts(verdict)
    assert counts(verdict).passed == counts(verdict).total > 1
    assert not run(tmp_path, problem, "pass").passed


def test_what_stands_after_a_stop_token_is_not_run(tmp_path: Path) -> None:
    assert run(tmp_path, SUM, SUM["solutions"][0] + "\nQUESTION:\nAnother one").passed


def test_the_originals_imports_are_there_and_numpy_comes_when_it_is_used(tmp_path: Path) -> None:
    used = "print(sum(map(int, sys.stdin.read().split())) + len(deque()) + gcd(2, 4) - len(heapq.nsmallest(2, [1, 2])))"
    assert run(tmp_path, SUM, used).passed
    assert run(tmp_path, SUM, "assert 'numpy' not in sys.modules\n" + used).passed
    failed = run(tmp_path, SUM, "np.no_such_thing")
    assert "numpy" in counts(failed).reason


def test_what_a_function_prints_does_not_disturb_its_value(tmp_path: Path) -> None:
    noisy = "print('early')\ndef f(n):\n    print('[1]')\n    return n\nimport atexit\natexit.register(print, 'late')\n"
    verdict = run(tmp_path, call([[1], [2]], [1, 2]), noisy)
    assert verdict.passed, counts(verdict)
    assert "[1]" in verdict.stderr


def test_names_that_a_solution_takes_over_do_not_disturb_the_call(tmp_path: Path) -> None:
    taken = (
        "def f(n):\n    return n\nlist = print = open = len = isinstance = callable = exec = json = os = call = None\n"
    )
    assert run(tmp_path, call([[1]], [1]), taken).passed


@pytest.mark.parametrize(
    ("solution", "expected", "passes"),
    [
        ("def f(n): return (n, (n, 2))", [1, [1, 2]], True),  # JSON knows no tuples
        ("def f(n): return {1: n}", {"1": 1}, True),
        ("def f(n): return {n}", [1], False),
        ("f = lambda n: n / 3", 0.333333333, True),
        ("class Solution:\n    def f(self, n): return n", 1, True),
        ("class Solution: pass\ndef f(n): return n", 1, True),
        ("class Solution:\n    @staticmethod\n    def f(n): return n", 1, True),
        ("def f(n): return None", [None], True),
        ("def f(n): return float('nan')", 1, False),
        ("def g(n): return 1", 1, False),
        ("def f(n): return 1\nexit(0)", 1, False),
        ("def f(n): exit(0)", 1, False),
        ("def f(n): raise ValueError(n)", 1, False),
        ("def f(n, m): return 1", 1, False),
        ("import numpy\ndef f(n): return numpy.int64(n)", 1, None),
    ],
)
def test_values_that_come_back(solution: str, expected: Any, passes: bool | None, tmp_path: Path) -> None:
    verdict = run(tmp_path, call([[1]], [expected]), solution)
    if passes is None:  # where the sandbox's Python has it
        passes = "No module named" not in verdict.stderr
    assert verdict.passed is passes, (counts(verdict), verdict.stderr)


def test_why_a_call_failed_is_said(tmp_path: Path) -> None:
    problem = call([[1]], [1])
    assert counts(run(tmp_path, problem, "def g(n): ...")).reason == "exit code 1: the program has no function 'f'"
    assert counts(run(tmp_path, problem, "def f(n): return 2")).reason == "wrong value: expected '1', found '2'"
    assert "TypeError" in counts(run(tmp_path, problem, "def f(): return 2")).reason


def test_keys_of_a_first_argument_are_numbers_again(tmp_path: Path) -> None:
    numbers = call([[{"1": 2, "-3": 4}, {"5": 6}]], [12])
    assert run(tmp_path, numbers, "def f(a, b): return a[1] + a[-3] + b['5']").passed
    assert run(tmp_path, call([[{"a": 2}]], [2]), "def f(a): return a['a']").passed


def test_numbers_of_any_length_go_in_and_come_out(tmp_path: Path) -> None:
    digits = "9" * (MOST_DIGITS + 500)
    text = f'{{"fn_name": "f", "inputs": [[{digits}]], "outputs": [{digits}]}}'
    assert run(tmp_path, {**PLAIN, "input_output": text}, "def f(n): return n").passed
    assert not run(tmp_path, {**PLAIN, "input_output": text}, "def f(n): return n - 1").passed
    printed = {**SUM, "input_output": json.dumps({"inputs": [digits], "outputs": [digits]})}
    assert run(tmp_path, printed, "print(int(input()))").passed


def test_inputs_and_outputs_may_be_lists_of_lines(tmp_path: Path) -> None:
    text = json.dumps({"inputs": [["1 2", "3"]], "outputs": [["6"]]})
    assert run(tmp_path, {**SUM, "input_output": text}, SUM["solutions"][0]).passed


def test_the_originals_comparison_lets_more_pass(tmp_path: Path) -> None:
    text = json.dumps({"inputs": [""], "outputs": ["1 2"]})
    problem = {**SUM, "input_output": text}
    assert not run(tmp_path, problem, "print(2, 1)").passed
    assert run(tmp_path, problem, "print(2, 1)", compat=True).passed


def test_completions_from_a_file_are_judged_as_those_of_a_run(tmp_path: Path) -> None:
    data_dir = write_apps(tmp_path / "data", train=[SUM, PLAIN], test=[TWICE])
    path = tmp_path / "samples.jsonl"
    samples = [
        {"task_id": "APPS/train/0000", "completion": "print(6)\nQUESTION: more"},
        {"task_id": "APPS/train/0001", "completion": PLAIN["solutions"][0]},
    ]
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    summary = execute_file(path, data_dir=data_dir)
    assert (summary["task"], summary["passed"], summary["samples"]) == ("apps", 1, 2)
    assert summary["tests_passed"] == pytest.approx((1 / 3 + 1) / 2)


FAILING = {"APPS/train/2287": {2, 4, 9}}
"""These have a `return` outside of a function: APPS's own harness puts every program into one, Python refuses them."""

SLOW = "APPS/train/4184", 5
"""Takes longer than all others together."""


@pytest.mark.slow
def test_published_solutions_of_the_real_problems_pass(data: Path) -> None:
    if not (data / "apps-sample").is_dir():
        pytest.skip(f"{data / 'apps-sample'} is missing")
    problems, _ = load_problems(Task(name="apps", split="train"), data)
    by_id = {problem.task_id: problem for problem in problems}
    programs = [
        Program(record.key, number, "py", of.program(solution), of.timeout_s, cases=of.cases)
        for record in records(data, "train")[0]
        for of in [by_id[record.key]]
        for number, solution in enumerate(json.loads(record.solutions()))
        if ALL or (record.key, number) != SLOW
    ]
    verdicts = list(execute(programs))
    failed = {(v.task_id, v.sample): counts(v).reason for v in verdicts if not v.passed}
    assert failed == {
        (task_id, number): "SyntaxError: 'return' outside function"
        for task_id, numbers in FAILING.items()
        for number in numbers
    }
    found = Counter(verdict.task_id for verdict in verdicts)
    assert sorted(found.values()) == [1, 8 if ALL else 7, 10, 24, 58]
