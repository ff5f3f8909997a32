"""What a choice among completions may know of a problem.

A `Question` has no field for the benchmark's tests. Everything in this package that writes tests, runs them and chooses
takes questions and solutions, never a `Problem`, so the tests that a choice is then scored by cannot have made it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from flexlora.data.syntax import function_to_write
from flexlora.data.types import Problem
from flexlora.errors import UsageError

SHOWS_ITS_TESTS = frozenset(("three-shot",))
"""Prompt styles that show the model all of the benchmark's tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A problem as the model was shown it."""

    task: str
    task_id: str
    language: str
    function: str
    """Name of the function asked for."""
    text: str
    """The prompt as published: the beginning of the function, or a description."""
    begins_function: bool
    """Whether `text` ends in the beginning of the function."""
    timeout_s: float | None


def question(problem: Problem) -> Question:
    """A problem without its tests.

    Args:
        problem: as published, in the style `plain`.

    Raises:
        UsageError: its prompt shows all of the tests that it is scored by, or does not name the function asked for.
    """
    if problem.prompt_style in SHOWS_ITS_TESTS:
        raise UsageError(
            f"selection: the prompt of {problem.task} in the style {problem.prompt_style} shows the tests that it is "
            "scored by, so that the model could copy them; take prompt_style: docstring."
        )
    function = function_to_write(problem.language, problem.prefix)
    name = function or _called_in_an_assertion(problem)
    if name is None:
        raise UsageError(
            f"selection: {problem.task_id} does not name a function, so no test of it can be written; logprob needs no "
            "tests."
        )
    return Question(
        task=problem.task,
        task_id=problem.task_id,
        language=problem.language,
        function=name,
        text=problem.prefix or problem.prompt,
        begins_function=function is not None,
        timeout_s=problem.timeout_s,
    )


def _called_in_an_assertion(problem: Problem) -> str | None:
    """The first function called in an assertion of a Python prompt that is none of the language's own."""
    if problem.language != "py":
        return None
    for line in problem.prompt.split("\n"):
        with suppress(SyntaxError, ValueError):
            for node in ast.walk(ast.parse(line.strip() if line.lstrip().startswith("assert") else "")):
                called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
                if called and not hasattr(builtins, called):
                    return called
    return None


def require_language(language: str, supported: Collection[str], methods: str) -> None:
    """Refuse a language in which no tests are written.

    Raises:
        UsageError: names those in which they are.
    """
    if language not in supported:
        raise UsageError(
            f"selection: {methods} has the model write tests, which FLeX reads in {', '.join(supported)}, not in "
            f"{language}; leave the method out (logprob works in every language), or the task."
        )
