from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest

from flexlora.errors import UsageError
from flexlora.evaluation.intervals import bootstrap, paired_bootstrap, wilson


@pytest.mark.parametrize(("passes", "problems"), [(54, 158), (0, 20), (20, 20), (1, 1), (69, 164)])
def test_wilson_is_scipys(passes: int, problems: int) -> None:
    expected = binomtest(passes, problems).proportion_ci(0.95, method="wilson")
    interval = wilson(passes, problems)
    assert interval.low == pytest.approx(expected.low, abs=1e-12)
    assert interval.high == pytest.approx(expected.high, abs=1e-12)


def test_bootstrap_agrees_with_the_enumerated_distribution_of_resampled_means() -> None:
    values = [0.0, 0.2, 0.2, 0.7, 1.0]
    means = [sum(draw) / len(values) for draw in product(values, repeat=len(values))]
    low, high = np.quantile(means, [0.025, 0.975])
    interval = bootstrap(values, resamples=200_000)
    assert interval.low == pytest.approx(low, abs=0.011)
    assert interval.high == pytest.approx(high, abs=0.011)


def test_bootstrap_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(400):
        rates = rng.beta(1.0, 2.0, size=120)  # mean 1/3
        interval = bootstrap((rng.binomial(10, rates) / 10).tolist(), seed=trial, resamples=1000)
        covered += interval.low <= 1 / 3 <= interval.high
    # 95 % of 400 is 380 with a standard deviation of 4.4; percentile intervals cover slightly less.
    assert 364 <= covered <= 393


def test_paired_p_value_is_uniform_enough_where_nothing_differs() -> None:
    rng = np.random.default_rng(5)
    rejected = 0
    for trial in range(400):
        before, after = rng.random((2, 100))
        _, p_value = paired_bootstrap(before.tolist(), after.tolist(), seed=trial, resamples=1000)
        rejected += p_value < 0.05
    assert 10 <= rejected <= 36


def test_few_differing_problems_show_no_difference_however_equal_they_are() -> None:
    assert paired_bootstrap([0.3], [0.4])[1] == 1
    assert paired_bootstrap([0.3] * 5, [0.4] * 5)[1] == 2**-4
    assert paired_bootstrap([0.3] * 5 + [0.5] * 95, [0.4] * 5 + [0.5] * 95)[1] >= 2**-4
    assert paired_bootstrap([0.3] * 8, [0.4] * 8)[1] < 0.05


def test_paired_bootstrap_gains_from_pairing() -> None:
    rng = np.random.default_rng(7)
    before = rng.random(100)
    after = before + 0.05
    interval, p_value = paired_bootstrap(before.tolist(), after.tolist())
    assert interval.low == pytest.approx(0.05)
    assert interval.high == pytest.approx(0.05)
    assert p_value == pytest.approx(2 / 10_001)


def test_paired_p_value_agrees_with_its_interval_and_with_its_mirror() -> None:
    before, after = [0.0] * 60 + [1.0] * 40, [0.0] * 50 + [1.0] * 50
    interval, p_value = paired_bootstrap(before, after)
    mirrored, mirrored_p = paired_bootstrap(after, before)
    assert interval.low > 0
    assert p_value < 0.05
    assert mirrored.low == pytest.approx(-interval.high, abs=0.011)
    assert mirrored_p == pytest.approx(p_value, abs=0.001)


def test_no_difference_gives_p_one_and_a_seed_repeats() -> None:
    values = [0.1, 0.2, 0.3]
    interval, p_value = paired_bootstrap(values, values)
    assert (interval.low, interval.high, p_value) == (0.0, 0.0, 1.0)
    noisy = [0.0, 1.0, 0.5, 0.25]
    assert bootstrap(noisy, seed=1, resamples=50) == bootstrap(noisy, seed=1, resamples=50)
    assert bootstrap(noisy, seed=1, resamples=50) != bootstrap(noisy, seed=2, resamples=50)


def test_no_problems_and_unequal_lists_are_refused() -> None:
    for attempt in (lambda: bootstrap([]), lambda: wilson(0, 0), lambda: paired_bootstrap([], [])):
        with pytest.raises(UsageError, match="0 problems"):
            attempt()
    with pytest.raises(UsageError, match="1 problems before and 2 after"):
        paired_bootstrap([1.0], [1.0, 0.0])
