"""A few problems in the layout and with the fields of APPS, of every kind that it has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SUM = {
    "question": "Print the sum of all numbers of the input.\n\n-----Input-----\nNumbers.\n",
    "difficulty": "introductory",
    "input_output": json.dumps({"inputs": ["1 2\n3\n", "5\n", ""], "outputs": ["6\n", "5\n", "0\n"]}),
    "solutions": [
        "import sys\n\nnumbers = list(map(int, sys.stdin.read().split()))\nprint(sum(numbers))\n",
        "print sum(map(int, raw_input().split()))\n",
        "import sys\r\nprint(sum(map(int, sys.stdin.read().split())))\r\n",
        "print(sum(xrange(3)))",
    ],
    "starter_code": "",
}
TWICE = {
    "question": "Double every number.",
    "difficulty": "interview",
    "input_output": json.dumps({"fn_name": "twice", "inputs": [[[1, 2]], [[]]], "outputs": [[2, 4], []]}),
    "solutions": [
        "class Solution:\n    def twice(self, xs: List[int]) -> List[int]:\n        return [2 * x for x in xs]\n",
        "print(1)",
    ],
    "starter_code": "class Solution:\n    def twice(self, xs: List[int]) -> List[int]:\n        ",
}
PLAIN = {
    "question": "Is it even?",
    "difficulty": "competition",
    "input_output": json.dumps({"fn_name": "even", "inputs": [[2], [3], [7]], "outputs": [[True], [False], False]}),
    "solutions": ["def even(n):\n    return n % 2 == 0\n"],
    "starter_code": "def even(n):\n\t",
}
NO_TESTS = {**SUM, "input_output": ""}
EMPTY_TESTS = {**SUM, "input_output": '{"inputs": [], "outputs": []}', "difficulty": "interview"}
BROKEN_TESTS = {**SUM, "input_output": '{"inputs": ["1"]'}
NO_SOLUTION = {**SUM, "solutions": []}

Problem = dict[str, Any]


def write_problem(folder: Path, problem: Problem) -> None:
    """Write one problem's folder as APPS's authors publish them."""
    folder.mkdir(parents=True)
    (folder / "question.txt").write_text(problem["question"])
    (folder / "metadata.json").write_text(json.dumps({"difficulty": problem["difficulty"], "url": "https://x.invalid"}))
    if problem["solutions"]:
        (folder / "solutions.json").write_text(json.dumps(problem["solutions"]))
    for name, key in (("input_output.json", "input_output"), ("starter_code.py", "starter_code")):
        if problem[key]:
            (folder / name).write_text(problem[key])


def write_apps(data_dir: Path, *, train: list[Problem], test: list[Problem]) -> Path:
    """Write both splits, and return the folder that recipes call `data_dir`."""
    for split, problems in (("train", train), ("test", test)):
        for number, problem in enumerate(problems):
            write_problem(data_dir / "apps" / split / f"{number:04d}", problem)
    return data_dir


def row(number: int, problem: Problem) -> Problem:
    """One problem as a record of the hub."""
    solutions = json.dumps(problem["solutions"]) if problem["solutions"] else ""
    return {**problem, "problem_id": number, "solutions": solutions, "url": "https://x.invalid"}
