"""Statistics of differences between arms that were trained with several seeds and evaluated on the same problems.

Seeds and problems are crossed: every seed meets every problem. A difference between two arms varies for both, and a
finding is to hold for other seeds and other problems, so that both are resampled (Owen, "The pigeonhole bootstrap",
2007; Saravanan et al., "Application of the hierarchical bootstrap", 2020). Resampling S seeds shows only (S - 1) / S of
their variance, and few seeds have heavier tails than a normal distribution; both are put right here, and
`tests/studies/test_statistics.py` holds the intervals against simulations with known truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from flexlora.errors import UsageError
from flexlora.evaluation.holm import holm
from flexlora.evaluation.intervals import LEVEL, Interval

Values = npt.NDArray[np.float64]
"""(seeds, problems): pass@k of each problem with each seed."""
__all__ = ["SeedDifference", "Values", "compare_arms", "front_area", "holm"]
RESAMPLES = 4000
POWER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedDifference:
    """The mean over seeds and problems of one arm's values minus another's, as shares from -1 to 1."""

    difference: float
    interval: Interval
    """95 %, over seeds and problems."""
    p_value: float
    """Two-sided, for "no difference"."""
    standard_error: float
    degrees: float
    """Of freedom, of the t distribution that interval and p-value are from (Satterthwaite)."""
    seeds: int
    problems: int

    def detectable(self, comparisons: int = 1) -> float:
        """The least true difference that such a comparison finds in four of five times, with Holm's first threshold.

        Args:
            comparisons: how many are corrected together.
        """
        alpha = (1 - LEVEL) / comparisons
        return self.standard_error * (_t_quantile(1 - alpha / 2, self.degrees) + NormalDist().inv_cdf(POWER))


def compare_arms(before: Any, after: Any, *, seed: int = 0, resamples: int = RESAMPLES) -> SeedDifference:
    """Mean of `after` minus mean of `before`, paired by seed and problem.

    Args:
        before: (seeds, problems), the values of one arm.
        after: (seeds, problems), those of the other, with the same seeds and problems in the same order.
        seed: of the resampling.
        resamples: of seeds and problems.

    Raises:
        UsageError: the shapes differ, or there are fewer than two seeds or problems.
    """
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 2:
        raise UsageError(
            f"arms are compared on the same seeds and problems; found shapes {first.shape}, {second.shape}."
        )
    if min(first.shape) < 2:
        raise UsageError(
            f"an interval over seeds and problems needs two of each; found {first.shape[0]} seeds and "
            f"{first.shape[1]} problems."
        )
    differences = second - first
    mean = float(differences.mean())
    error = _standard_error(differences, seed, resamples)
    degrees = _degrees(differences)
    half = error * _t_quantile((1 + LEVEL) / 2, degrees)
    return SeedDifference(
        difference=mean,
        interval=Interval(mean - half, mean + half),
        p_value=_two_sided(mean / error, degrees) if error else float(mean == 0),
        standard_error=error,
        degrees=degrees,
        seeds=first.shape[0],
        problems=first.shape[1],
    )


def _standard_error(values: Values, seed: int, resamples: int) -> float:
    """Of the mean, by resampling seeds and problems at once.

    What a resample shows of a factor's variance is short by its own number of levels less one; deviations are widened
    for that, and what varies with both factors at once, which is resampled twice over, is counted once.
    """
    seeds, problems = values.shape
    of_seed, of_problem, rest, mean = _effects(values)
    widened = (
        mean
        + of_seed[:, None] * math.sqrt(seeds / (seeds - 1))
        + of_problem[None, :] * math.sqrt(problems / (problems - 1))
    )
    generator = np.random.default_rng(seed)
    draws_of_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    draws_of_problems = generator.multinomial(problems, np.full(problems, 1 / problems), size=resamples) / problems
    means = np.einsum("bs,sp,bp->b", draws_of_seeds, widened, draws_of_problems, optimize=True)
    # Effects are estimated from means over the other factor, so their spread holds the rest's share already, in each.
    between = float(means.var()) - float((rest**2).sum()) / max((seeds - 1) * (problems - 1), 1) / (seeds * problems)
    within = float((rest**2).sum()) / ((seeds - 1) * (problems - 1)) / (seeds * problems)
    return math.sqrt(max(between, within, 0.0))


def _effects(values: Values) -> tuple[Values, Values, Values, float]:
    """Of seeds, of problems, what is left, and the mean."""
    mean = float(values.mean())
    of_seed, of_problem = values.mean(axis=1) - mean, values.mean(axis=0) - mean
    return of_seed, of_problem, values - mean - of_seed[:, None] - of_problem[None, :], mean


def _degrees(values: Values) -> float:
    """Satterthwaite's degrees of freedom for the variance of the mean in a crossed design."""
    seeds, problems = values.shape
    of_seed, of_problem, rest, _ = _effects(values)
    squares = (
        (float((of_seed**2).sum()) * problems / (seeds - 1), seeds - 1),
        (float((of_problem**2).sum()) * seeds / (problems - 1), problems - 1),
        (-float((rest**2).sum()) / ((seeds - 1) * (problems - 1)), (seeds - 1) * (problems - 1)),
    )
    total = max(sum(mean for mean, _ in squares), -squares[2][0])
    spread = sum(mean**2 / degrees for mean, degrees in squares)
    return max(1.0, total**2 / spread) if spread else math.inf


def front_area(points: Sequence[tuple[float, float]]) -> float:
    """The area under the best trade-off that an arm's points allow, from (0, 0): gain to the right, retention up.

    A point stands for everything that gains and retains no more. Two arms that lie on the same curve, one further along
    it than the other, differ in single points and not in what the curve encloses.

    Args:
        points: (gain on the source language, change on the target language), as shares; all of one arm's.
    """
    worst = min((change for _, change in points), default=0.0)
    area, reached = 0.0, 0.0
    for gain, change in sorted(points, key=lambda point: (-point[1], -point[0])):
        if gain > reached:
            area += (gain - reached) * (change - min(worst, 0.0))
            reached = gain
    return area


def _t_quantile(probability: float, degrees: float) -> float:
    from scipy.stats import t

    return float(t.ppf(probability, degrees)) if math.isfinite(degrees) else NormalDist().inv_cdf(probability)


def _two_sided(statistic: float, degrees: float) -> float:
    from scipy.stats import norm, t

    tail = t.sf(abs(statistic), degrees) if math.isfinite(degrees) else norm.sf(abs(statistic))
    return min(1.0, 2 * float(tail))
