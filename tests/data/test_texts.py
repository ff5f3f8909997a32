"""Texts whose likelihood is measured, from everything that has solutions and from files of one's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from flexlora.data import humaneval, mbpp
from flexlora.data.tasks import load_problems
from flexlora.data.texts import load_texts
from flexlora.errors import UsageError
from flexlora.recipe import Task, Texts, from_dict


def texts(**values: Any) -> Texts:
    return Texts.model_validate(values)


def test_benchmarks_give_their_solutions_after_the_prompts_that_are_evaluated(benchmark: Path) -> None:
    found, origin = load_texts(texts(dataset="humaneval"), benchmark)
    problems, _ = humaneval.problems(benchmark)
    assert [(one.task_id, one.prompt) for one in found] == [(one.task_id, one.prompt) for one in problems]
    assert {(one.language, one.completion) for one in found} == {("py", "    return 2 * x\n")}
    assert origin.records == 4
    found, _ = load_texts(texts(dataset="mbpp", limit=3), benchmark)
    problems, _ = mbpp.problems(benchmark, "test", "docstring")
    assert [(one.task_id, one.prompt) for one in found] == [(one.task_id, one.prompt) for one in problems[:3]]
    assert "\r" not in found[0].completion


def test_the_tiny_benchmark_has_solutions() -> None:
    name, language = "tiny/B1/java", "java"
    found, _ = load_texts(texts(dataset=name, limit=5), None)
    problems, _ = load_problems(Task(name=name, limit=5), None)
    assert [(one.task_id, one.prompt) for one in found] == [(one.task_id, one.prompt) for one in problems]
    assert {one.language for one in found} == {language}
    assert all(one.completion.strip() for one in found)


def test_ones_own_texts_have_prompts_or_none(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"q": f"// {i}\n", "a": f"f{i}();\n"}) + "\n" for i in range(3)))
    pairs, origin = load_texts(
        texts(dataset=str(file), language="java", prompt_column="q", completion_column="a", limit=2), None
    )
    assert [(one.task, one.prompt, one.completion, one.language) for one in pairs] == [
        ("mine", "// 0\n", "f0();\n", "java"),
        ("mine", "// 1\n", "f1();\n", "java"),
    ]
    assert origin.source == "mine.jsonl"
    alone, _ = load_texts(texts(dataset=str(file), name="alone", language="java", text_column="a"), None)
    assert [(one.task, one.prompt, one.completion) for one in alone][2] == ("alone", "", "f2();\n")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"dataset": "multipl-e/humaneval/java"}, "publishes no solutions"),
        ({"dataset": "tiny/A/go"}, "unknown dataset 'tiny/A/go'; there are tiny/A/py"),
        ({"dataset": "codesearchnet/swift"}, "unknown dataset 'codesearchnet/swift'"),
        ({"dataset": "mine.jsonl"}, "say its language"),
        ({"dataset": "mine.jsonl", "language": "java"}, "no column 'prompt'; found text"),
        ({"dataset": "mine.jsonl", "language": "java", "text_column": "text"}, "record 2: 'text' must be text"),
        ({"dataset": "mine.jsonl", "language": "java", "text_column": "text", "split": "test"}, "has no split"),
        ({"dataset": "nowhere.jsonl", "language": "java", "text_column": "text"}, "no such data file"),
        ({"dataset": "humaneval", "language": "java"}, "humaneval is in py; remove language: java"),
        ({"dataset": "humaneval", "split": "train"}, "humaneval has no split"),
        ({"dataset": "mbpp", "text_column": "text"}, "mbpp has no column 'text'"),
        ({"dataset": "tiny/A/py", "text_column": "text"}, "tiny/A/py has no column 'text'"),
    ],
)
def test_what_does_not_fit_is_refused(
    values: dict[str, Any], complaint: str, tmp_path: Path, benchmark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.jsonl").write_text('{"text": "f();"}\n{"text": " "}\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=complaint):
        load_texts(texts(**values), benchmark)


def test_a_recipe_names_texts_in_a_list_or_with_options() -> None:
    common = {"model": "m", "variants": ["base"]}
    short = from_dict({**common, "likelihood": ["tiny/A/py", {"dataset": "a/b.jsonl", "language": "java"}]})
    assert [one.name for one in short.likelihood.texts] == ["tiny/A/py", "b"]
    long = from_dict({**common, "likelihood": {"texts": ["tiny/A/py"], "max_length": 64}})
    assert (long.likelihood.texts[0].dataset, long.likelihood.max_length) == ("tiny/A/py", 64)
    for likelihood, complaint in (
        (["tiny/A/py", {"dataset": "tiny/A/py", "limit": 3}], "'tiny/A/py' is listed twice"),
        ({"max_length": 64}, "names no texts"),
        ([], "nothing to evaluate"),
        ([{"dataset": "tiny/A/py", "spilt": "test"}], "did you mean 'split'"),
    ):
        with pytest.raises(UsageError, match=complaint):
            from_dict({**common, "likelihood": likelihood})
