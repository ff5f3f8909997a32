"""Scores of one variant on one task: pass@k with an interval for each k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flexlora.evaluation.intervals import Interval, bootstrap, wilson
from flexlora.evaluation.passk import pass_at_k
from flexlora.evaluation.results import TaskResults


@dataclass(frozen=True, slots=True)
class Estimate:
    """pass@k over all problems of a task, as a share from 0 to 1, with its 95 % interval."""

    estimate: float
    interval: Interval
    method: str
    """`wilson` (one sample per problem) or `bootstrap`."""
    bootstrap: Interval | None = None
    """The bootstrap interval as a second opinion where `method` is `wilson`."""


@dataclass(frozen=True, slots=True)
class TaskScore:
    """What one variant scored on one task."""

    problems: int
    samples_per_problem: int
    pass_at_k: Mapping[int, Estimate]
    statuses: Mapping[str, int]


def score(results: TaskResults, ks: Sequence[int], *, seed: int = 0) -> TaskScore:
    """pass@k for each of `ks`, with Wilson intervals for one sample per problem and bootstrap ones otherwise.

    Raises:
        UsageError: a k is greater than the number of samples per problem.
    """
    samples = dict.fromkeys(results.passes, results.samples_per_problem)
    return TaskScore(
        problems=len(results.passes),
        samples_per_problem=results.samples_per_problem,
        pass_at_k={k: estimate(samples, results.passes, k, seed=seed) for k in ks},
        statuses=results.statuses,
    )


def mean_share(results: TaskResults, *, seed: int = 0) -> Estimate:
    """The mean over problems of the share of tests passed, with its bootstrap interval.

    Raises:
        UsageError: there are no shares.
    """
    values = list(results.shares.values())
    interval = bootstrap(values, seed=seed)
    return Estimate(sum(values) / len(values), interval, "bootstrap")


def problem_values(results: TaskResults, k: int) -> list[float]:
    """pass@k of each problem, in the order of `results.passes`."""
    return _values(dict.fromkeys(results.passes, results.samples_per_problem), results.passes, k)


def estimate(samples: Mapping[str, int], passes: Mapping[str, int], k: int, *, seed: int = 0) -> Estimate:
    """pass@k over problems with `samples[task_id]` samples, `passes[task_id]` of which pass.

    Raises:
        UsageError: no problems, or one has fewer than k samples.
    """
    values = _values(samples, passes, k)
    resampled = bootstrap(values, seed=seed)
    mean = sum(values) / len(values)
    if max(samples.values()) > 1:
        return Estimate(mean, resampled, "bootstrap")
    return Estimate(mean, wilson(sum(passes.values()), len(values)), "wilson", resampled)


def _values(samples: Mapping[str, int], passes: Mapping[str, int], k: int) -> list[float]:
    counts = [(n, passes[task_id]) for task_id, n in samples.items()]
    of_count = {(n, c): pass_at_k(n, c, k) for n, c in set(counts)}
    return [of_count[count] for count in counts]
