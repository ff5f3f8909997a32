"""Counts of verdicts, from whichever file, and the scores that they allow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from flexlora.evaluation.score import Estimate, estimate

KS = (1, 10, 100)
"""The k of pass@k that the public harnesses report."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Samples and passes of every problem. Problems may have different numbers of samples."""

    samples: Counter[str] = field(default_factory=Counter)
    passes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    shares: dict[str, list[float]] = field(default_factory=dict)
    """Of the problems with test cases, for each sample the share that passed."""

    def add(self, task_id: str, passed: bool, status: str, share: float | None = None) -> None:
        """Count one more sample; `share` is that of its test cases that passed."""
        self.samples[task_id] += 1
        self.passes[task_id] += passed
        self.statuses[str(status)] += 1
        if share is not None:
            self.shares.setdefault(task_id, []).append(share)

    def tests_passed(self) -> float | None:
        """The mean share of tests passed, over the problems that have test cases; None where none has."""
        means = [sum(shares) / len(shares) for shares in self.shares.values()]
        return sum(means) / len(means) if means else None

    def scores(self) -> dict[int, Estimate]:
        """pass@k for every one of `KS` for which each problem has k samples at least."""
        fewest = min(self.samples.values())
        return {k: estimate(self.samples, self.passes, k) for k in KS if k <= fewest}
