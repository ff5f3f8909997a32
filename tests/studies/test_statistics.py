"""The statistics against closed forms, brute force, and simulations with known truth.

A simulation may miss what it should show by three standard errors of its own number of trials. What would be wrong, a
version that knows nothing of seeds, misses by far more, which the tests show too.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import f_oneway, norm, ttest_1samp
from simulated import World, tolerance

from flexlora.errors import UsageError
from flexlora.evaluation.compare import mcnemar
from flexlora.evaluation.holm import holm
from flexlora.evaluation.intervals import paired_bootstrap, wilson
from flexlora.studies.statistics import (
    SEEDS_AND_PROBLEMS,
    Spread,
    compare_arms,
    mean_score,
    spread_of,
    squares_of,
)

QUICK, LONG = 600, 4000
WORLDS = {
    "answers only": World(),
    "problems": World(of_problem=0.7),
    "some of each": World(of_seed=0.2, of_problem=0.3),
    "seeds above all": World(of_seed=0.6, of_problem=0.3, of_answer=0.7),
}


def coverage(world: World, seeds: int, problems: int, trials: int, ignoring_seeds: bool = False) -> float:
    covered = 0
    truth = world.difference()
    for before, after in world.pairs(seeds, problems, trials):
        if ignoring_seeds:
            interval, _ = paired_bootstrap(before.mean(axis=0).tolist(), after.mean(axis=0).tolist(), resamples=500)
        else:
            interval = compare_arms(before, after).interval
        covered += interval.low <= truth <= interval.high
    return covered / trials


@pytest.mark.parametrize("seeds", [3, 8])
@pytest.mark.parametrize("name", WORLDS)
def test_intervals_of_differences_cover_the_truth(name: str, seeds: int) -> None:
    found = coverage(WORLDS[name], seeds, 160, QUICK)
    assert 0.95 - tolerance(0.95, QUICK) <= found <= 0.99


def test_an_interval_that_knows_nothing_of_seeds_would_fail_here() -> None:
    assert coverage(WORLDS["some of each"], 3, 160, 200, ignoring_seeds=True) < 0.9
    assert coverage(WORLDS["seeds above all"], 8, 160, 200, ignoring_seeds=True) < 0.6


@pytest.mark.thorough
@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("problems", [20, 160, 200])
@pytest.mark.parametrize("seeds", [2, 3, 5, 8])
@pytest.mark.parametrize("name", WORLDS)
def test_intervals_cover_the_truth_in_long_simulations(name: str, seeds: int, problems: int, shift: float) -> None:
    world = WORLDS[name].shifted(shift)
    assert 0.945 - tolerance(0.945, LONG) <= coverage(world, seeds, problems, LONG) <= 0.995


@pytest.mark.parametrize("seeds", [3, 8])
def test_no_effect_is_found_one_time_in_twenty_at_most(seeds: int) -> None:
    for name in ("problems", "seeds above all"):
        found = [compare_arms(*pair).p_value for pair in WORLDS[name].pairs(seeds, 160, QUICK, seed=2)]
        for alpha in (0.05, 0.01):
            assert np.mean(np.array(found) < alpha) <= alpha + tolerance(alpha, QUICK)
        assert np.mean(np.array(found) < 0.2) >= 0.05, "p-values that are never small find nothing at all"


def families(seeds: int, trials: int, arms: int = 5) -> tuple[float, float]:
    """How often at least one of several arms without effect is found against a common one: corrected, and not."""
    world = World(of_seed=0.3, of_problem=0.3)
    corrected = plain = 0
    for outcomes in world.outcomes(seeds, 160, trials, arms + 1, seed=3):
        p_values = {str(arm): compare_arms(outcomes[0], outcomes[arm]).p_value for arm in range(1, arms + 1)}
        corrected += min(holm(p_values).values()) < 0.05
        plain += min(p_values.values()) < 0.05
    return corrected / trials, plain / trials


@pytest.mark.parametrize("seeds", [3, 8])
def test_holm_holds_the_rate_over_a_family_which_is_more_without_it(seeds: int) -> None:
    corrected, plain = families(seeds, 300)
    assert corrected <= 0.05 + tolerance(0.05, 300)
    assert plain > corrected
    assert plain > 0.08


@pytest.mark.thorough
@pytest.mark.parametrize("seeds", [3, 8])
def test_holm_holds_the_rate_in_long_simulations(seeds: int) -> None:
    assert families(seeds, LONG)[0] <= 0.05 + tolerance(0.05, LONG)


@pytest.mark.parametrize(("seeds", "comparisons"), [(3, 1), (8, 1), (8, 6)])
def test_what_is_called_detectable_is_found_in_about_four_of_five_times(seeds: int, comparisons: int) -> None:
    none = World(of_seed=0.15, of_problem=0.4)
    spreads = [compare_arms(*pair).spread for pair in none.pairs(seeds, 160, 300, seed=4)]
    usual = Spread(
        of_seeds=float(np.mean([spread.of_seeds for spread in spreads])),
        of_problems=float(np.mean([spread.of_problems for spread in spreads])),
        seeds=seeds,
        problems=160,
    )
    claimed = usual.detectable(comparisons)
    planted = none.shifted_to(claimed)
    assert planted.difference() == pytest.approx(claimed)
    found = np.mean(
        [compare_arms(*pair).p_value < 0.05 / comparisons for pair in planted.pairs(seeds, 160, QUICK, seed=5)]
    )
    assert 0.7 <= found <= 0.85


def test_a_planted_effect_is_found_and_none_is_not() -> None:
    (before, after), *_ = World(of_problem=0.3).shifted(1.5).pairs(5, 200, 1)
    assert compare_arms(before, after).p_value < 1e-3
    (before, after), *_ = World(of_problem=0.3).pairs(5, 200, 1)
    assert compare_arms(before, after).p_value > 0.05


def test_a_base_without_seeds_is_paired_with_every_seed_and_the_interval_covers() -> None:
    covered, ignored, trials = 0, 0, QUICK
    world = World(of_seed=0.3, of_problem=0.5)
    for base, after in world.against_base(3, 160, trials):
        found = compare_arms(base, after)
        covered += found.interval.low <= world.difference_from_base() <= found.interval.high
        interval, _ = paired_bootstrap(base[0].tolist(), after.mean(axis=0).tolist(), resamples=300)
        ignored += interval.low <= world.difference_from_base() <= interval.high
    assert covered / trials >= 0.95 - tolerance(0.95, trials)
    assert ignored / trials < 0.9
    assert found.method == SEEDS_AND_PROBLEMS
    repeated = compare_arms(np.repeat(base, 3, axis=0), after)
    assert repeated == found


@pytest.mark.parametrize("seeds", [3, 8])
@pytest.mark.parametrize("level", [0.0, -3.5])
def test_intervals_of_scores_cover_the_truth_and_stay_within_0_and_1(seeds: int, level: float) -> None:
    world = World(of_seed=0.3, of_problem=0.5, level=level)
    covered = 0
    for _, after in world.pairs(seeds, 160, QUICK, seed=6):
        found = mean_score(after)
        assert 0 <= found.interval.low <= found.estimate <= found.interval.high <= 1
        covered += found.interval.low <= world.share() <= found.interval.high
    assert 0.95 - tolerance(0.95, QUICK) <= covered / QUICK <= 0.995


def test_mean_squares_are_those_of_the_analysis_of_variance() -> None:
    values = np.random.default_rng(0).random((5, 40))
    squares = squares_of(values)
    # scipy's one-way F over seeds has what problems and rest explain in its denominator; put together from ours.
    within = (39 * squares.problems + 4 * 39 * squares.rest) / (5 * 39)
    assert f_oneway(*values).statistic == pytest.approx(squares.seeds / within)
    within = (4 * squares.seeds + 4 * 39 * squares.rest) / (4 * 40)
    assert f_oneway(*values.T).statistic == pytest.approx(squares.problems / within)


def test_the_variance_is_the_hierarchical_bootstraps_with_its_known_errors_put_right() -> None:
    """Owen (2007): resampling seeds and problems shows (S - 1) / S of each part and of what is left about thrice."""
    values = np.random.default_rng(1).random((6, 50)) + np.linspace(0, 0.3, 6)[:, None] + np.linspace(0, 2, 50)
    seeds, problems = values.shape
    generator = np.random.default_rng(2)
    drawn = [generator.multinomial(size, np.full(size, 1 / size), size=40_000) / size for size in values.shape]
    bootstrapped = np.einsum("bs,sp,bp->b", drawn[0], values, drawn[1], optimize=True).var()
    squares, cells = squares_of(values), values.size
    shown = squares.seeds * (seeds - 1) / seeds + squares.problems * (problems - 1) / problems
    shown += squares.rest * (seeds - 1) * (problems - 1) / cells
    assert bootstrapped == pytest.approx(shown / cells, rel=0.03)
    spread = spread_of(values)
    assert spread.of_seeds == pytest.approx(squares.seeds / cells)
    assert spread.of_problems == pytest.approx((squares.problems - squares.rest) / cells)


def test_where_problems_add_nothing_it_is_the_t_test_over_seeds() -> None:
    differences = np.array([0.02, 0.05, 0.11, 0.04])
    table = np.repeat(differences[:, None], 30, axis=1)
    spread, reference = spread_of(table), ttest_1samp(differences, 0)
    assert spread.p_value(float(differences.mean())) == pytest.approx(float(reference.pvalue), rel=1e-6)
    interval = reference.confidence_interval()
    assert spread.half() == pytest.approx((interval.high - interval.low) / 2)


def test_the_p_value_is_the_alpha_whose_interval_reaches_zero() -> None:
    spread = Spread(of_seeds=4e-4, of_problems=2e-4, seeds=4, problems=150)
    for difference in (0.01, -0.05, 0.2):
        assert spread.half(spread.p_value(difference)) == pytest.approx(abs(difference))
    assert spread.p_value(0.0) == 1
    assert spread.p_value(0.1) < spread.p_value(0.05)


def test_differences_mirror_and_add_up() -> None:
    (before, after), *_ = World(of_seed=0.3).pairs(4, 60, 1)
    found, mirrored = compare_arms(before, after), compare_arms(after, before)
    assert found.difference == pytest.approx(after.mean() - before.mean())
    assert mirrored.difference == -found.difference
    assert mirrored.p_value == found.p_value
    assert mirrored.interval.low == pytest.approx(-found.interval.high)


def test_one_seed_falls_back_to_the_paired_tests_and_says_so() -> None:
    generator = np.random.default_rng(3)
    before, after = (generator.random((2, 1, 80)) < 0.5).astype(float)
    found = compare_arms(before, after)
    gained, lost = int((after > before).sum()), int((after < before).sum())
    assert found.p_value == mcnemar(gained, lost)
    assert found.method == "one seed, so over problems only: exact McNemar"
    assert found.interval == paired_bootstrap(before[0].tolist(), after[0].tolist())[0]
    halves = compare_arms(before / 2, after / 2 + 0.25)
    assert halves.method == "one seed, so over problems only: paired bootstrap"
    assert mean_score(after).interval == wilson(int(after.sum()), 80)


@pytest.mark.parametrize("seeds", [1, 2, 8])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_answers_show_no_difference_and_no_certainty(seeds: int, value: float) -> None:
    same = np.full((seeds, 50), value)
    found = compare_arms(same, same)
    assert (found.difference, found.p_value) == (0, 1)
    assert 0 < found.spread.standard_error < 0.03
    assert 0 < found.spread.detectable(4) < 1
    score = mean_score(same)
    reference = wilson(50 if value else 0, 50)  # other seeds tell nothing of other problems
    assert (score.interval.low, score.interval.high) == pytest.approx((reference.low, reference.high))


def test_few_problems_that_differ_show_little_however_equal_they_are() -> None:
    before, after = np.zeros((8, 100)), np.zeros((8, 100))
    after[:, :3] = 1
    assert compare_arms(before, after).p_value >= 2**-2
    assert compare_arms(np.zeros((4, 2)), np.ones((4, 2))).p_value >= 0.5
    after[:, :12] = 1
    assert compare_arms(before, after).p_value < 0.01


def test_everything_differing_in_the_same_way_is_found() -> None:
    found = compare_arms(np.zeros((3, 100)), np.ones((3, 100)))
    assert found.p_value < 1e-6
    assert (found.interval.low, found.interval.high) == (pytest.approx(1, abs=0.05), 1)


def test_one_problem_shows_nothing_of_others() -> None:
    found = compare_arms(np.zeros((4, 1)), np.ones((4, 1)))
    assert (found.difference, found.p_value, found.spread.standard_error) == (1, 1, 1)
    assert (found.interval.low, found.interval.high, found.spread.detectable()) == (-1, 1, 1)
    score = mean_score(np.ones((4, 1)))
    assert score.interval.low < 0.3
    assert math.isfinite(score.interval.high)


def test_more_differing_answers_never_make_the_interval_narrower() -> None:
    halves = []
    for flipped in range(6):
        after = np.zeros((4, 60))
        after[0, :flipped] = 1
        halves.append(compare_arms(np.zeros((4, 60)), after).spread.half())
    assert halves == sorted(halves)


@pytest.mark.parametrize(
    "shapes", [((2, 5), (2, 6)), ((3, 5), (2, 5)), ((2, 5), (1, 5)), ((5,), (5,)), ((0, 5), (0, 5))]
)
def test_what_does_not_go_together_is_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(UsageError, match=r"shape|same seeds"):
        compare_arms(*(np.zeros(shape) for shape in shapes))


def closed_testing(p_values: list[float]) -> list[float]:
    """Holm's procedure by its definition: the closure of Bonferroni tests of every intersection."""
    tests = range(len(p_values))
    subsets = [set(chosen) for size in tests for chosen in itertools.combinations(tests, size + 1)]
    return [
        max(min(1.0, len(subset) * min(p_values[i] for i in subset)) for subset in subsets if test in subset)
        for test in tests
    ]


def test_holm_equals_the_closed_test_of_all_intersections() -> None:
    generator = np.random.default_rng(4)
    for size in (1, 2, 3, 5, 7):
        for _ in range(20):
            p_values = [round(float(p), 2) for p in generator.random(size) ** 3]  # with ties
            corrected = holm({str(number): p for number, p in enumerate(p_values)})
            assert list(corrected.values()) == pytest.approx(closed_testing(p_values))
    assert holm({}) == {}


def test_the_simulated_truth_is_the_share_of_many_draws() -> None:
    world = World(of_seed=0.4, of_problem=0.5, level=-0.5).shifted(0.6)
    before, after = (np.array(side) for side in zip(*world.pairs(2, 50, 4000), strict=True))
    assert after.mean() - before.mean() == pytest.approx(world.difference(), abs=0.01)
    assert world.share() == pytest.approx(after.mean(), abs=0.01)
    assert world.share() == pytest.approx(norm.cdf((world.level + world.shift) / world.spread()))
