"""What training and evaluation share: runs of words, equal solutions, translations."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexlora.data import Example, Problem
from flexlora.data.mixture import load_examples
from flexlora.data.overlap import WORDS, overlaps
from flexlora.data.overlap_words import sentences
from flexlora.data.same_code import forms
from flexlora.data.tasks import load_problems
from flexlora.recipe import DataSource, Task

ALPHABET = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"),
    *("lambda", "mu", "nu", "xi", "omicron", "pi", "rho", "sigma", "tau"),
)


def problem(prompt: str, tests: str = "", task_id: str = "P/1", **more: str | None) -> Problem:
    fixed = {"task": "task", "language": "py", "prompt_style": "verbatim", "stop_tokens": ()}
    return Problem(task_id=task_id, prompt=prompt, prefix=prompt, suffix=tests, **{**fixed, **more})  # type: ignore[arg-type]  # any


def example(prompt: str, completion: str = " pass", key: str = "E/1") -> Example:
    return Example(source="own", key=key, prompt=prompt, completion=completion)


def longest_by_hand(a: list[str], b: list[str]) -> int:
    return max(
        (
            length
            for i in range(len(a))
            for j in range(len(b))
            for length in range(1, min(len(a) - i, len(b) - j) + 1)
            if a[i : i + length] == b[j : j + length]
        ),
        default=0,
    )


@pytest.mark.parametrize("length", [9, 10, 11, 14])
def test_the_longest_shared_run_is_found_from_ten_words_on(length: int) -> None:
    shared = ALPHABET[:length]
    evaluated = ["one", *shared, "two", "three", *shared[:4]]
    trained = ["four", *shared[:5], "five", *shared, "six"]
    (found,) = overlaps([[problem(" ".join(evaluated))]], [example(", ".join(trained).upper())])
    assert longest_by_hand(evaluated, trained) == length
    assert [run.words for run in found.runs] == ([length] if length >= WORDS else [])
    if found.runs:
        assert found.runs[0].text == " ".join(shared)
        assert found.runs[0].example == "E/1"


def test_runs_go_from_prompt_to_completion_and_the_example_that_shares_most_is_named() -> None:
    text = " ".join(ALPHABET[:12])
    trained = [example(" ".join(ALPHABET[:10]), key="short"), example(text[:30], text[30:], key="long")]
    (found,) = overlaps([[problem("", tests=f"# {text}\n")]], trained)
    assert [(run.example, run.words) for run in found.runs] == [("long", 12)]


def test_numbers_and_what_many_problems_have_in_common_do_not_count() -> None:
    numbers = ", ".join(map(str, range(30)))
    frame = " ".join(ALPHABET)
    problems = [problem(f"{frame} problem{i}", task_id=f"P/{i}") for i in range(20)]
    (found,) = overlaps([problems], [example(f"{frame} {numbers}")])
    assert not found.runs
    (found,) = overlaps([[problem(numbers)]], [example(numbers)])
    assert not found.runs
    (found,) = overlaps([problems[:2]], [example(frame)])
    assert len(found.runs) == 2


def test_solutions_are_equal_but_for_names_notes_and_layout() -> None:
    one = "def add(x: int, y: int) -> int:\n    '''Add.'''\n    total = x + y  # both\n    return total\n"
    same = ["def plus(a, b):\n    c = (a + b)\n    return c", "def plus(a, b):\n\n    c: int = a + b\n    return c"]
    other = ["def plus(a, b):\n    c = b + a\n    return c", "def plus(a, b):\n    c = max(a, b)\n    return c"]
    assert all(forms("", text) == forms("", one) for text in same)
    assert not any(set(forms("", text)) & set(forms("", one)) for text in other)
    assert forms("def f(n):\n", "    return len(n)\n") == forms("", "def strlen(string: str): return len(string)")
    assert forms("", "def f(n):\n    return len(n)") != forms("", "def f(n):\n    return sum(n)")
    assert forms("class A {", " int  f()\n{ }") == forms("", " int f() { }") == ["int f() { }"]
    assert forms("", "  ") == []
    (found,) = overlaps(
        [[problem("def f(n):\n", reference="    return len(n)\n")]], [example("?", "def g(s): return len(s)")]
    )
    assert [(shared.task_id, shared.example) for shared in found.solutions] == [("P/1", "E/1")]


def test_a_translation_of_what_is_trained_on_is_said_to_be_one_and_so_is_one_of_an_overlap() -> None:
    text = " ".join(ALPHABET)
    originals = [problem(text, task_id="HumanEval/1"), problem("x", task_id="HumanEval/2")]
    translated = [
        problem("a", task_id="t1", original="HumanEval/1", task="java"),
        problem("b", task_id="t2", original="HumanEval/2", task="java"),
        problem("c", task_id="t3", original="MBPP/7", task="java"),
    ]
    python, java = overlaps([originals, translated], [example(text), example("?", key="MBPP/7")])
    assert [run.task_id for run in python.runs] == ["HumanEval/1"]
    assert (java.translated, java.originals) == (("t3",), ("t1",))
    said = sentences([python.as_dict(), java.as_dict(), {**java.as_dict(), "task": "go"}])
    assert said == [
        "task: 1 of 2 problems shares at least 10 words in a row with an example (HumanEval/1: 19 with E/1).",
        "java, go: of 1 problems the original is trained on (t3); "
        "of 1 problems the original is one with an overlap (t1).",
    ]


def test_many_names_are_cut_short_unless_all_are_wanted() -> None:
    clean = [
        {"task": f"t{i}", "problems": 1, "runs": [], "solutions": [], "translated": [], "originals": []}
        for i in range(9)
    ]
    assert sentences(clean)[0].startswith("t0, t1, t2, t3, t4, t5 and 3 more: no 10 words in a row")
    assert "t8: no 10 words" in sentences(clean, named=None)[0]


def test_mbpp_and_humaneval_share_what_they_are_known_to(data_dir: Path) -> None:
    tasks = [load_problems(Task(name=name), data_dir)[0] for name in ("humaneval", "multipl-e/humaneval/java")]
    examples, _ = load_examples([DataSource(dataset="mbpp", split="all")], data_dir, 0)
    humaneval, java = overlaps(tasks, examples)
    assert {run.task_id: run.example for run in humaneval.runs}["HumanEval/55"] == "MBPP/960"
    assert {"HumanEval/13", "HumanEval/23", "HumanEval/35", "HumanEval/55"} <= {
        one.task_id for one in humaneval.solutions
    }
    assert "HumanEval_55_fib" in java.originals
    assert not java.translated
    itself, _ = overlaps(tasks, [example(one.prompt, one.reference or "", one.task_id) for one in tasks[0]])
    assert len(itself.solutions) == 164
    assert len(itself.runs) > 160


def test_translations_of_mbpp_problems_know_their_original(data_dir: Path) -> None:
    problems, _ = load_problems(Task(name="multipl-e/humaneval/rs"), data_dir)
    originals = {one.task_id for one in load_problems(Task(name="humaneval"), data_dir)[0]}
    assert all(one.original in originals for one in problems)
