"""Patterns in a recipe's list of tasks, and what `flexlora tasks` and the documentation say of each."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from flexlora.cli import main
from flexlora.data import codesearchnet
from flexlora.data.family import MEANING
from flexlora.data.multipl_e import LANGUAGES
from flexlora.data.task_list import expanded, with_all_tasks
from flexlora.data.tasks import FAMILIES, family_of, known
from flexlora.errors import UsageError
from flexlora.recipe import Task, from_dict


def names(*tasks: str | Task) -> list[str]:
    return [task.name for task in expanded([Task(name=one) if isinstance(one, str) else one for one in tasks])]


def test_a_pattern_is_all_tasks_that_it_matches_and_its_star_stands_for_slashes_too() -> None:
    both = [f"multipl-e/{original}/{language}" for original in ("humaneval", "mbpp") for language in LANGUAGES]
    assert names("multipl-e/*") == both
    assert names("humaneval", "multipl-e/mbpp/*") == ["humaneval", *both[18:]]
    assert names("*/java") == [
        "multipl-e/humaneval/java",
        "multipl-e/mbpp/java",
        *(f"tiny/{set_name}/java" for set_name in ("A", "B1", "B2", "B3")),
    ]
    assert names("mbp?", "mbpp[+]") == ["mbpp", "mbpp+"]


def test_an_exclamation_mark_leaves_out() -> None:
    left = names("multipl-e/humaneval/*", "!*/swift", "!*/j[ls]")
    kept = [language for language in LANGUAGES if language not in ("swift", "jl", "js")]
    assert left == [f"multipl-e/humaneval/{language}" for language in kept]
    with pytest.raises(UsageError, match="nothing is left of humaneval, !human"):
        names("humaneval", "!human*")
    with pytest.raises(UsageError, match=r"'!\*/cobol' matches none of the 2 tasks"):
        names("humaneval", "mbpp", "!*/cobol")


def test_a_patterns_options_are_those_of_all_and_a_task_named_by_itself_keeps_its_own() -> None:
    one = Task(name="multipl-e/humaneval/java", limit=7)
    tasks = expanded([Task(name="multipl-e/humaneval/*", limit=3), one, Task(name="*/go")])
    by_name = {task.name: task for task in tasks}
    assert len(tasks) == len(by_name) == 18 + 1  # and multipl-e/mbpp/go
    assert by_name["multipl-e/humaneval/java"] == one
    assert by_name["multipl-e/humaneval/go"].limit == 3  # the first pattern's
    assert by_name["multipl-e/mbpp/go"].limit is None


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'multiple/\*' matches no task; `flexlora tasks`"):
        names("multiple/*")
    with pytest.raises(UsageError, match="matches no task"):
        names("/nowhere/*.jsonl")


def test_patterns_are_of_files_too(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "c.txt"):
        (tmp_path / name).touch()
    assert names(f"{tmp_path}/*.jsonl") == [f"{tmp_path}/a.jsonl", f"{tmp_path}/b.jsonl"]
    (tmp_path / "[1].jsonl").touch()
    assert names(f"{tmp_path}/[1].jsonl") == [f"{tmp_path}/[1].jsonl"]


def test_a_run_has_every_task_by_its_name() -> None:
    values: dict[str, Any] = {"model": "tiny", "variants": ["base"], "tasks": ["humaneval", "mbpp"]}
    recipe = from_dict(values)
    assert with_all_tasks(recipe) is recipe
    found = with_all_tasks(from_dict(values | {"tasks": ["tiny/A/*", {"name": "humaneval", "limit": 2}]}))
    assert [task.name for task in found.tasks] == ["tiny/A/py", "tiny/A/java", "tiny/A/js", "tiny/A/cpp", "humaneval"]
    assert found.tasks[-1].limit == 2


def test_an_unknown_task_is_told_what_is_close() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'multipl-e/humaneval/java'\?"):
        family_of("multiple/humaneval/java")


def test_no_two_families_have_a_task_of_the_same_name() -> None:
    assert len(set(known())) == len(known())
    assert all(family.styles and set(family.languages) for family in FAMILIES)


def test_the_list_the_json_and_the_documentation_say_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown, as_json = (printed(monkeypatch, capsys, *options) for options in ((), ("--json",)))
    found = json.loads(as_json)
    assert [one["name"] for one in found["tasks"]] == [family.name for family in FAMILIES]
    assert {name for one in found["tasks"] for name in one["tasks"]} == {*known(), *codesearchnet.known()}
    assert found["meaning"] == MEANING
    generator = _generator()
    page = generator.tasks_page()
    flat = " ".join(shown.split())
    for family in FAMILIES:
        row = family.row()
        assert "| " + " | ".join(map(generator.cell, row.values())) + " |" in page
        for name, value in row.items():
            assert " ".join((value if name == "task" else f"{name}: {value}").split()) in flat
    for state, words in MEANING.items():
        assert f"`{state}`: {words}" in page
        assert f"{state}: {words}" in flat


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    monkeypatch.setattr(sys, "argv", ["flexlora", "tasks", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    return capsys.readouterr().out


def _generator() -> Any:
    path = Path(__file__).parents[2] / "docs" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate_docs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
