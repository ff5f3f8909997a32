"""Tests that the model writes: how it is asked, how they are read, and how they are put to a solution.

As in CodeT (Chen et al. 2022, arXiv 2207.10397): the model continues the function, left empty, with
`# check the correctness of NAME` and `assert`; of each text the first five assertions count. An instruct model is
asked in words. An assertion that stands in the prompt already is not a test of the model's and is dropped (MBPP's
prompt shows one of the tests that it is scored by).

One entry of `WRITTEN` a language. Others are refused: their programs are closed by the benchmark's tests, or they have
no assertion that is one line and fails without a library.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from flexlora.data.answers import blocks, without_thoughts
from flexlora.data.syntax import SYNTAX
from flexlora.data.types import Problem
from flexlora.selection.question import Question

FIRST_ASSERTIONS = 5
"""Of each text; those after them are rarely any good (section 3.1 of the paper)."""
LONGEST_ASSERTION = 8
"""Lines."""


@dataclass(frozen=True, slots=True)
class WrittenTest:
    """One assertion of the model's."""

    source: str
    """In one form for all that mean the same."""
    calls: tuple[str, ...]
    """Its calls of the function asked for: the inputs that a majority votes on."""
    written: int
    """How often it was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How tests are written in a language; all take the function's name where they need it."""

    empty: str
    """What leaves a begun function empty and ends it."""
    begun: str
    """What the model continues; NAME is the function's name. The last line is part of the first assertion."""
    stop_tokens: tuple[str, ...]
    example: str
    """An assertion, as an instruct model is shown it."""
    read: Callable[[str, str], Iterator[tuple[str, tuple[str, ...]]]]
    """(text, name of the function) -> assertions with their calls."""
    run: Callable[[str, str], str]
    """(solution, assertion) -> program."""
    show: Callable[[str, str], str]
    """(solution, call) -> program that prints what the call gives."""


def ask_for_tests(question: Question, chat: bool) -> Problem:
    """What the model is given to write tests: a problem of its own, whose completions are texts with assertions."""
    written = WRITTEN[question.language]
    if chat:
        syntax = SYNTAX[question.language]
        prompt = (
            f"Write up to {FIRST_ASSERTIONS} assertions that a correct {syntax.name} function `{question.function}` "
            f"passes, each on one line, like `{written.example.replace('NAME', question.function)}`, in one fenced "
            f"block. Do not write the function itself.\n\n```{syntax.tags[0]}\n{question.text.rstrip()}\n```"
        )
    else:
        empty = written.empty if question.begins_function else "\n"
        prompt = question.text.rstrip("\n") + empty + written.begun.replace("NAME", question.function)
    return Problem(
        task=f"{question.task}/tests",
        task_id=question.task_id,
        language=question.language,
        prompt=prompt,
        prompt_style="tests+chat" if chat else "tests",
        stop_tokens=written.stop_tokens,
        prefix="",
        suffix="",
        answer="chat" if chat else "completion",
    )


def read_tests(question: Question, texts: Iterable[str], most: int, chat: bool) -> list[WrittenTest]:
    """The different tests in what the model wrote, the commonest first, at most so many."""
    written = WRITTEN[question.language]
    shown = {source for source, _ in written.read(question.text, question.function)}
    head = written.begun.replace("NAME", question.function).rsplit("\n", 1)[-1]
    counts: Counter[str] = Counter()
    calls: dict[str, tuple[str, ...]] = {}
    for text in texts:
        assertions = written.read(_fenced_or_all(text) if chat else head + text, question.function)
        for source, called in islice(assertions, FIRST_ASSERTIONS):
            if source not in shown:
                counts[source] += 1
                calls[source] = called
    return [WrittenTest(source, calls[source], times) for source, times in counts.most_common(most)]


def inputs_in(question: Question, tests: Sequence[WrittenTest], most: int) -> list[str]:
    """Calls of the function whose outputs a majority votes on, at most so many.

    First those that the prompt gives as examples (`>>> f(1)`), then those in the model's tests.
    """
    given = []
    for line in question.text.split("\n"):
        _, shown, call = line.partition(">>> ")
        if shown and call.startswith(f"{question.function}("):
            end = _closing(call, len(question.function))
            given += [] if end is None else [call[: end + 1]]
    return list(dict.fromkeys([*given, *(call for test in tests for call in test.calls)]))[:most]


def _fenced_or_all(text: str) -> str:
    answer = without_thoughts(text)
    return "\n".join(block.code for block in blocks(answer)) or answer


def _read_python(text: str, function: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        if not lines[at].lstrip().startswith("assert"):
            at += 1
            continue
        for end in range(at + 1, min(at + LONGEST_ASSERTION, len(lines)) + 1):
            statement = _assertion(textwrap.dedent("\n".join(lines[at:end])))
            if statement is not None:
                calls = [node for node in ast.walk(statement) if _calls(node, function)]
                if calls:
                    bare = ast.Assert(test=statement.test)
                    yield ast.unparse(bare), tuple(dict.fromkeys(map(ast.unparse, calls)))
                at = end - 1
                break
        at += 1


def _assertion(code: str) -> ast.Assert | None:
    try:
        statements = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return statements[0] if len(statements) == 1 and isinstance(statements[0], ast.Assert) else None


def _calls(node: ast.AST, function: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function


JS_ASSERTION = re.compile(r"^[ \t]*(?:console\.)?assert(?:\.\w+)?\(")


def _read_javascript(text: str, function: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for line in text.split("\n"):
        begins = JS_ASSERTION.match(line)
        end = _closing(line, begins.end() - 1) if begins else None
        if begins is None or end is None or line[end + 1 :].split("//")[0].strip() not in ("", ";"):
            continue
        calls = []
        for match in re.finditer(rf"\b{re.escape(function)}\(", line):
            closed = _closing(line, match.end() - 1)
            calls += [] if closed is None else [line[match.start() : closed + 1]]
        if calls:
            # console.assert only prints; node's assert throws.
            yield line[: end + 1].strip().removeprefix("console."), tuple(dict.fromkeys(calls))


def _closing(line: str, opening: int) -> int | None:
    """Index of the parenthesis that closes the one at `opening`; None where none does. Strings are passed over."""
    depth, quote, at = 0, "", opening
    while at < len(line):
        character = line[at]
        if quote:
            at += character == "\\"
            quote = "" if character == quote else quote
        elif character in "\"'`":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return None


JS_REQUIRE = {"js": "", "ts": "declare var require: any;\n"}
JS_SHOW = "{depth: null, maxArrayLength: null, maxStringLength: null}"


def _javascript(language: str) -> Written:
    # In a block: the solution may have a name `assert` of its own.
    declared = JS_REQUIRE[language]
    return Written(
        empty="\n}\n\n",
        begun="const assert = require('node:assert');\n\n// check the correctness of NAME\nassert.deepEqual(NAME(",
        stop_tokens=("\nfunction", "\n/*", "\n//", "\nconsole", "\nclass", "\n```"),
        example="assert.deepEqual(NAME(...), ...);",
        read=_read_javascript,
        run=lambda solution, test: f"{solution}\n{declared}{{\nconst assert = require('node:assert');\n{test};\n}}\n",
        show=lambda solution, call: (
            f"{solution}\n{declared}console.log(require('node:util').inspect({call}, {JS_SHOW}));\n"
        ),
    )


WRITTEN = {
    "py": Written(
        empty="\n    pass\n\n",
        begun="# check the correctness of NAME\nassert",
        stop_tokens=("\nclass", "\ndef", "\n#", "\nif", "\nprint", "\n```"),
        example="assert NAME(...) == ...",
        read=_read_python,
        run=lambda solution, test: f"{solution}\n{test}\n",
        show=lambda solution, call: f"{solution}\nprint(repr({call}))\n",
    ),
    "js": _javascript("js"),
    "ts": _javascript("ts"),
}
"""By language code."""
