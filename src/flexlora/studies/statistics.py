"""Statistics of scores and differences over seeds and problems: `docs/statistics.md` in code.

Seeds and problems are crossed: every seed meets every problem. A finding is to hold for other seeds and for other
problems, so that its variance has a part of each (Owen, "The pigeonhole bootstrap", 2007). Of a mean these parts are
known in closed form: they are what a hierarchical bootstrap over seeds and problems comes to with endlessly many
resamples, corrected for its known errors (S seeds show (S - 1) / S of their variance; what is random in a single answer
is resampled twice). `tests/studies/test_statistics.py` holds formula and resampling against each other, and the
intervals against simulations with known truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flexlora.errors import UsageError
from flexlora.evaluation.compare import EXACT_MCNEMAR, PAIRED_BOOTSTRAP, mcnemar
from flexlora.evaluation.intervals import LEVEL, Interval, bootstrap, paired_bootstrap, wilson

Values = npt.NDArray[np.float64]
"""(seeds, problems): pass@k of each problem with each seed."""
POWER = 0.8
SEEDS_AND_PROBLEMS = "t over seeds and problems"
ONE_SEED = "one seed, so over problems only: "
ONE_PROBLEM = "one problem, which shows nothing of others"
LEAST_P = 1e-15
"""Less is not told apart."""


class Squares(NamedTuple):
    """Mean squares of a crossed table, each an estimate of the variance of one cell's value."""

    seeds: float
    problems: float
    rest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The variance of a mean over seeds and problems, in its two parts.

    Each part is widened by its own t quantile, since few seeds show their variance badly and many problems show it
    well. One t distribution for the sum (Satterthwaite's) covers too seldom where three seeds happen to lie close.
    """

    of_seeds: float
    """Of the seeds, the problems being as they are; 0 where there is one seed."""
    of_problems: float
    """What the choice of problems adds."""
    seeds: int
    problems: int

    @property
    def known(self) -> bool:
        """Whether there is anything to tell it from: two problems at least."""
        return self.problems > 1

    @property
    def standard_error(self) -> float:
        """The square root of the variance; 1, the greatest there is, where it is not known."""
        return math.sqrt(self.of_seeds + self.of_problems) if self.known else 1.0

    def half(self, alpha: float = 1 - LEVEL) -> float:
        """Half the width of the interval that leaves out the truth with probability `alpha`; infinite if not known."""
        if not self.known:
            return math.inf
        of_seeds = _t(alpha, self.seeds - 1) ** 2 * self.of_seeds if self.seeds > 1 else 0.0
        return math.sqrt(of_seeds + _t(alpha, self.problems - 1) ** 2 * self.of_problems)

    def p_value(self, difference: float) -> float:
        """Two-sided, for "no difference": the alpha whose interval just reaches 0."""
        from scipy.optimize import brentq  # most of a second to import

        if difference == 0 or not self.known:
            return 1.0
        if self.half(LEAST_P) <= abs(difference):
            return LEAST_P
        return math.exp(brentq(lambda log: self.half(math.exp(log)) - abs(difference), math.log(LEAST_P), 0.0))

    def detectable(self, comparisons: int = 1) -> float:
        """The least true difference that is found in four of five times, with Holm's first threshold; 1 at most.

        Args:
            comparisons: how many are corrected together.
        """
        return min(1.0, self.half((1 - LEVEL) / comparisons) + self.half(2 * (1 - POWER)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A configuration's score over seeds and problems, as a share from 0 to 1."""

    estimate: float
    interval: Interval
    """95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedDifference:
    """The mean over seeds and problems of one side's values minus another's, as shares from -1 to 1."""

    difference: float
    interval: Interval
    """95 %."""
    p_value: float
    """Two-sided, for "no difference"."""
    spread: Spread
    method: str
    """What interval and p-value are from, and over what they speak."""


def squares_of(values: Values) -> Squares:
    """The mean squares of values (seeds, problems), two of each at least."""
    seeds, problems = values.shape
    mean = values.mean()
    of_seed, of_problem = values.mean(axis=1) - mean, values.mean(axis=0) - mean
    rest = values - mean - of_seed[:, None] - of_problem[None, :]
    return Squares(
        problems * float((of_seed**2).sum()) / (seeds - 1),
        seeds * float((of_problem**2).sum()) / (problems - 1),
        float((rest**2).sum()) / ((seeds - 1) * (problems - 1)),
    )


def spread_of(values: Values, least: float = 0.0) -> Spread:
    """The spread of the mean of values (seeds, problems).

    Args:
        least: added to the variance of problems; `compare_arms` says what for.
    """
    seeds, problems = values.shape
    if problems < 2:
        return Spread(of_seeds=0.0, of_problems=0.0, seeds=seeds, problems=problems)
    if seeds < 2:
        return Spread(
            of_seeds=0.0,
            of_problems=float(values.var(ddof=1)) / problems + least,
            seeds=seeds,
            problems=problems,
        )
    squares, cells = squares_of(values), seeds * problems
    return Spread(
        of_seeds=squares.seeds / cells,  # what is random in single answers is in it
        of_problems=max(0.0, squares.problems - squares.rest) / cells + least,
        seeds=seeds,
        problems=problems,
    )


def mean_score(values: Any) -> Mean:
    """The mean of one configuration's values over seeds and problems, with an interval within 0 and 1.

    Of one seed it is the interval of `flexlora.evaluation`: over problems only. Of several it is Wilson's, with as many
    independent answers as would have the same spread (Korn and Graubard, 1998): as many as there are at most, and one
    a problem where no answer differs, since equal seeds do not tell of other problems.

    Args:
        values: (seeds, problems).
    """
    table = _table(values)
    seeds, problems = table.shape
    mean = float(table.mean())
    if seeds == 1:
        row = table[0]
        exact = wilson(round(row.sum()), problems) if _is_pass_or_fail(row) else bootstrap(row.tolist())
        return Mean(estimate=mean, interval=exact)
    half, z = spread_of(table).half(), _z(1 - LEVEL)
    inner = mean * (1 - mean)
    differ = bool(np.ptp(table)) and problems > 1
    weight = max(half * half / inner, z * z / table.size) if differ else z * z / problems
    middle, reach = mean + weight / 2, math.sqrt(inner * weight + weight * weight / 4)
    low, high = (middle - reach) / (1 + weight), (middle + reach) / (1 + weight)
    return Mean(estimate=mean, interval=Interval(max(0.0, low), min(1.0, high)))


def compare_arms(before: Any, after: Any) -> SeedDifference:
    """Mean of `after` minus mean of `before`, paired by seed and problem.

    To the variance is added what one more answer a seed, each on another problem, would add if it differed (as Agresti
    and Min, 2005, do for one table): next to nothing, unless so few answers differ that the table does not show its
    variance. A p-value is never less than a sign test gives on the problems that differ, all in one direction.

    With one seed on both sides it is the paired test of `flexlora.evaluation`, over problems only: exact McNemar where
    answers pass or fail, else the paired bootstrap. It says nothing of other seeds.

    Args:
        before: (seeds, problems), or (1, problems) of what has no seeds, as a base that answers greedily: every seed
            of `after` is paired with it.
        after: (seeds, problems), with the same problems, and seeds, in the same order.

    Raises:
        UsageError: the shapes do not go together.
    """
    first, second = _table(before), _table(after)
    if first.shape[1] != second.shape[1] or first.shape[0] not in (1, second.shape[0]):
        raise UsageError(
            f"arms are compared on the same seeds and problems; found (seeds, problems) {first.shape} and "
            f"{second.shape}. Give both the same, or one row for what has no seeds."
        )
    differences = second - first
    seeds, problems = differences.shape
    mean = float(differences.mean())
    spread = spread_of(differences, least=1 / (seeds * problems**2))
    if problems < 2:
        return SeedDifference(
            difference=mean, interval=Interval(-1.0, 1.0), p_value=1.0, spread=spread, method=ONE_PROBLEM
        )
    if seeds == 1:
        return _over_problems(first[0], second[0], spread)
    half = spread.half()
    return SeedDifference(
        difference=mean,
        interval=Interval(max(-1.0, mean - half), min(1.0, mean + half)),
        p_value=max(spread.p_value(mean), _sign_test(differences)),
        spread=spread,
        method=SEEDS_AND_PROBLEMS,
    )


def _over_problems(before: Values, after: Values, spread: Spread) -> SeedDifference:
    interval, p_value = paired_bootstrap(before.tolist(), after.tolist())
    method = PAIRED_BOOTSTRAP
    if _is_pass_or_fail(before) and _is_pass_or_fail(after):
        method, p_value = EXACT_MCNEMAR, mcnemar(int((after > before).sum()), int((after < before).sum()))
    return SeedDifference(
        difference=float((after - before).mean()),
        interval=interval,
        p_value=p_value,
        spread=spread,
        method=ONE_SEED + method,
    )


def _table(values: Any) -> Values:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise UsageError(f"scores come as (seeds, problems), one of each at least; found the shape {table.shape}.")
    return table


def _is_pass_or_fail(values: Values) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _sign_test(differences: Values) -> float:
    differing = int(np.count_nonzero(differences.mean(axis=0).round(12)))
    return min(1.0, 2.0 ** (1 - differing))


def _t(alpha: float, degrees: int) -> float:
    from scipy.special import stdtrit

    return -float(stdtrit(degrees, alpha / 2))


def _z(alpha: float) -> float:
    from scipy.special import ndtri

    return -float(ndtri(alpha / 2))
