"""APPS on a few problems in its layout, and on the five real ones where they are at hand."""

import json
import shutil
from pathlib import Path

import pytest

from flexlora import recipe
from flexlora.data import Example, Problem
from flexlora.data.apps import MOST_CHARACTERS, STOP_TOKENS, best_solution
from flexlora.data.apps_tests import IMPORTS
from flexlora.data.mixture import load_examples
from flexlora.data.source import Origin
from flexlora.data.tasks import load_problems, refuse_trained
from flexlora.errors import UsageError
from flexlora.recipe import DataSource, Task
from small_apps import (
    BROKEN_TESTS,
    EMPTY_TESTS,
    NO_SOLUTION,
    NO_TESTS,
    PLAIN,
    SUM,
    TWICE,
    write_apps,
    write_problem,
)


@pytest.fixture
def apps(tmp_path: Path) -> Path:
    return write_apps(tmp_path / "data", train=[SUM, TWICE, PLAIN], test=[SUM, TWICE, PLAIN, PLAIN])


def problems(data_dir: Path, **options: object) -> tuple[list[Problem], Origin]:
    return load_problems(Task.model_validate({"name": "apps", **options}), data_dir)


def examples(data_dir: Path, **options: object) -> tuple[list[Example], Origin]:
    found, (origin,) = load_examples([DataSource.model_validate({"dataset": "apps", **options})], data_dir, 0)
    return found, origin


def test_prompts_are_those_of_the_two_generators(apps: Path) -> None:
    program, method, _, _ = (problem.prompt for problem in problems(apps)[0])
    assert program == f"\nQUESTION:\n{SUM['question']}\nUse Standard Input format\nANSWER:\n"
    assert method == (f"\nQUESTION:\n{TWICE['question']}\n{TWICE['starter_code']}\nUse Call-Based format\nANSWER:\n")
    bigcode, _ = problems(apps, prompt_style="bigcode")
    assert bigcode[0].prompt == program
    assert bigcode[1].prompt == method.replace("number.\nclass", "number.class")
    assert {(p.prompt_style, p.stop_tokens, p.timeout_s) for p in bigcode} == {("bigcode", STOP_TOKENS, 4.0)}


def test_a_problem_is_trained_on_as_it_is_evaluated(apps: Path) -> None:
    for style in ("original", "bigcode"):
        trained, _ = examples(apps, prompt_style=style)
        evaluated, _ = problems(apps, split="train", prompt_style=style)
        assert [(e.key, e.prompt) for e in trained] == [(p.task_id, p.prompt) for p in evaluated]
    assert [e.key for e in trained] == ["APPS/train/0000", "APPS/train/0001", "APPS/train/0002"]


def test_programs_hold_the_imports_and_no_expected_output(apps: Path) -> None:
    program, method, _, _ = problems(apps)[0]
    assert program.program("print(1)\nANSWER: no") == f"{IMPORTS}print(1)\n"
    whole = method.program("class Solution: ...")
    assert whole.startswith(f"{IMPORTS}class Solution: ...\n")
    assert "'twice'" in whole
    assert [case.input for case in method.cases or ()] == ["[[1, 2]]\n", "[[]]\n"]


@pytest.mark.parametrize("style", ["plan", "chat", "chat-plan"])
def test_plans_and_answers_are_whole_programs_after_the_imports(style: str, apps: Path) -> None:
    for problem in load_problems(Task(name="apps"), apps, style)[0]:
        assert problem.prompt.endswith("# Plan, step by step:\n# 1.") == (style == "plan")
        code = "n = int(input())\nprint(n)"
        answer = f"Here:\n```python\n{code}\n```\nDone." if problem.answer == "chat" else f" Print.\n{code}\n"
        begun = "# Plan, step by step:\n# 1. Print.\n" if style == "plan" else ""
        assert problem.solution(answer).startswith(f"{IMPORTS}{begun}{code}")


def test_the_shortest_solution_that_is_python_3_is_trained_on(apps: Path) -> None:
    completions = [example.completion for example in examples(apps)[0]]
    assert completions[0] == "import sys\nprint(sum(map(int, sys.stdin.read().split())))\n"
    assert completions[1] == TWICE["solutions"][0]  # the shorter one does not have the function


@pytest.mark.parametrize(
    ("solutions", "function", "best"),
    [
        (["x = 10", "y = 1"], None, "y = 1"),
        (["print 1", "print(10)"], None, "print(10)"),
        (["return 1", "print(10)"], None, "print(10)"),
        (["s = raw_input()", "xrange = range; xrange(1)"], None, "xrange = range; xrange(1)"),
        (["f = 1", "def ff(): pass", "def f(): return 1"], "f", "f = 1"),
        (["def ff(): pass"], "f", None),
        ([" ", ""], None, None),
        (["a = 1" + ";a = 1" * MOST_CHARACTERS], None, None),
        (["'\\d'", "a = b\0c"], None, "'\\d'"),
    ],
)
def test_the_rule_of_the_best_solution(solutions: list[str], function: str | None, best: str | None) -> None:
    assert best_solution(solutions, function) == best


def test_difficulties_are_chosen_and_are_parts_of_the_task(apps: Path) -> None:
    assert [p.part for p in problems(apps)[0]] == ["introductory", "interview", "competition", "competition"]
    assert [p.task_id for p in problems(apps, difficulty="competition")[0]] == ["APPS/test/0002", "APPS/test/0003"]
    assert len(problems(apps, difficulty=["introductory", "competition"])[0]) == 3
    assert [e.key for e in examples(apps, difficulty=["interview"])[0]] == ["APPS/train/0001"]
    for wrong in ({"difficulty": ["hard"]}, {"difficulty": "hard"}):
        with pytest.raises(UsageError, match=r"difficulty.*introductory.*found 'hard'"):
            recipe.from_dict({"model": "m", "variants": ["base"], "tasks": [{"name": "apps", **wrong}]})


def test_a_difficulty_that_a_split_lacks_is_an_error_that_counts_what_it_has(tmp_path: Path) -> None:
    data_dir = write_apps(tmp_path, train=[], test=[SUM, SUM, TWICE])
    with pytest.raises(UsageError, match="no problems of difficulty competition; it has 2 introductory, 1 interview"):
        problems(data_dir, difficulty=["competition"])


def test_problems_that_cannot_be_evaluated_are_counted_and_named(tmp_path: Path) -> None:
    uneven = {**SUM, "input_output": '{"inputs": ["1"], "outputs": []}'}
    no_list = {**PLAIN, "input_output": '{"fn_name": "even", "inputs": [2], "outputs": [true]}'}
    data_dir = write_apps(
        tmp_path, train=[NO_SOLUTION, SUM], test=[SUM, NO_TESTS, BROKEN_TESTS, EMPTY_TESTS, uneven, no_list]
    )
    found, origin = problems(data_dir)
    assert [problem.task_id for problem in found] == ["APPS/test/0000"]
    assert origin.records == 6
    assert len(origin.notes) == 4
    assert origin.notes[0] == "2 of 6 apps problems left out: no tests (APPS/test/0001, APPS/test/0003)"
    assert origin.notes[1] == "1 of 6 apps problems left out: damaged JSON (APPS/test/0002)"
    assert "1 inputs but 0 outputs (APPS/test/0004)" in origin.notes[2]
    assert "an input is no list of arguments (APPS/test/0005)" in origin.notes[3]
    assert json.loads(json.dumps(origin.as_dict())) == origin.as_dict()
    trained, origin = examples(data_dir)
    assert [example.key for example in trained] == ["APPS/train/0001"]
    assert "1 of 2 apps problems left out: no solution of at most 4000 characters" in origin.notes[0]


def test_where_nothing_is_left_the_reasons_are_said(tmp_path: Path) -> None:
    data_dir = write_apps(tmp_path, train=[NO_SOLUTION], test=[NO_TESTS])
    with pytest.raises(UsageError, match=r"holds no problems in apps\. 1 of 1 apps problems left out: no tests"):
        problems(data_dir)
    with pytest.raises(UsageError, match=r"nothing is left of apps.*no solution"):
        examples(data_dir)


def test_training_does_not_need_tests(tmp_path: Path) -> None:
    data_dir = write_apps(tmp_path, train=[NO_TESTS, BROKEN_TESTS, {**PLAIN, "input_output": ""}], test=[])
    prompts = [example.prompt for example in examples(data_dir)[0]]
    assert ["Call-Based" in prompt for prompt in prompts] == [False, False, True]


def test_folders_without_splits_are_the_training_problems(tmp_path: Path) -> None:
    for name in ("apps-sample", "apps"):  # the second is looked for first
        write_problem(tmp_path / name / "0017", SUM if name == "apps" else TWICE)
        (found,), origin = problems(tmp_path, split="train")
        assert (found.task_id, origin.source, found.part) == (
            "APPS/train/0017",
            name,
            "introductory" if name == "apps" else "interview",
        )
    with pytest.raises(UsageError, match="has no split 'test', only train"):
        problems(tmp_path)


def test_what_is_missing_or_damaged_is_named(apps: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder apps or APPS or apps-sample"):
        problems(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="task apps: no split 'validation'; it has test, train"):
        problems(apps, split="validation")
    shutil.rmtree(apps / "apps" / "train")
    with pytest.raises(UsageError, match="has no split 'train', only test"):
        problems(apps, split="train")
    (apps / "apps" / "train").mkdir()
    with pytest.raises(UsageError, match="holds no problems"):
        problems(apps, split="train")
    metadata = apps / "apps" / "test" / "0001" / "metadata.json"
    for content, message in (("{", "metadata.json: must be JSON"), ('{"difficulty": "hard"}', "has difficulty 'hard'")):
        metadata.write_text(content)
        with pytest.raises(UsageError, match=message):
            problems(apps)
    (metadata.parent / "question.txt").unlink()
    with pytest.raises(UsageError, match=r"0001: no question\.txt"):
        problems(apps)


def test_damaged_solutions_are_named(tmp_path: Path) -> None:
    for number, text in enumerate(("[1", '{"a": 1}', "[1]")):
        data_dir = write_apps(tmp_path / str(number), train=[SUM], test=[])
        (data_dir / "apps" / "train" / "0000" / "solutions.json").write_text(text)
        with pytest.raises(UsageError, match="the solutions of APPS/train/0000"):
            examples(data_dir)


def test_files_that_change_are_read_again(apps: Path) -> None:
    first = problems(apps)[1]
    assert problems(apps)[1] == first
    file = apps / "apps" / "test" / "0000" / "input_output.json"
    file.write_text(json.dumps({"inputs": ["7\n"], "outputs": ["7\n"]}))
    found, origin = problems(apps)
    assert origin.sha256 != first.sha256
    assert [case.expected for case in found[0].cases or ()] == ["7\n"]


def test_what_was_trained_on_is_not_evaluated(apps: Path) -> None:
    trained, _ = examples(apps)
    refuse_trained(problems(apps)[0], trained)
    with pytest.raises(UsageError, match="3 of its problems are in the training data"):
        refuse_trained(problems(apps, split="train")[0], trained)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"name": "apps", "prompt_style": "docstring"}, "it has original and bigcode"),
        ({"name": "mbpp", "difficulty": ["interview"]}, "task mbpp: it has no difficulty"),
        ({"name": "humaneval", "compat": True}, "task humaneval: it has no compat"),
    ],
)
def test_options_of_other_tasks_are_refused(task: dict[str, object], message: str, apps: Path) -> None:
    with pytest.raises(UsageError, match=message):
        load_problems(Task.model_validate(task), apps)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"dataset": "apps", "prompt_style": "docstring"}, "it has original and bigcode"),
        ({"dataset": "mbpp", "prompt_style": "original"}, "it has docstring and three-shot"),
        ({"dataset": "mbpp", "difficulty": ["interview"]}, "mbpp has no difficulty"),
        ({"dataset": "codeparrot/apps"}, "is the benchmark apps"),
    ],
)
def test_options_of_other_datasets_are_refused(source: dict[str, object], message: str, apps: Path) -> None:
    with pytest.raises(UsageError, match=message):
        load_examples([DataSource.model_validate(source)], apps, 0)


def test_comparison_as_the_original_does_it_is_another_set_of_cases(apps: Path) -> None:
    usual, compat = (problems(apps, compat=compat)[0][0].cases for compat in (False, True))
    assert usual is not None
    assert compat is not None
    assert (usual.compat, compat.compat) == (False, True)
    assert usual != compat


def test_round_2_goes_on_from_round_1_with_both_optimizers() -> None:
    first, second = (recipe.load(f"paper/{name}") for name in ("round1-mbpp", "round2-optimizers"))
    assert second.lora.init_adapter is not None
    assert Path(second.lora.init_adapter) == Path("runs", first.name).resolve()
    assert second.lora.model_copy(update={"init_adapter": None}) == first.lora
    assert second.model == first.model
    assert [second.arm(arm).optimizer.name for arm in second.arm_names()] == ["adamw", "sophia"]
    assert {(data.dataset, data.difficulty) for data in second.data} == {("apps", ("competition",))}
    assert second.validation
    assert second.train.model_dump() == first.train.model_dump() | {"max_length": 2048, "eval_steps": 20}


def test_the_five_real_problems_load(data_dir: Path) -> None:
    trained, origin = examples(data_dir)
    evaluated, _ = problems(data_dir, split="train")
    assert (origin.source, origin.records, origin.notes) == ("apps-sample", 5, ())
    keys = [f"APPS/train/{number}" for number in ("0001", "0111", "2287", "2404", "4184")]
    assert [example.key for example in trained] == [problem.task_id for problem in evaluated] == keys
    assert ["Call-Based" in example.prompt for example in trained] == [False, False, False, True, True]
    assert [len(list(problem.cases or ())) for problem in evaluated] == [1, 1, 3, 1, 8]
    assert len(trained[0].completion) == 270
