"""How much of what is evaluated stands in the training data: shared runs of words, equal solutions, translations.

A problem is its prompt, its reference solution where the data has one, and its tests; an example is its prompt and
completion. Both are taken as words: runs of letters, digits and underscores in lower case, everything else dropped.

- **Shared runs**: at least `WORDS` words in a row, the measure of published decontaminations (10 words: Qwen2.5-Coder,
  arXiv 2409.12186; 13: GPT-3, arXiv 2005.14165). A run does not count where less than half of its words have a letter
  (lists of numbers), or where it stands in more than one in twenty problems of the task (imports, frames of tests).
- **Equal solutions**: a Python function of the reference that is an example's, whatever their names, annotations and
  docstrings; of other languages, or Python that does not parse, the same text but for white space.
- **Translations**: problems whose original is trained on, by the ids of both.

What shares an idea but no words is not found.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flexlora.data.same_code import forms
from flexlora.data.types import Example, Problem

WORDS = 10
"""Least words of a shared run."""
COMMON = 0.05
"""Share of a task's problems above which what they have in common is not counted, and from the third on."""
WORD = re.compile(r"\w+")

Place = tuple[int, int, int]
"""Problem, part of it, and word of the part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A problem and the training example that shares most with it."""

    task_id: str
    example: str
    """Its key."""
    words: int = 0
    """Of the longest shared run; 0 where it is the solution that is shared."""
    text: str = ""
    """The run, or the solution's form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What one task shares with the training data; problems in the task's order."""

    task: str
    problems: int
    runs: tuple[Shared, ...]
    """Problems with a shared run of at least `WORDS` words."""
    solutions: tuple[Shared, ...]
    """Problems whose reference solution is an example's."""
    translated: tuple[str, ...]
    """Problems whose original is trained on."""
    originals: tuple[str, ...]
    """Problems whose original, another of these tasks, has a shared run or an equal solution."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def overlaps(tasks: Sequence[Sequence[Problem]], examples: Iterable[Example]) -> list[Overlap]:
    """What each task shares with the training examples."""
    distinct = list(dict.fromkeys(examples))
    every = [problem for problems in tasks for problem in problems]
    runs = _longest_runs(every, _rare(tasks), distinct)
    solutions = _equal_solutions(every, distinct)
    trained = {example.key for example in distinct}
    touched = {problem.task_id for number, problem in enumerate(every) if number in runs or number in solutions}
    found, start = [], 0
    for problems in tasks:
        here = range(start, start + len(problems))
        start += len(problems)
        found.append(
            Overlap(
                task=problems[0].task,
                problems=len(problems),
                runs=tuple(runs[i] for i in here if i in runs),
                solutions=tuple(solutions[i] for i in here if i in solutions),
                translated=tuple(problem.task_id for problem in problems if problem.original in trained),
                originals=tuple(problem.task_id for problem in problems if problem.original in touched),
            )
        )
    return found


def _parts(problem: Problem) -> tuple[list[str], ...]:
    return tuple(_words(text) for text in (problem.prompt, problem.reference or "", problem.suffix))


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _runs(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(word that it begins with, hash) of every run of `WORDS` words of which half have a letter."""
    lettered = [any(map(str.isalpha, word)) for word in words]
    for start in range(len(words) - WORDS + 1):
        if 2 * sum(lettered[start : start + WORDS]) >= WORDS:
            yield start, hash(tuple(words[start : start + WORDS]))


def _rare(tasks: Sequence[Sequence[Problem]]) -> set[int]:
    """The runs of all problems but those that many problems of a task have."""
    rare: set[int] = set()
    for problems in tasks:
        counts: Counter[int] = Counter()
        for problem in problems:
            counts.update({run for part in _parts(problem) for _, run in _runs(part)})
        most = max(2, COMMON * len(problems))
        rare.update(run for run, count in counts.items() if count <= most)
    return rare


def _longest_runs(problems: Sequence[Problem], rare: set[int], examples: Sequence[Example]) -> dict[int, Shared]:
    """Number of a problem -> the longest run of words that it shares with an example; the first of equals."""
    touched: list[tuple[Example, list[str], dict[int, int]]] = []
    for example in examples:
        words = _words(f"{example.prompt}{example.completion}")
        if hits := {start: run for start, run in _runs(words) if run in rare}:
            touched.append((example, words, hits))
    hit = {run for _, _, hits in touched for run in hits.values()}
    places: defaultdict[int, list[Place]] = defaultdict(list)
    for number, problem in enumerate(problems) if hit else ():
        for part, words in enumerate(_parts(problem)):
            for start, run in _runs(words):
                if run in hit:
                    places[run].append((number, part, start))
    best: dict[int, Shared] = {}
    for example, words, hits in touched:
        for number, (start, length) in _runs_in(hits, places).items():
            if number not in best or best[number].words < length:
                text = " ".join(words[start : start + length])
                best[number] = Shared(task_id=problems[number].task_id, example=example.key, words=length, text=text)
    return best


def _runs_in(hits: dict[int, int], places: dict[int, list[Place]]) -> dict[int, tuple[int, int]]:
    """Number of a problem -> where in an example its longest shared run begins, and its words."""
    longest: dict[int, tuple[int, int]] = {}
    before: dict[Place, int] = {}
    for start in sorted(hits):
        now: dict[Place, int] = {}
        for number, part, at in places[hits[start]]:
            followed = before.get((number, part, at - 1), 0) if start - 1 in hits else 0
            now[number, part, at] = followed + 1
            length = followed + WORDS
            if number not in longest or longest[number][1] < length:
                longest[number] = (start + WORDS - length, length)
        before = now
    return longest


def _equal_solutions(problems: Sequence[Problem], examples: Sequence[Example]) -> dict[int, Shared]:
    known = [(number, problem) for number, problem in enumerate(problems) if problem.reference]
    if not known:
        return {}
    trained: dict[str, str] = {}
    for example in examples:
        for form in forms(example.prompt, example.completion):
            trained.setdefault(form, example.key)
    found = {}
    for number, problem in known:
        for form in forms(problem.prefix, problem.reference or ""):
            if form in trained:
                found[number] = Shared(task_id=problem.task_id, example=trained[form], text=form)
                break
    return found
