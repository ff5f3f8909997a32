"""What a choice is worth: pass@1 of what was chosen, beside plain pass@1 of the same completions.

Here, and nowhere before, choices meet the benchmark's verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flexlora.evaluation.intervals import Interval, bootstrap, paired_bootstrap
from flexlora.selection.clusters import Group


@dataclass(frozen=True, slots=True)
class Selected:
    """pass@1 after selection, as a share, and how it differs from plain pass@1 on the same problems."""

    estimate: float
    interval: Interval
    """95 %, bootstrap over problems."""
    plain: float
    """pass@1 of a completion taken at random."""
    difference: float
    difference_interval: Interval
    p_value: float
    best: float
    """The most that any choice could reach: the share of problems with a completion that passes."""


def selected(chosen: Mapping[str, Group], passed: Mapping[tuple[str, int], bool], seed: int) -> Selected:
    """Score the choice on every problem.

    A problem counts by the share of the chosen completions that pass: what is expected of one of them.

    Args:
        chosen: task_id -> choice.
        passed: (task_id, sample) -> whether the benchmark's tests pass; of all samples.
    """
    samples: dict[str, list[bool]] = {}
    for (task_id, _), one in passed.items():
        samples.setdefault(task_id, []).append(one)
    plain = [_mean(samples[task_id]) for task_id in chosen]
    after = [_mean([passed[task_id, sample] for sample in group.samples]) for task_id, group in chosen.items()]
    difference, p_value = paired_bootstrap(plain, after, seed=seed)
    return Selected(
        estimate=_mean(after),
        interval=bootstrap(after, seed=seed),
        plain=_mean(plain),
        difference=_mean(after) - _mean(plain),
        difference_interval=difference,
        p_value=p_value,
        best=_mean([any(samples[task_id]) for task_id in chosen]),
    )


def _mean(values: list[bool] | list[float]) -> float:
    return sum(values) / len(values)
