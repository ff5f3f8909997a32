"""The generated benchmark: its sets and splits, and that its references and tests agree when they are really run."""

from __future__ import annotations

import random

import pytest

from flexlora.errors import UsageError
from flexlora.execution import Program, Status, execute, require
from flexlora.tiny.problems import (
    CONDITIONS,
    HELD_OUT,
    LANGUAGES,
    MAPS,
    NEW_CONDITIONS,
    NEW_MAPS,
    SETS,
    SPLITS,
    Key,
    body,
    examples,
    keys,
    problems,
    prompt,
    solve,
)
from flexlora.tiny.problems import tests as assertions


@pytest.mark.parametrize("set_name", SETS)
def test_splits_share_no_problem_and_no_prompt(set_name: str) -> None:
    ids = {split: {problem.task_id for problem in problems(set_name, "py", split)} for split in SPLITS}
    prompts = {split: {problem.prompt for problem in problems(set_name, "py", split)} for split in SPLITS}
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not ids[first] & ids[second]
        assert not prompts[first] & prompts[second]
    assert len(ids["validation"]) == len(ids["test"]) == HELD_OUT
    assert sum(len(prompts[split]) for split in SPLITS) == sum(len(keys(set_name, split)) for split in SPLITS)


def test_set_b_has_exactly_one_new_word_and_set_a_none() -> None:
    def new(key: Key) -> int:
        return (key.condition in NEW_CONDITIONS) + (key.map in NEW_MAPS)

    for split in SPLITS:
        assert {new(key) for key in keys("a", split)} == {0}
        assert {new(key) for key in keys("b", split)} == {1}
    assert not {part.code for part in (*CONDITIONS, *MAPS)} & {part.code for part in (*NEW_CONDITIONS, *NEW_MAPS)}


def test_a_problem_has_the_same_id_in_both_languages() -> None:
    python, java = (problems("b", language) for language in LANGUAGES)
    assert [problem.task_id for problem in python] == [problem.task_id for problem in java]


def test_the_reference_is_the_training_example() -> None:
    for language in LANGUAGES:
        made = examples("b", language, "validation")
        shown = problems("b", language, "validation")
        assert [(example.key, example.prompt) for example in made] == [(p.task_id, p.prompt) for p in shown]


@pytest.mark.parametrize(("one", "language", "split"), [("c", "py", "test"), ("a", "go", "test"), ("a", "py", "x")])
def test_what_there_is_not_is_refused(one: str, language: str, split: str) -> None:
    with pytest.raises(UsageError, match="there are"):
        problems(one, language, split)


def each_part() -> list[Key]:
    """Problems that use every condition and every map at least once, on lists and on ranges."""
    found: dict[tuple[str, str], Key] = {}
    for set_name in SETS:
        for split in SPLITS:
            for key in keys(set_name, split):
                found.setdefault((key.condition.words.rstrip("0123456789 "), key.source), key)
                found.setdefault((key.map.words, key.source), key)
    return list(dict.fromkeys(found.values()))


def run(language: str, bodies: list[tuple[Key, str]]) -> list[Status]:
    """The verdicts on bodies, put together as the pipeline does it."""
    require({language})
    stop = "\n    }\n" if language == "java" else "\ndef"
    programs = [
        Program(str(i), 0, language, prompt(key, language) + written.split(stop)[0] + assertions(key, language))
        for i, (key, written) in enumerate(bodies)
    ]
    verdicts = {verdict.task_id: verdict.status for verdict in execute(programs)}
    return [verdicts[program.task_id] for program in programs]


@pytest.mark.parametrize("language", LANGUAGES)
def test_references_pass_their_tests(language: str) -> None:
    assert set(run(language, [(key, body(key, language)) for key in each_part()])) == {Status.OK}


def test_in_python_every_held_out_reference_passes() -> None:
    held_out = [key for set_name in SETS for split in ("validation", "test") for key in keys(set_name, split)]
    assert set(run("py", [(key, body(key, "py")) for key in held_out])) == {Status.OK}


def test_a_solution_that_is_wrong_in_one_word_fails() -> None:
    def differ(one: Key, other: Key) -> int:
        return (one.reduce != other.reduce) + (one.condition != other.condition) + (one.map != other.map)

    def wrong(one: Key, other: Key) -> bool:  # "above 5" and "at least 6" are the same for whole numbers
        return any(solve(one, (v,)) != solve(other, (v,)) for v in range(1 if one.source == "range" else -99, 99))

    every = [key for set_name in SETS for split in SPLITS for key in keys(set_name, split)]
    mutants = [
        (key, body(other, "py"))
        for key in random.Random(0).sample(every, 30)
        for other in random.Random(1).sample(every, 400)
        if key.source == other.source and differ(key, other) == 1 and wrong(key, other)
    ]
    assert len(mutants) > 200
    assert Status.OK not in run("py", mutants)
