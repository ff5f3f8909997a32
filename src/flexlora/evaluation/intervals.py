"""95 % intervals: Wilson for one pass or fail per problem, percentile bootstrap over problems for the rest.

The problems are what is resampled, since they are the sample from which a score speaks about a language; all
samples of a problem stay together.

Limit of the bootstrap: where all problems have the same value (all pass, none flips) every resample is equal and
the interval has no width. That means "cannot be told from these problems", not "certain"; Wilson has no such gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from flexlora.errors import UsageError

LEVEL = 0.95
RESAMPLES = 10_000
DRAWN_AT_ONCE = 1 << 22
"""Items of resamples that are in memory together."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval, in the unit of what it is about (here shares from 0 to 1, or their difference)."""

    low: float
    high: float


def wilson(passes: int, problems: int) -> Interval:
    """Wilson's score interval for a share of problems passed, one sample each.

    Raises:
        UsageError: no problems.
    """
    _refuse_empty(problems)
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share, weight = passes / problems, z * z / problems
    middle = (share + weight / 2) / (1 + weight)
    half = z * sqrt(share * (1 - share) / problems + weight / (4 * problems)) / (1 + weight)
    # At no pass and at all of them a bound is 0 or 1 but for rounding.
    return Interval(0.0 if passes == 0 else middle - half, 1.0 if passes == problems else middle + half)


def bootstrap(values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Percentile interval for the mean of per-problem `values` (problems,), resampling problems.

    Raises:
        UsageError: no problems.
    """
    return _percentiles(_resampled_means(np.asarray(values, dtype=np.float64), seed, resamples))


def paired_bootstrap(
    before: Sequence[float], after: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[Interval, float]:
    """Interval and two-sided p for mean(after) - mean(before), both (problems,) in the same order.

    A resample draws problems and keeps each one's pair together. The p-value inverts the interval: twice the
    smaller tail at zero, each tail counted with the observed one (so p is never 0). Hence p < 0.05 where the
    interval leaves zero out, up to the grain of the resamples. It is never less than a sign test could give on the
    problems that differ, all in one direction: resampling three problems cannot make thirty of them.

    Raises:
        UsageError: no problems, or lists of different length.
    """
    if len(before) != len(after):
        raise UsageError(
            f"Paired bootstrap: {len(before)} problems before and {len(after)} after; pairs need the same problems."
        )
    differences = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    means = _resampled_means(differences, seed, resamples)
    return _percentiles(means), _two_sided(means, differences)


def ratio_bootstrap(
    numerators: Sequence[float], denominators: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[Interval, float]:
    """Interval and two-sided p, for a ratio of 0, of sum(numerators) / sum(denominators), both (items,).

    A resample draws items, and keeps each one's numerator and denominator together. The p-value is that of
    `paired_bootstrap`; it depends on the numerators alone.

    Raises:
        UsageError: no items, or lists of different length.
    """
    if len(numerators) != len(denominators):
        raise UsageError(
            f"Ratio: {len(numerators)} numerators and {len(denominators)} denominators; they come in pairs."
        )
    _refuse_empty(len(numerators))
    above, below = (np.asarray(values, dtype=np.float64) for values in (numerators, denominators))
    generator = np.random.default_rng(seed)
    at_once = max(1, DRAWN_AT_ONCE // len(above))
    ratios = np.empty(resamples)
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = generator.integers(0, len(above), size=(count, len(above)), dtype=np.int32)
        ratios[start : start + count] = above[drawn].sum(axis=1) / below[drawn].sum(axis=1)
    return _percentiles(ratios), _two_sided(ratios, above)


def _two_sided(resampled: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> float:
    tail = min(int(np.count_nonzero(resampled <= 0)), int(np.count_nonzero(resampled >= 0)))
    least = 2.0 ** (1 - int(np.count_nonzero(values.round(12))))
    return min(1.0, max(least, 2 * (tail + 1) / (len(resampled) + 1)))


def _resampled_means(values: npt.NDArray[np.float64], seed: int, resamples: int) -> npt.NDArray[np.float64]:
    _refuse_empty(len(values))
    # Drawing how often each distinct value occurs is the same experiment as drawing problems one by one, and
    # needs (resamples, distinct values) numbers, not (resamples, problems): 2 or 3 columns where n = 1.
    distinct, counts = np.unique(values.round(12), return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(values), counts / len(values), size=resamples)
    means: npt.NDArray[np.float64] = draws @ distinct / len(values)
    # +0.2 and -0.2 must cancel to zero exactly, or a tie would count for one tail.
    return means.round(12)


def _percentiles(means: npt.NDArray[np.float64]) -> Interval:
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def _refuse_empty(problems: int) -> None:
    if problems < 1:
        raise UsageError("An interval over 0 problems does not exist; at least one problem must be evaluated.")
