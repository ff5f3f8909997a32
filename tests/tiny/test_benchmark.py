"""The sets as tasks and datasets in four languages: references pass, stops cut, splits are kept apart."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections import Counter
from typing import Any

import pytest

from flexlora.data.mixture import load_examples
from flexlora.data.tasks import known, load_problems, refuse_trained
from flexlora.data.types import Example, Problem
from flexlora.errors import UsageError
from flexlora.execution import Program, Status, execute, require
from flexlora.recipe import DataSource, Task
from flexlora.tiny.benchmark import LANGUAGES, cases_of, examples, function_name, problems
from flexlora.tiny.corpus import documents
from flexlora.tiny.inputs import proposals
from flexlora.tiny.language import RENDERERS
from flexlora.tiny.language.interpret import Unfit, compiled
from flexlora.tiny.sets import SETS, SPLITS, puzzles


def references(language: str, each: int) -> list[tuple[Problem, str]]:
    """Some problems of every set with their reference solutions."""
    found = []
    for set_name in SETS:
        pairs = list(zip(problems(set_name, language), examples(set_name, language, "test"), strict=True))
        found += [(p, e.completion) for p, e in random.Random(each).sample(pairs, each)]
    return found


def statuses(programs: list[tuple[Problem, str]]) -> Counter[Status]:
    made = [Program(str(i), 0, p.language, p.program(completion)) for i, (p, completion) in enumerate(programs)]
    return Counter(verdict.status for verdict in execute(made))


def need(language: str) -> None:
    try:
        require({language})
    except UsageError as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@pytest.mark.parametrize("language", LANGUAGES)
def test_references_pass_their_tests(language: str) -> None:
    need(language)
    # Whole, and with what a model may write on.
    more = {"py": "\ndef more():\n    return 1\n", "java": "    // more\n", "js": "\n// more (", "cpp": "\nint more( {"}
    chosen = references(language, 5)
    assert statuses(chosen) == {Status.OK: 20}
    assert statuses([(problem, written + more[language]) for problem, written in chosen]) == {Status.OK: 20}


@pytest.mark.slow
@pytest.mark.toolchains
@pytest.mark.skipif(not os.environ.get("FLEXLORA_ALL_TOOLCHAINS"), reason="takes minutes: make test-languages")
@pytest.mark.parametrize("language", LANGUAGES)
def test_many_references_pass_their_tests(language: str) -> None:
    need(language)
    assert statuses(references(language, 75)) == {Status.OK: 300}


@pytest.mark.slow
def test_python_computes_what_the_interpreter_says_for_all_problems() -> None:
    python = RENDERERS["py"]
    for set_name, split in itertools.product(SETS, SPLITS):
        for puzzle in puzzles(set_name, split):
            run, towards_zero = compiled(puzzle.function), compiled(puzzle.function, truncating=True)
            scope: dict[str, Any] = {}
            exec(python.prompt(puzzle.function, "f", "") + python.completion(puzzle.function), scope)
            compared = 0
            for arguments in itertools.islice(proposals(puzzle.function, random.Random(1)), 9):
                try:
                    expected = run(arguments)
                except Unfit:
                    continue
                given = [list(value) if isinstance(value, tuple) else value for value in arguments]
                found = scope["f"](*given)
                assert (tuple(found) if isinstance(found, list) else found) == expected, puzzle.key
                assert type(found) is (list if isinstance(expected, tuple) else type(expected)), puzzle.key
                # Java, C++ and JavaScript divide so.
                assert towards_zero(arguments) == expected, puzzle.key
                compared += 1
            assert compared >= 3


def test_tests_show_more_than_one_value_and_their_own_edge() -> None:
    for set_name in SETS:
        for puzzle in puzzles(set_name, "test"):
            cases = cases_of(puzzle)
            assert 4 <= len(cases) <= 14
            assert len({expected for _, expected in cases}) > 1, puzzle.key
            kind = puzzle.function.parameters[0].kind
            if kind in ("list", "str"):
                assert cases[0][0] in (((),), ("",))


def test_a_problem_is_the_same_in_every_language() -> None:
    for set_name in SETS:
        one, *others = ([(p.task_id, len(p.prompt_style)) for p in problems(set_name, code)] for code in LANGUAGES)
        assert all(other == one for other in others)
        for python, java in zip(problems(set_name, "py"), problems(set_name, "java"), strict=True):
            description = python.prompt.split('"""')[1]
            assert f"    // {description}\n" in java.prompt
            assert python.suffix.count("assert candidate(") == java.suffix.count("    assert(")


def test_the_reference_is_the_training_example() -> None:
    for language in LANGUAGES:
        made = examples("B1", language, "validation")
        shown = problems("B1", language, "validation")
        assert [(example.key, example.prompt) for example in made] == [(p.task_id, p.prompt) for p in shown]


def test_solutions_are_short_and_their_names_free() -> None:
    for language in LANGUAGES:
        lengths = [len(example.completion.split()) for example in examples("A", language)]
        assert max(lengths) < 60
    names = {function_name(puzzle.key) for puzzle in puzzles("A", "train")}
    assert len(names) > 9000
    assert not names & {"delete", "native", "remove", "rename"}
    assert {function_name(str(i)) for i in range(20)} == {function_name(str(i)) for i in range(20)}


def test_the_tests_are_the_same_everywhere() -> None:
    """A change here changes the benchmark: scores are no longer comparable, so the version has to say so."""
    texts = [p.prompt + p.suffix for language in LANGUAGES for name in SETS for p in problems(name, language)]
    assert hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16] == "06778705e44c431c"


def test_they_are_tasks_and_datasets_by_name() -> None:
    names = [name for name in known() if name.startswith("tiny/") and name.split("/")[1] in SETS]
    assert len(names) == 16
    for name in names:
        loaded, origin = load_problems(Task(name=name, limit=7), None)
        assert (loaded[0].task, len(loaded), origin.records) == (name, 7, 300)
        trained, _ = load_examples([DataSource(dataset=name, split="train", weight=0.1)], None, 0)
        assert trained[0].source == name
        refuse_trained(loaded, trained)
    with pytest.raises(UsageError, match="no set 'C'"):
        load_examples([DataSource(dataset="tiny/C/py")], None, 0)
    with pytest.raises(UsageError, match="no language 'go'"):
        load_examples([DataSource(dataset="tiny/A/go")], None, 0)


def test_evaluating_in_java_what_was_trained_on_in_python_is_refused() -> None:
    trained, _ = load_examples([DataSource(dataset="tiny/B2/py", split="train")], None, 0)
    evaluated, _ = load_problems(Task(name="tiny/B2/java", split="train", limit=9), None)
    with pytest.raises(UsageError, match="9 of its problems"):
        refuse_trained(evaluated, trained)


def drawn(seed: int, variant: str, number: int) -> list[list[Example]]:
    return list(itertools.islice(documents(seed, variant), number))


def test_documents_are_of_known_problems_and_a_little_of_others_where_exposed() -> None:
    clean = drawn(3, "clean", 4000)
    assert {example.source for document in clean for example in document} == {f"tiny/A/{name}" for name in LANGUAGES}
    assert clean == drawn(3, "clean", 4000)
    assert clean != drawn(4, "clean", 4000)
    held_out = {problem.task_id for split in ("validation", "test") for problem in problems("A", "py", split)}
    assert not held_out & {example.key for document in clean for example in document}
    exposed = Counter(document[0].source[5:7] for document in drawn(3, "exposed", 20_000))
    assert 50 < exposed["B1"] + exposed["B2"] + exposed["B3"] < 120
    with pytest.raises(UsageError, match="no variant 'dirty'"):
        documents(0, "dirty")


def test_a_fifth_of_the_documents_show_a_problem_in_two_languages() -> None:
    sizes = Counter(len(document) for document in drawn(5, "clean", 4000))
    assert sizes.keys() == {1, 2}
    assert 0.18 < sizes[2] / 4000 < 0.22
    for document in drawn(5, "clean", 400):
        assert len({example.key for example in document}) == 1
        assert len({example.source for example in document}) == len(document)


def test_the_documents_of_a_seed_are_the_same_everywhere() -> None:
    """What the packaged model was trained on: the same text on every machine and Python."""
    text = "".join(example.prompt + example.completion for document in drawn(0, "clean", 1000) for example in document)
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "3132a350da0b2d519ae68a5dd4da3f58ff744c5f7e4393f679d4aa0c79c9c422"
    )
