"""Paired comparison of two result sets on the same problems."""

from __future__ import annotations

from dataclasses import dataclass

from flexlora.errors import UsageError
from flexlora.evaluation.intervals import Interval, paired_bootstrap
from flexlora.evaluation.results import TaskResults, name_some
from flexlora.evaluation.score import problem_values

EXACT_MCNEMAR = "exact McNemar"
PAIRED_BOOTSTRAP = "paired bootstrap"


@dataclass(frozen=True, slots=True)
class Difference:
    """pass@k after minus pass@k before, as shares from -1 to 1."""

    difference: float
    interval: Interval
    """95 %, paired bootstrap over problems, for every n."""
    p_value: float
    """Two-sided, for "no difference"."""
    method: str
    """What `p_value` is from: `exact McNemar` (one sample per problem on both sides) or `paired bootstrap`."""
    gained: tuple[str, ...]
    """Problems that flipped from fail to pass, sorted."""
    lost: tuple[str, ...]
    """Problems that flipped from pass to fail, sorted."""


def compare(before: TaskResults, after: TaskResults, *, k: int = 1, seed: int = 0) -> Difference:
    """Compare two result sets on the same problems; both must hold exactly the same ones.

    With several samples per problem, a problem counts as passed where at least half of its samples pass (for
    every k); flipped problems are those that crossed that line.

    Raises:
        UsageError: problems that only one side has (names them), or k greater than a side's samples per problem.
    """
    _refuse_unpaired(before, after)
    old = problem_values(before, k)
    # `before` sets the order of the pairs; a file may list its problems in any order.
    reordered = TaskResults(
        after.samples_per_problem,
        {task_id: after.passes[task_id] for task_id in before.passes},
        after.statuses,
    )
    new = problem_values(reordered, k)
    interval, p_value = paired_bootstrap(old, new, seed=seed)
    gained, lost = _flipped(before, after)
    method = PAIRED_BOOTSTRAP
    if before.samples_per_problem == after.samples_per_problem == 1:
        method, p_value = EXACT_MCNEMAR, mcnemar(len(gained), len(lost))
    return Difference((sum(new) - sum(old)) / len(old), interval, p_value, method, gained, lost)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar p-value: are flips in both directions equally likely?"""
    from scipy.stats import binomtest  # most of a second to import, which `flexlora execute` need not wait for

    flipped = gained + lost
    return float(binomtest(gained, flipped).pvalue) if flipped else 1.0


def _flipped(before: TaskResults, after: TaskResults) -> tuple[tuple[str, ...], tuple[str, ...]]:
    passed_before = {i for i, passes in before.passes.items() if 2 * passes >= before.samples_per_problem}
    passed_after = {i for i, passes in after.passes.items() if 2 * passes >= after.samples_per_problem}
    return tuple(sorted(passed_after - passed_before)), tuple(sorted(passed_before - passed_after))


def _refuse_unpaired(before: TaskResults, after: TaskResults) -> None:
    only_before = sorted(set(before.passes) - set(after.passes))
    only_after = sorted(set(after.passes) - set(before.passes))
    if only_before or only_after:
        sides = [("first", only_before), ("second", only_after)]
        listed = "; ".join(f"only in the {side}: {name_some(names, 10)}" for side, names in sides if names)
        raise UsageError(
            f"The two result sets are on different problems ({len(before.passes)} and {len(after.passes)}); {listed}. "
            "A paired comparison needs the same problems on both sides: evaluate both on the same task and limit."
        )
