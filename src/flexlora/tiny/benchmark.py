"""The generated sets as tasks and training data, in the manner of MultiPL-E (Cassano et al. 2022, arXiv 2208.08227).

A problem has the same key, description, name and tests in all four languages. Names are made up and say nothing.
"""

from __future__ import annotations

import functools
import random

from flexlora.data.types import Example, Problem
from flexlora.errors import UsageError
from flexlora.tiny.inputs import cases
from flexlora.tiny.language import RENDERERS
from flexlora.tiny.language.rendering import Case
from flexlora.tiny.parts import Puzzle
from flexlora.tiny.sets import puzzles

LANGUAGES = tuple(RENDERERS)
TAKEN = frozenset(("delete", "native", "remove", "rename", "module"))
"""Words of three such syllables that mean something in one of the languages."""


def problems(set_name: str, language: str, split: str = "test", limit: int | None = None) -> list[Problem]:
    """The problems of a set and split in a language, all or the first so many, as MultiPL-E would have them.

    Raises:
        UsageError: there is no such set, language or split.
    """
    _check(language)
    return list(_problems(set_name, language, split, limit))


def examples(set_name: str, language: str, split: str = "train") -> list[Example]:
    """Training pairs of a set and split: the prompt of a problem, and its reference solution.

    Raises:
        UsageError: there is no such set, language or split.
    """
    _check(language)
    return list(_examples(set_name, language, split))


def prompt(set_name: str, language: str, puzzle: Puzzle) -> str:
    """Description and signature as the task has them."""
    description = puzzle.describe(random.Random(f"words/{puzzle.key}"), novel=set_name == "B1")
    return RENDERERS[language].prompt(puzzle.function, function_name(puzzle.key), description)


def task_id(set_name: str, puzzle: Puzzle) -> str:
    return f"tiny/{set_name}/{puzzle.key}"


def function_name(seed: str) -> str:
    """A made-up name that says nothing about the problem."""
    generator = random.Random(f"name/{seed}")
    while True:
        name = "".join(generator.choice("bdfgklmnprstvz") + generator.choice("aeiou") for _ in range(3))
        if name not in TAKEN:
            return name


# A run asks for its tasks and its data in every stage: they are made once.
@functools.cache
def _problems(set_name: str, language: str, split: str, limit: int | None) -> tuple[Problem, ...]:
    return tuple(_problem(set_name, language, puzzle) for puzzle in puzzles(set_name, split)[:limit])


@functools.cache
def _examples(set_name: str, language: str, split: str) -> tuple[Example, ...]:
    return tuple(
        Example(
            source=f"tiny/{set_name}/{language}",
            key=task_id(set_name, puzzle),
            prompt=prompt(set_name, language, puzzle),
            completion=RENDERERS[language].completion(puzzle.function),
        )
        for puzzle in puzzles(set_name, split)
    )


def _problem(set_name: str, language: str, puzzle: Puzzle) -> Problem:
    renderer = RENDERERS[language]
    shown = prompt(set_name, language, puzzle)
    tests = renderer.tests(puzzle.function, function_name(puzzle.key), cases_of(puzzle))
    return Problem(
        task=f"tiny/{set_name}/{language}",
        task_id=task_id(set_name, puzzle),
        language=language,
        prompt=shown,
        prompt_style="verbatim",
        stop_tokens=renderer.stop_tokens,
        prefix=shown,
        suffix="\n" + tests,
    )


@functools.cache
def cases_of(puzzle: Puzzle) -> tuple[Case, ...]:
    """The tests of a problem: the same in every language."""
    return cases(puzzle.function, puzzle.key)


def _check(language: str) -> None:
    if language not in LANGUAGES:
        raise UsageError(f"tiny: no language {language!r}; there are {', '.join(LANGUAGES)}.")
