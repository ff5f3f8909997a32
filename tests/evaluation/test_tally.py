from __future__ import annotations

from itertools import combinations

import pytest
from scipy.stats import binomtest

from flexlora.evaluation.tally import Tally


def tally(**counts: tuple[int, int]) -> Tally:
    made = Tally()
    for task_id, (samples, passes) in counts.items():
        for i in range(samples):
            made.add(task_id, i < passes, "OK" if i < passes else "Exception")
    return made


def by_enumeration(samples: int, passes: int, k: int) -> float:
    draws = list(combinations([i < passes for i in range(samples)], k))
    return sum(map(any, draws)) / len(draws)


def test_uneven_numbers_of_samples_are_estimated_problem_by_problem() -> None:
    scores = tally(a=(12, 3), b=(10, 1), c=(15, 0)).scores()
    assert set(scores) == {1, 10}
    for k, score in scores.items():
        expected = [by_enumeration(n, c, k) for n, c in ((12, 3), (10, 1), (15, 0))]
        assert score.estimate == pytest.approx(sum(expected) / 3)
        assert score.method == "bootstrap"
        assert score.interval.low <= score.estimate <= score.interval.high


def test_a_k_that_one_problem_has_too_few_samples_for_is_left_out() -> None:
    assert set(tally(a=(100, 3), b=(9, 1)).scores()) == {1}
    assert set(tally(a=(100, 3), b=(100, 1)).scores()) == {1, 10, 100}


def test_one_sample_a_problem_gives_wilson_intervals() -> None:
    score = tally(a=(1, 1), b=(1, 0), c=(1, 1)).scores()[1]
    expected = binomtest(2, 3).proportion_ci(0.95, method="wilson")
    assert (score.estimate, score.method) == (2 / 3, "wilson")
    assert (score.interval.low, score.interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
