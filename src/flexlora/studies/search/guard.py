"""Refuses test problems: nothing that is reported of a recipe, and nothing that it trains on, judges a trial.

A benchmark counts by its split: only `validation` is let through. Whatever is named, a user's own file too, is compared
by content with the recipe's own tasks, the texts that it reports and its training data: by ids, prompts, tests and
solutions. What is no benchmark of this package (a file of one's own, a hub id; tasks, texts and validation data alike)
may share no run of words with the recipe's tasks either (`flexlora.data.overlap`). The recipe of every trial is checked
before anything of it is run, and again where its scores are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from flexlora.data import Example, Problem, generated
from flexlora.data.mixture import load_examples
from flexlora.data.overlap import overlaps
from flexlora.data.own_tasks import ENDING
from flexlora.data.same_code import forms
from flexlora.data.source import Origin
from flexlora.data.tasks import family_of, known, load_problems
from flexlora.data.texts import load_texts
from flexlora.errors import UsageError
from flexlora.recipe import DataSource, Recipe, Task

WORD = re.compile(r"\w+")
NAMED = 3
"""Problems that a message names."""
SPLITS = ("validation",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What may judge no trial of a recipe: its test problems and texts, and its training data."""

    ids: dict[str, str] = field(repr=False)
    """Id -> what it is of, in words."""
    contents: dict[tuple[str, str], str] = field(repr=False)
    """Kind and form of a prompt, tests or solution -> what it is of."""
    tests: tuple[tuple[Problem, ...], ...] = field(repr=False)
    """The test problems of each task, for shared runs of words."""

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """What a recipe reports and trains on.

        Raises:
            UsageError: its data cannot be loaded.
        """
        ids: dict[str, str] = {}
        contents: dict[tuple[str, str], str] = {}
        tests = tuple(tuple(load_problems(task, recipe.data_dir)[0]) for task in recipe.tasks)
        for task, problems in zip(recipe.tasks, tests, strict=True):
            for problem in problems:
                what = f"a test problem of {task.name}"
                ids |= dict.fromkeys(_ids_of_problem(problem), what)
                contents |= dict.fromkeys(_of_problem(problem, solutions=True), what)
        for texts in recipe.likelihood.texts:
            for text in load_texts(texts, recipe.data_dir)[0]:
                what = f"a reported text of {texts.name}"
                ids[text.task_id] = what
                contents |= dict.fromkeys(_of_pair(text.prompt, text.completion, solutions=True), what)
        for example in load_examples(recipe.data, recipe.data_dir, recipe.seed)[0]:
            what = f"training data ({example.source})"
            ids.setdefault(example.key, what)
            for content in _of_pair(example.prompt, example.completion, solutions=True):
                contents.setdefault(content, what)
        return cls(ids=ids, contents=contents, tests=tests)

    def check(self, recipe: Recipe) -> None:
        """Refuse a trial's recipe with a task, text or validation data that may not judge it.

        Raises:
            UsageError: says which, and what they are of.
        """
        for task in recipe.tasks:
            self._task(task, recipe)
        for texts in recipe.likelihood.texts:
            _refuse_split(texts.dataset, texts.split, "likelihood")
            solutions = not _generated(texts.dataset)
            loaded, _ = load_texts(texts, recipe.data_dir)
            marks = [(t.task_id, {t.task_id}, _of_pair(t.prompt, t.completion, solutions)) for t in loaded]
            self._refuse(texts.name, marks)
            if not _is_packaged(texts.dataset):
                pairs = [
                    Example(source=t.task, key=t.task_id, prompt=t.prompt, completion=t.completion) for t in loaded
                ]
                self._refuse_runs(f"likelihood {texts.name}", pairs)
        for source in recipe.validation:
            self._validation(source, recipe)

    def _task(self, task: Task, recipe: Recipe) -> None:
        _refuse_split(task.name, task.split, "task")
        problems, _ = load_problems(task, recipe.data_dir)
        solutions = not _generated(task.name)
        self._refuse(task.name, [(p.task_id, _ids_of_problem(p), _of_problem(p, solutions)) for p in problems])
        if not _is_packaged(task.name):
            self._refuse_runs(f"task {task.name}", [pair for problem in problems for pair in _as_pairs(problem)])

    def _validation(self, source: DataSource, recipe: Recipe) -> None:
        examples, _ = _loaded(source, recipe)
        _refuse_split(source.dataset, source.split, "validation data")
        solutions = not _generated(source.dataset)
        marks = [(e.key, {e.key}, _of_pair(e.prompt, e.completion, solutions)) for e in examples]
        self._refuse(f"validation data {source.dataset}", marks)
        if not _is_packaged(source.dataset):
            self._refuse_runs(f"validation data {source.dataset}", examples)

    def _refuse_runs(self, name: str, pairs: Sequence[Example]) -> None:
        """What many test problems of a task have in common (imports, frames of tests) counts for nothing."""
        shared = [one for found in overlaps(self.tests, pairs) for one in found.runs or found.solutions]
        if shared:
            first = shared[0]
            raise UsageError(
                f"search: {name}: {len(shared)} test problems of the recipe share a run of words or a solution with it "
                f"(e.g. {first.task_id} with {first.example}: {first.text!r}). Test problems are never used for "
                "choosing: leave these out."
            )

    def _refuse(self, name: str, items: Sequence[tuple[str, Iterable[str], Iterable[tuple[str, str]]]]) -> None:
        found: dict[str, str] = {}
        for item, ids, contents in items:
            for what in (*map(self.ids.get, ids), *map(self.contents.get, contents)):
                if what is not None:
                    found.setdefault(item, what)
        if found:
            named = "; ".join(f"{item} is {what}" for item, what in list(found.items())[:NAMED])
            raise UsageError(
                f"search: {len(found)} of {len(items)} problems of {name} may not judge a trial: {named}. What is "
                "reported, and what is trained on, is never used for choosing; name other validation problems."
            )


def _refuse_split(name: str, split: str | None, what: str) -> None:
    """A benchmark is let through by its validation split only; one without any is for the test."""
    if _is_packaged(name) and split not in SPLITS:
        splits = family_of(name).splits if name in known() else ("test", "validation", "train")
        remedy = "set split: validation" if SPLITS[0] in splits else "it has no validation split, so it is for the test"
        raise UsageError(
            f"search: {what} {name}, split {split or 'test'}, may not judge a trial; {remedy}. Test problems are never "
            "used for choosing."
        )


def _is_packaged(name: str) -> bool:
    """Whether a dataset is a benchmark of this package: no file of one's own, and no hub id."""
    return name in known() or (name.startswith(("codesearchnet/", "tiny/")) and not name.endswith(ENDING))


def _loaded(source: DataSource, recipe: Recipe) -> tuple[list[Example], list[Origin]]:
    return load_examples([source], recipe.data_dir, recipe.seed)


def _as_pairs(problem: Problem) -> list[Example]:
    """Its solution, and its tests."""
    parts = ((problem.prompt, problem.reference or ""), ("", problem.suffix))
    return [Example(source=problem.task, key=problem.task_id, prompt=a, completion=b) for a, b in parts]


def _ids_of_problem(problem: Problem) -> set[str]:
    return {problem.task_id, *([problem.original] if problem.original else [])}


def _generated(name: str) -> bool:
    """Made here of the same phrases on purpose: solutions look alike, and ids, prompts and tests tell them apart."""
    return name in generated.known()


def _of_problem(problem: Problem, solutions: bool) -> set[tuple[str, str]]:
    return _of_pair(problem.prompt, problem.reference or "", solutions) | _marked("tests", problem.suffix)


def _of_pair(prompt: str, completion: str, solutions: bool) -> set[tuple[str, str]]:
    looked_at = forms(prompt, completion) if solutions and completion.strip() else []
    return _marked("prompt", prompt) | {("solution", form) for form in looked_at}


def _marked(kind: str, text: str) -> set[tuple[str, str]]:
    words = " ".join(WORD.findall(text.lower()))
    return {(kind, words)} if words else set()
