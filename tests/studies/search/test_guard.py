"""Attempts to have a search choose by test problems, or by what is trained on: each is refused before anything runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from flexlora.data.mixture import load_examples
from flexlora.data.source import Origin
from flexlora.data.tasks import load_problems
from flexlora.errors import UsageError
from flexlora.recipe import DataSource, Recipe, Task, dumped, from_dict, load
from flexlora.studies.search.guard import Guard
from flexlora.studies.search.plan import SearchPlan, plan_search
from small_benchmark import write_benchmark

TINY: dict[str, Any] = {
    "name": "small",
    "model": "tiny",
    "data": [{"dataset": "tiny/B1/py", "split": "train", "limit": 30}],
    "validation": [{"dataset": "tiny/B1/py", "split": "validation", "limit": 10}],
    "tasks": [{"name": f"tiny/{name}/{lang}", "limit": 10} for name in ("A", "B1") for lang in ("py", "java")],
}


def plan(recipe: dict[str, Any], search: dict[str, Any], tmp_path: Path) -> SearchPlan:
    (tmp_path / "space.yaml").write_text(json.dumps(search))
    return plan_search(from_dict(recipe), (), tmp_path / "space.yaml")


def check(recipe: dict[str, Any], search: dict[str, Any], tmp_path: Path) -> None:
    made = plan(recipe, search, tmp_path)
    guard = Guard.of(made.recipe)
    guard.check(made.of_base())
    guard.check(made.of_trial({"lora.rank": 4}))


def own_tasks(path: Path, problems: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(one) + "\n" for one in problems))
    return str(path)


def test_by_default_trials_are_judged_by_the_validation_splits_of_the_recipes_tasks(tmp_path: Path) -> None:
    made = plan(TINY, {}, tmp_path)
    assert [(task.name, task.split, task.limit) for task in made.search.gain] == [
        ("tiny/B1/py", "validation", 10),
        ("tiny/A/py", "validation", 10),
    ]
    assert [task.name for task in made.search.retention] == ["tiny/A/java", "tiny/B1/java"]
    assert {(texts.dataset, texts.split) for texts in made.search.likelihood} == {
        ("tiny/A/java", "validation"),
        ("tiny/B1/java", "validation"),
    }
    check(TINY, {}, tmp_path)
    test = {p.task_id for task in made.recipe.tasks for p in load_problems(task, None)[0]}
    judged = {p.task_id for task in made.of_trial({}).tasks for p in load_problems(task, None)[0]}
    assert judged
    assert not judged & test


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"gain": ["tiny/A/py"]}, "split test, may not judge"),
        ({"gain": [{"name": "tiny/A/py", "split": "test"}]}, "split test, may not judge"),
        ({"gain": [{"name": "tiny/A/py", "split": "train"}]}, "split train, may not judge"),
        ({"retention": ["tiny/B2/java"]}, "split test, may not judge"),  # that the recipe does not even report
        ({"likelihood": ["tiny/A/java"]}, "split test, may not judge"),
        ({"likelihood": [{"dataset": "tiny/A/java", "split": "test"}]}, "split test, may not judge"),
    ],
)
def test_the_test_split_of_a_benchmark_is_refused(search: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        check(TINY, search, tmp_path)


def test_validation_data_of_a_test_split_is_refused(tmp_path: Path) -> None:
    recipe = TINY | {"validation": [{"dataset": "tiny/B1/py", "split": "test", "limit": 10}]}
    with pytest.raises(UsageError, match="may not judge"):
        check(recipe, {}, tmp_path)


def test_a_recipe_that_reports_validation_problems_cannot_be_searched_by_them(tmp_path: Path) -> None:
    tasks = [{"name": name, "split": "validation", "limit": 10} for name in ("tiny/B1/py", "tiny/A/java")]
    with pytest.raises(UsageError, match="is a test problem of tiny"):
        check(TINY | {"tasks": tasks}, {}, tmp_path)


def test_a_benchmark_without_a_validation_split_is_refused(benchmark: Path, tmp_path: Path) -> None:
    recipe = {
        "model": "tiny",
        "data_dir": str(benchmark),
        "data": [{"dataset": "mbpp"}],
        "tasks": ["humaneval", "multipl-e/humaneval/java"],
    }
    with pytest.raises(
        UsageError, match=r"no task of the recipe in another language(.|\n)*no such folder(.|\n)*--space"
    ):
        plan(recipe, {}, tmp_path)  # the functions that would stand in are not there either
    with pytest.raises(UsageError, match="it has no validation split"):
        check(recipe, {"retention": ["multipl-e/humaneval/java"]}, tmp_path)
    with pytest.raises(UsageError, match="humaneval"):
        check(recipe, {"likelihood": ["humaneval"]}, tmp_path)


def test_where_target_languages_have_no_validation_tasks_published_functions_stand_in(tmp_path: Path) -> None:
    folder = write_benchmark(tmp_path / "data")
    (folder / "codesearchnet" / "java").mkdir(parents=True)
    one = {"docstring": "Halves x.", "code": "int half(int x) { return x / 2; }"} | dict.fromkeys(("repo", "path"), "r")
    records = [one | {"func_name": f"Half.half{i}"} for i in range(2)]
    (folder / "codesearchnet" / "java" / "valid.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    recipe = load("mbpp-java", (f"data_dir={folder}", "model=tiny"))
    made = plan(dumped(recipe), {}, tmp_path)
    assert [(task.name, task.split) for task in made.search.gain] == [("mbpp", "validation")]
    assert made.search.retention == ()
    assert [(one.dataset, one.split) for one in made.search.likelihood] == [("codesearchnet/java", "validation")]
    check(dumped(recipe), {}, tmp_path)


def copied(task: str, recipe: Recipe, **changed: Any) -> list[dict[str, Any]]:
    """A test's problems as a file of one's own has them."""
    problems, _ = load_problems(Task(name=task, limit=3), recipe.data_dir)
    return [
        {
            "prompt": problem.prefix,
            "tests": problem.suffix,
            "stop_tokens": list(problem.stop_tokens),
            "language": problem.language,
            **({"solution": problem.reference} if problem.reference else {}),
            **changed,
        }
        for problem in problems
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"tests": "assert True\n"},  # the prompt gives it away
        {"prompt": "def nothing_like_it(x):\n", "solution": "    return x\n"},  # the tests do
        {"task_id": "tiny/A/of-another-name", "tests": "assert True\n"},
    ],
)
def test_test_problems_in_a_file_of_ones_own_are_refused(
    changed: dict[str, Any], benchmark: Path, tmp_path: Path
) -> None:
    recipe = {"model": "tiny", "data_dir": str(benchmark), "data": [{"dataset": "mbpp"}], "tasks": ["humaneval"]}
    problems = copied("humaneval", from_dict(recipe), **changed)
    if "task_id" in changed:
        problems = problems[:1]
    path = own_tasks(tmp_path / "mine.jsonl", problems)
    with pytest.raises(UsageError, match="is a test problem of humaneval"):
        check(recipe, {"gain": [{"name": "mbpp", "split": "validation"}], "retention": [path]}, tmp_path)


def test_a_test_problem_that_is_worded_a_little_otherwise_is_refused(tmp_path: Path) -> None:
    """The generated problems too, where they come from a file."""
    problems = copied("tiny/A/java", from_dict(TINY))
    for number, one in enumerate(problems):
        one["prompt"] = one["prompt"] + f"// another word {number}\n"
        one["tests"] = one["tests"] + f"\n// {number}"
    path = own_tasks(tmp_path / "mine.jsonl", problems)
    with pytest.raises(UsageError, match="share a run of words"):
        check(TINY, {"gain": [{"name": "tiny/A/py", "split": "validation"}], "retention": [path]}, tmp_path)


def commented_pairs(path: Path, recipe: Recipe) -> str:
    """Test problems as pairs, with a comment in each part."""
    tests, _ = load_examples([DataSource(dataset="tiny/A/java", split="test", limit=5)], recipe.data_dir, 0)
    pairs = [{"prompt": f"// mine\n{one.prompt}", "completion": f"// mine\n{one.completion}"} for one in tests]
    return own_tasks(path, pairs)


def test_texts_of_ones_own_that_are_test_problems_with_a_comment_are_refused(tmp_path: Path) -> None:
    texts = {"dataset": commented_pairs(tmp_path / "mine.jsonl", from_dict(TINY)), "language": "java"}
    with pytest.raises(UsageError, match=r"likelihood mine: \d+ test problems .* share a run of words"):
        check(TINY, {"gain": [{"name": "tiny/A/py", "split": "validation"}], "likelihood": [texts]}, tmp_path)


def test_validation_data_of_ones_own_that_is_test_problems_with_a_comment_is_refused(tmp_path: Path) -> None:
    path = commented_pairs(tmp_path / "mine.jsonl", from_dict(TINY))
    with pytest.raises(UsageError, match=r"validation data .*: \d+ test problems .* share a run of words"):
        check(TINY | {"validation": [{"dataset": path}]}, {}, tmp_path)


def test_a_hub_id_is_compared_as_a_file_of_ones_own_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(commented_pairs(tmp_path / "mine.jsonl", from_dict(TINY)))
    records = [json.loads(line) for line in path.read_text().splitlines()]
    origin = Origin(source="hub", revision=None, sha256=None, records=len(records))
    monkeypatch.setattr("flexlora.data.own.load_hub", lambda *given: (records, origin))
    for hub in ("someone/problems", "mbpp/problems"):
        with pytest.raises(UsageError, match=r"validation data .* share a run of words"):
            check(TINY | {"validation": [{"dataset": hub, "split": "validation"}]}, {}, tmp_path)


def test_a_test_problem_counts_however_often_a_file_repeats_it(tmp_path: Path) -> None:
    problems = [
        {**one, "prompt": f"// {number}\n{one['prompt']}", "tests": f"{one['tests']}\n// {number}"}
        for number in range(4)
        for one in copied("tiny/A/java", from_dict(TINY))
    ]
    path = own_tasks(tmp_path / "mine.jsonl", problems)
    with pytest.raises(UsageError, match="share a run of words"):
        check(TINY, {"gain": [{"name": "tiny/A/py", "split": "validation"}], "retention": [path]}, tmp_path)


@pytest.mark.parametrize("name", ["tiny/A/java", "mbpp"])
def test_a_packaged_validation_split_is_let_through_whatever_words_it_shares(
    name: str, benchmark: Path, tmp_path: Path
) -> None:
    recipe = TINY | {"data_dir": str(benchmark), "tasks": [*TINY["tasks"], "mbpp"]}
    packaged = {"dataset": name, "split": "validation"}
    gain = [{"name": "tiny/A/py", "split": "validation"}]
    check(recipe | {"validation": [packaged]}, {"gain": gain, "likelihood": [packaged]}, tmp_path)


def test_what_is_trained_on_is_refused(benchmark: Path, tmp_path: Path) -> None:
    recipe = {"model": "tiny", "data_dir": str(benchmark), "data": [{"dataset": "mbpp"}], "tasks": ["humaneval"]}
    trained = {"prompt": '"""\nWrite a function to add 601.\nassert add_601(1) == 602\n"""\n', "stop_tokens": []}
    path = own_tasks(tmp_path / "mine.jsonl", [{**trained, "tests": "assert True", "language": "py"}])
    with pytest.raises(UsageError, match=r"is training data \(mbpp\)"):
        check(recipe, {"gain": [path], "retention": [{"name": "mbpp", "split": "validation"}]}, tmp_path)


def test_ones_own_problems_that_are_none_of_the_tests_are_let_through(benchmark: Path, tmp_path: Path) -> None:
    recipe = {"model": "tiny", "data_dir": str(benchmark), "data": [{"dataset": "mbpp"}], "tasks": ["humaneval"]}
    mine = {"prompt": "function half(x) {\n", "tests": "console.assert(half(4) === 2)", "stop_tokens": ["\n}"]}
    path = own_tasks(tmp_path / "mine.jsonl", [{**mine, "language": "js"}])
    check(recipe, {"retention": [path]}, tmp_path)
