"""By what trials are judged: source gain and target retention, as changes from the base on validation problems.

A side is the mean over its tasks of the change of pass@1. What varies is which problems there are, and a problem may be
there in several languages, so that problems are resampled with all that is known of each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, TypedDict

from flexlora.errors import FlexError
from flexlora.evaluated import with_problems, with_texts
from flexlora.evaluation.intervals import paired_bootstrap, ratio_bootstrap
from flexlora.evaluation.likelihood import FILE, read_likelihoods
from flexlora.evaluation.results import read_results
from flexlora.evaluation.score import problem_values
from flexlora.files import read_appended
from flexlora.folder import RunFolder
from flexlora.recipe import Task
from flexlora.studies.search.guard import Guard
from flexlora.studies.search.pruning import Signals

ARM = "main"


class Side(TypedDict):
    """One objective: a change from the base, with its 95 % interval."""

    estimate: float
    low: float
    high: float
    unit: Literal["share", "nats"]
    """`share` of problems; `nats` a token, turned about so that more is better."""
    tasks: dict[str, float]
    """Task, or name of texts -> its own change."""


def side(run: RunFolder, base: RunFolder, tasks: Sequence[Task], guard: Guard, seed: int) -> Side:
    """The change of pass@1 on some tasks, a trial's minus the base's.

    Raises:
        UsageError: they hold problems that may not judge a trial.
        FlexError: results are missing.
    """
    guard.check(run.recipe)
    guard.check(base.recipe)
    wanted = {task.name for task in tasks}
    before, after = (_values(folder, wanted) for folder in (base, run))
    old: defaultdict[str, float] = defaultdict(float)
    new: defaultdict[str, float] = defaultdict(float)
    changes = {}
    problems = len({problem for values in before.values() for problem in values})
    for task, values in before.items():
        # The mean over problems of these is the mean over tasks of their means.
        weight = problems / (len(before) * len(values))
        for problem in values:
            old[problem] += weight * values[problem]
            new[problem] += weight * after[task][problem]
        changes[task] = (sum(after[task].values()) - sum(values.values())) / len(values)
    names = sorted(old)
    interval, _ = paired_bootstrap([old[name] for name in names], [new[name] for name in names], seed=seed)
    estimate = sum(changes.values()) / len(changes)
    return {"estimate": estimate, "low": interval.low, "high": interval.high, "unit": "share", "tasks": changes}


def _values(run: RunFolder, wanted: set[str]) -> dict[str, dict[str, float]]:
    """Task -> problem -> pass@1."""
    found = {}
    for item, problems in with_problems(run):
        if item.task.name in wanted:
            expected = {(problem.task_id, i) for problem in problems for i in range(run.recipe.sampling.n)}
            results = read_results(run.path / item.path / "results.jsonl", expected)
            found[item.task.name] = dict(zip(results.passes, problem_values(results, 1), strict=True))
    return found


def likelihood_side(run: RunFolder, base: RunFolder, guard: Guard, seed: int) -> Side:
    """How much likelier the target languages' texts became, in nats a token over all of them.

    Raises:
        UsageError: they may not judge a trial.
        FlexError: likelihoods are missing, or nothing could be scored.
    """
    guard.check(run.recipe)
    guard.check(base.recipe)
    before, after = (
        {
            item.task.name: read_likelihoods(folder.path / item.path / FILE, frozenset(text.task_id for text in texts))
            for item, texts in with_texts(folder)
        }
        for folder in (base, run)
    )
    drops: list[float] = []
    tokens: list[int] = []
    changes = {}
    for name, functions in before.items():
        scored = [key for key, function in functions.items() if function.tokens]
        if not scored:
            raise FlexError(f"{name}: none of its texts could be scored; raise likelihood.max_length.")
        own = [functions[key].nll - after[name][key].nll for key in scored]
        drops += own
        tokens += [functions[key].tokens for key in scored]
        changes[name] = sum(own) / sum(tokens[-len(own) :])
    interval, _ = ratio_bootstrap(drops, tokens, seed=seed)
    estimate = sum(drops) / sum(tokens)
    return {"estimate": estimate, "low": interval.low, "high": interval.high, "unit": "nats", "tasks": changes}


def losses(run: RunFolder) -> dict[int, float]:
    """Optimizer step -> validation loss, of a trial's log; empty where there is no validation data."""
    log = read_appended(run.train(ARM) / "log.jsonl")
    return {record["step"]: record["eval_loss"] for record in log if "eval_loss" in record}


def cheap_signals(run: RunFolder, likelihood: Side | None) -> Signals:
    """What is known of a trial before any program is run."""
    return Signals(losses(run), None if likelihood is None else -likelihood["estimate"])
