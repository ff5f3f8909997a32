"""What second answers are worth: the share of completions that pass at the first or at the second attempt.

It is not pass@1, as the benchmark's verdict on the first answer decides whether there is a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flexlora.evaluation.intervals import Interval, bootstrap, paired_bootstrap


@dataclass(frozen=True, slots=True)
class Repaired:
    """One variant on one task."""

    estimate: float
    """Share of completions that pass, those mended included; the mean over problems."""
    interval: Interval
    """95 %, bootstrap over problems."""
    plain: float
    """The same without a second answer: pass@1."""
    difference_interval: Interval
    attempted: int
    mended: int


def repaired(first: Mapping[tuple[str, int], bool], second: Mapping[tuple[str, int], bool], seed: int) -> Repaired:
    """Score the second answers.

    Args:
        first: (task_id, sample) -> whether it passes.
        second: the same of the second answers; of all samples that do not pass at first.
    """
    before: dict[str, list[bool]] = {}
    after: dict[str, list[bool]] = {}
    for key, passed in first.items():
        before.setdefault(key[0], []).append(passed)
        after.setdefault(key[0], []).append(passed or second[key])
    plain, mended = ([sum(one) / len(one) for one in side.values()] for side in (before, after))
    difference, _ = paired_bootstrap(plain, mended, seed=seed)
    return Repaired(
        estimate=sum(mended) / len(mended),
        interval=bootstrap(mended, seed=seed),
        plain=sum(plain) / len(plain),
        difference_interval=difference,
        attempted=len(second),
        mended=sum(second.values()),
    )
