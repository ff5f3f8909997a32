"""Three ways to choose among a problem's completions; each gives the group from which one would be taken at random.

- `by_agreement`: CodeT's dual execution agreement (arXiv 2207.10397, section 2.2). Completions that pass the same of
  the model's tests form a group; its score is |completions| * |tests passed|. The score `sqrt` is that of the paper's
  published code: sqrt(|completions|) * |tests passed|, a test counted as often as it was written.
- `by_outputs`: completions that give the same outputs on the same inputs form a group; the largest is chosen. A group
  that gave no output at all (each input ended in an error) loses against every other.
- `by_logprob`: the completion with the highest mean log-probability of a token.

Groups with equal scores are joined, so a choice depends on no order. Where nothing tells completions apart, as where
the model wrote no tests, all are chosen, and the choice is worth as much as plain pass@1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

PRECISION = 9
"""Decimals to which scores are compared."""


@dataclass(frozen=True, slots=True)
class Group:
    """The completions chosen, by number, and the score that chose them."""

    samples: tuple[int, ...]
    score: float


def by_agreement(
    passed: Mapping[int, Collection[int]], written: Sequence[int], score: Literal["product", "sqrt"] = "product"
) -> Group:
    """CodeT's choice.

    Args:
        passed: sample -> numbers of the tests that it passes; every sample is in it.
        written: how often each test was written.
    """
    groups: dict[frozenset[int], list[int]] = {}
    for sample, tests in passed.items():
        groups.setdefault(frozenset(tests), []).append(sample)
    if score == "product":
        scores = {tests: float(len(samples) * len(tests)) for tests, samples in groups.items()}
    else:
        scores = {tests: sqrt(len(samples)) * sum(written[test] for test in tests) for tests, samples in groups.items()}
    return _best({tuple(samples): scores[tests] for tests, samples in groups.items()})


def by_outputs(outputs: Mapping[int, Sequence[str | None]]) -> Group:
    """The majority's choice.

    Args:
        outputs: sample -> what it gave for each input, None where that was an error; every sample is in it.
    """
    groups: dict[tuple[str | None, ...], list[int]] = {}
    for sample, given in outputs.items():
        groups.setdefault(tuple(given), []).append(sample)
    scores = {
        tuple(samples): float(len(samples) if any(output is not None for output in given) else 0)
        for given, samples in groups.items()
    }
    if all(not given for given in groups):  # no inputs: nothing was voted on
        scores = dict.fromkeys(scores, 0.0)
    return _best(scores)


def by_logprob(mean: Mapping[int, float]) -> Group:
    """The likeliest completion, or several that are equally likely.

    Args:
        mean: sample -> mean log-probability of its tokens.
    """
    return _best({(sample,): value for sample, value in mean.items()})


def _best(scores: Mapping[tuple[int, ...], float]) -> Group:
    best = round(max(scores.values()), PRECISION)
    chosen = [samples for samples, score in scores.items() if round(score, PRECISION) == best]
    return Group(tuple(sorted(sample for samples in chosen for sample in samples)), best)
