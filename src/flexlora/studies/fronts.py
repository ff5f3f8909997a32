"""Trade-off curves: what an arm's points enclose, with intervals by resampling seeds, problems and single answers.

A point is (gain on the source language, change on the target languages), both from the base. A penalty that merely
trains less moves a point along a curve rather than beyond it; so arms are compared by what their curves enclose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flexlora.evaluation.intervals import Interval
from flexlora.studies.statistics import Spread

Floats = npt.NDArray[np.float64]
RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task's part in the points of an arm."""

    changes: Floats
    """(points, seeds, problems): each point's value minus the base's."""
    problems: npt.NDArray[np.int64]
    """Number of each problem among those of all tasks; the same problem in two tasks has one number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """An arm's points as they were measured, with the tasks whose mean is each side."""

    gain: tuple[Task, ...]
    retention: tuple[Task, ...]
    all_problems: int
    """Different problems over all tasks."""

    @property
    def seeds(self) -> int:
        return len(self.gain[0].changes[0])

    @property
    def fewest_problems(self) -> int:
        """Of a task."""
        return min(len(task.problems) for task in (*self.gain, *self.retention))


class Resampled(NamedTuple):
    """Something as it would have come out with others of each, (resamples, ...)."""

    seeds: Floats
    problems: Floats
    answers: Floats


def points_of(sides: Sides) -> Floats:
    """(points, 2): gain and change on the target languages, in the mean over tasks, seeds and problems."""
    return np.stack([_mean_over_tasks([task.changes.mean(axis=(1, 2)) for task in side]) for side in _both(sides)], -1)


def front_of(points: Sequence[tuple[float, float]] | Floats, reference: float) -> list[tuple[float, float]]:
    """The corners of the best trade-off of some points, from no gain to the most.

    The front is the least curve that falls nowhere below a point or the base (0, 0), never rises, and bends nowhere
    inwards: what lies between two models is had by asking now one and now the other, as between two classifiers on a
    ROC curve (Provost and Fawcett, 2001). More points on the same curve make no more of it than its corners do. Points
    that gain nothing enclose nothing, and those below the reference count as on it.

    Args:
        points: (gain, change on the target languages), as shares; all of one arm's.
        reference: the change that is worth nothing, 0 or less: one for all arms.
    """
    useful = [(0.0, 0.0), *((float(x), max(float(y), reference)) for x, y in points if x > 0)]
    highest = max(y for _, y in useful)
    front: list[tuple[float, float]] = [(0.0, highest)]
    for x, y in sorted(useful, key=lambda point: (point[0], -point[1])):
        if x <= front[-1][0]:
            continue  # not further to the right
        while len(front) > 1 and _bends_inwards(front[-2], front[-1], (x, y)):
            front.pop()
        front.append((x, y))
    return front


def front_area(points: Sequence[tuple[float, float]] | Floats, reference: float) -> float:
    """The area under `front_of` some points: to the right of no gain, above the reference."""
    front = front_of(points, reference)
    return sum((right[0] - left[0]) * ((left[1] + right[1]) / 2 - reference) for left, right in pairwise(front))


def areas_of(points: Floats, reference: float) -> Floats:
    """`front_area` of each of the sets of points (sets, points, 2)."""
    return np.array([front_area(one, reference) for one in points.tolist()])


def resample(sides: Sides, *, seed: int = 0, resamples: int = RESAMPLES) -> Resampled:
    """An arm's points (resamples, points, 2), with other seeds, with other problems, and with other single answers.

    Arms of as many seeds get the same draws, so that what is drawn for two of them stays paired.

    Args:
        seed: of the resampling.
    """
    generator = np.random.default_rng(seed)
    seeds, problems = sides.seeds, sides.all_problems
    drawn_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    drawn_problems = generator.multinomial(problems, np.full(problems, 1 / problems), size=resamples)
    rests = [[_rest(task.changes) for task in side] for side in _both(sides)]
    noise = [[np.zeros((resamples, task.changes.shape[0])) for task in side] for side in _both(sides)]
    for number in range(seeds):
        signs = generator.integers(0, 2, size=(resamples, problems), dtype=np.int8) * 2.0 - 1.0
        for side, of_side, sums in zip(_both(sides), rests, noise, strict=True):
            for task, rest, total in zip(side, of_side, sums, strict=True):
                total += signs[:, task.problems] @ rest[:, number].T
    means = points_of(sides)
    return Resampled(
        seeds=np.stack([_by_seeds(side, drawn_seeds) for side in _both(sides)], -1),
        problems=np.stack([_by_problems(side, drawn_problems) for side in _both(sides)], -1),
        answers=means + np.stack([_mean_over_tasks(sums) for sums in noise], -1),
    )


def spread_by(found: Resampled, sides: Sides) -> Spread:
    """The spread of something, from its values (resamples,) with other seeds, problems and answers.

    As of a mean: S seeds show (S - 1) / S of their variance, and what is random in single answers is in the variance
    over seeds already, so that it is taken from that over problems.
    """
    of_seeds, of_problems, of_answers = (float(values.var()) for values in found)
    seeds, problems = sides.seeds, sides.fewest_problems
    if seeds < 2:
        return Spread(of_seeds=0.0, of_problems=of_problems, seeds=seeds, problems=problems)
    return Spread(
        of_seeds=of_seeds * seeds / (seeds - 1),
        of_problems=max(0.0, of_problems - of_answers),
        seeds=seeds,
        problems=problems,
    )


def spread_of_area(sides: Sides, found: Resampled, reference: float) -> Spread:
    """The spread of the area that an arm's points enclose.

    Args:
        found: the arm's points, resampled.
    """
    return spread_by(Resampled(*(areas_of(points, reference) for points in found)), sides)


def spread_of_difference(
    first: Sides, second: Sides, reference: float, *, seed: int = 0, resamples: int = RESAMPLES
) -> Spread:
    """The spread of the second arm's area minus the first's; both with the same seeds in the same order."""
    a, b = (resample(sides, seed=seed, resamples=resamples) for sides in (first, second))
    differences = [areas_of(after, reference) - areas_of(before, reference) for before, after in zip(a, b, strict=True)]
    return spread_by(Resampled(*differences), second)


def around(estimate: float, spread: Spread, least: float, most: float) -> Interval:
    """The 95 % interval around an estimate, within what it can be."""
    half = spread.half()
    return Interval(max(least, estimate - half), min(most, estimate + half))


def _both(sides: Sides) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    return sides.gain, sides.retention


def _mean_over_tasks(values: Sequence[Floats]) -> Floats:
    mean: Floats = np.mean(values, axis=0)
    return mean


def _by_seeds(side: Sequence[Task], drawn: Floats) -> Floats:
    return _mean_over_tasks([drawn @ task.changes.mean(axis=2).T for task in side])


def _by_problems(side: Sequence[Task], drawn: npt.NDArray[np.int64]) -> Floats:
    means = []
    for task in side:
        own = drawn[:, task.problems]
        # Of a task some problems may be drawn seldom, and in the extreme none is.
        total = np.maximum(own.sum(axis=1, keepdims=True), 1)
        means.append(own @ task.changes.mean(axis=1).T / total)
    return _mean_over_tasks(means)


def _rest(changes: Floats) -> Floats:
    """What neither seed nor problem explains, over the number of answers: (points, seeds, problems)."""
    _, seeds, problems = changes.shape
    rest = (
        changes
        - changes.mean(axis=1, keepdims=True)
        - changes.mean(axis=2, keepdims=True)
        + changes.mean(axis=(1, 2), keepdims=True)
    )
    degrees = max(1, (seeds - 1) * (problems - 1))
    scaled: Floats = rest * np.sqrt(seeds * problems / degrees) / (seeds * problems)
    return scaled


def _bends_inwards(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether the middle one lies on or below the line between the others."""
    return (middle[1] - left[1]) * (right[0] - left[0]) <= (right[1] - left[1]) * (middle[0] - left[0])
