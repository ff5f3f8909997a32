"""APPS (Hendrycks et al. 2021, arXiv 2105.09938): 10,000 problems in Python, to train on and to evaluate.

A program reads standard input and writes standard output, or (call-based) is a function or a method of `Solution`.
Every test runs the program anew, with an input of its own. Two prompt styles: `original` as APPS's own generator writes
it, and `bigcode` as bigcode-evaluation-harness does, which has no line break before the starter code.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from flexlora.data import apps_tests
from flexlora.data.apps_source import HUB, AppsRecord, records
from flexlora.data.apps_tests import IMPORTS, AppsTests, NoTests
from flexlora.data.family import Family
from flexlora.data.source import Origin
from flexlora.data.types import Example, Problem
from flexlora.errors import UsageError
from flexlora.recipe import Task

STYLES = ("original", "bigcode")
STOP_TOKENS = ("\nQUESTION", "\n---", "\nANSWER")
TIMEOUT_S = 4.0
"""Of each test."""
MOST_CHARACTERS = 4_000
"""A longer solution is no short one, and most of it would not fit into a training example."""
PYTHON_2 = {"raw_input", "xrange", "unichr", "basestring", "unicode"}
NAMED = 5

Style = Literal["original", "bigcode"]


def _load(task: Task, data_dir: Path | None) -> tuple[list[Problem], Origin]:
    style: Style = "bigcode" if task.prompt_style == "bigcode" else "original"
    return problems(data_dir, task.split or "test", style, task.difficulty, compat=task.compat)


FAMILY = Family(
    name="apps",
    tasks=("apps",),
    load=_load,
    languages=("py",),
    size="5000 a split, by difficulty",
    styles=STYLES,
    splits=("test", "train"),
    options=("difficulty", "compat"),
    prompt="question and starter code, then how input comes",
    stops=STOP_TOKENS,
    scored="strict accuracy (all tests of a problem) and the mean share of tests, by difficulty",
    source=HUB.repository,
    revision=HUB.revision,
    file="apps/SPLIT/NNNN/",
    licence="MIT",
    state="format-tested",
)


def examples(
    data_dir: Path | None, split: str, style: Style, difficulties: Sequence[str]
) -> tuple[list[Example], Origin]:
    """Training pairs: of every problem the prompt as it is evaluated, and its best short solution.

    That is the shortest of those that have at most `MOST_CHARACTERS` characters, compile as Python 3, use no built-in
    function that only Python 2 has and, where a function is to be called, name it. Problems without one are counted
    in the origin's notes.

    Raises:
        UsageError: the data cannot be loaded or are damaged.
    """
    chosen, origin = _of_difficulties(data_dir, split, difficulties)
    made, without = [], []
    for record in chosen:
        tests = _tests(record.tests)
        function = tests.function if isinstance(tests, AppsTests) else None
        solution = _best(record, function)
        if solution is None:
            without.append(record.key)
            continue
        # Where no tests name a function, starter code says that one is called.
        calls = function is not None or (isinstance(tests, NoTests) and bool(record.starter_code))
        prompt = prompt_of(record, style, calls=calls)
        made.append(Example(source="apps", key=record.key, prompt=prompt, completion=solution + "\n"))
    why = f"no solution of at most {MOST_CHARACTERS} characters that compiles as Python 3"
    return made, _with_notes(origin, len(chosen), {why: without})


def problems(
    data_dir: Path | None, split: str, style: Style, difficulties: Sequence[str], *, compat: bool = False
) -> tuple[list[Problem], Origin]:
    """The problems of a split that can be evaluated; the others are counted in the origin's notes.

    Args:
        compat: compare outputs as APPS's own harness does.

    Raises:
        UsageError: the data cannot be loaded or are damaged.
    """
    chosen, origin = _of_difficulties(data_dir, split, difficulties)
    made = []
    left_out: dict[str, list[str]] = {}
    for record in chosen:
        tests = _tests(record.tests)
        if isinstance(tests, NoTests):
            left_out.setdefault(str(tests), []).append(record.key)
        else:
            made.append(_problem(record, tests, style, compat))
    return made, _with_notes(origin, len(chosen), left_out)


@functools.lru_cache(maxsize=20_000)  # every stage asks, and records are loaded once
def _tests(text: Callable[[], str]) -> AppsTests | NoTests:
    try:
        return apps_tests.survey(text())
    except NoTests as error:
        return error


@functools.lru_cache(maxsize=20_000)
def _best(record: AppsRecord, function: str | None) -> str | None:
    return best_solution(_solutions(record), function)


def _problem(record: AppsRecord, tests: AppsTests, style: Style, compat: bool) -> Problem:
    return Problem(
        task="apps",
        task_id=record.key,
        language="py",
        prompt=prompt_of(record, style, calls=tests.function is not None),
        prompt_style=style,
        stop_tokens=STOP_TOKENS,
        prefix=IMPORTS,
        suffix="\n" if tests.function is None else apps_tests.call_of(tests.function),
        timeout_s=TIMEOUT_S,
        cases=tests.cases(record.tests, compat=compat),
        part=record.difficulty,
    )


def prompt_of(record: AppsRecord, style: Style, *, calls: bool) -> str:
    """The prompt of a problem, the same for training and for evaluation."""
    starter = record.starter_code
    if starter and style == "original":
        starter = "\n" + starter
    use = "Call-Based" if calls else "Standard Input"
    return f"\nQUESTION:\n{record.question}{starter}\nUse {use} format\nANSWER:\n"


def best_solution(solutions: Sequence[str], function: str | None) -> str | None:
    """The shortest usable one, as `examples` says; None where there is none."""
    tidied = (solution.replace("\r\n", "\n").strip() for solution in solutions)
    for solution in sorted(filter(None, tidied), key=len):
        if len(solution) > MOST_CHARACTERS:
            return None
        if (function is None or re.search(rf"\b{re.escape(function)}\b", solution)) and _is_python_3(solution):
            return solution
    return None


def _is_python_3(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what old solutions write in texts: "\d"
            compile(source, "solution", "exec", dont_inherit=True)
            names = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    made = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    return not (PYTHON_2 - made) & {name.id for name in names}


def _solutions(record: AppsRecord) -> list[str]:
    text = record.solutions()
    if not text.strip():
        return []
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"apps: the solutions of {record.key} are not valid JSON ({error}).") from error
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UsageError(f"apps: the solutions of {record.key} must be a list of texts, found {text!r:.80}.")
    return found


def _of_difficulties(data_dir: Path | None, split: str, wanted: Sequence[str]) -> tuple[list[AppsRecord], Origin]:
    found, origin = records(data_dir, split)
    chosen = [record for record in found if not wanted or record.difficulty in wanted]
    if not chosen:
        there = Counter(record.difficulty for record in found)
        raise UsageError(
            f"apps: split {split} of {origin.source} holds no problems of difficulty {' or '.join(wanted)}; it has "
            f"{', '.join(f'{count} {name}' for name, count in there.items())}."
        )
    return chosen, origin


def _with_notes(origin: Origin, of: int, left_out: dict[str, list[str]]) -> Origin:
    """The origin, with what was left out and why: at most a few of each by name."""
    notes = []
    for why, keys in left_out.items():
        if keys:
            named = ", ".join(keys[:NAMED]) + (f" and {len(keys) - NAMED} more" if len(keys) > NAMED else "")
            notes.append(f"{len(keys)} of {of} apps problems left out: {why} ({named})")
    return Origin(
        source=origin.source, revision=origin.revision, sha256=origin.sha256, records=origin.records, notes=tuple(notes)
    )
