"""Areas against a brute-force reference, and their intervals against simulations with known truth."""

from __future__ import annotations

import numpy as np
import pytest
from simulated import sides_of, simulated_areas, tolerance

from flexlora.studies.fronts import (
    Resampled,
    front_area,
    resample,
    spread_by,
    spread_of_difference,
)
from flexlora.studies.statistics import spread_of

Points = list[tuple[float, float]]


def brute_force(points: Points, reference: float, steps: int = 4000) -> float:
    """The area by columns: at each gain, the best that a mixture of two points (or the base) that gains it keeps."""
    useful = np.array([(0.0, 0.0), *((x, max(y, reference)) for x, y in points if x > 0)])
    farthest = useful[:, 0].max()
    gains = (np.arange(steps) + 0.5) / steps * farthest
    best = np.full(steps, reference)
    for ax, ay in useful:
        for bx, by in useful:
            # Mixtures whose gain is at least that of the column: it may gain more than asked.
            for share in np.linspace(0, 1, 101):
                x, y = share * ax + (1 - share) * bx, share * ay + (1 - share) * by
                best[gains <= x + 1e-12] = np.maximum(best[gains <= x + 1e-12], y)
    return float((best - reference).sum() * farthest / steps)


def test_areas_equal_those_by_brute_force() -> None:
    generator = np.random.default_rng(0)
    for size in (1, 2, 3, 6):
        points = [(float(x), float(y)) for x, y in generator.normal([0.1, -0.1], 0.15, size=(size, 2))]
        reference = min(0.0, *(y for _, y in points)) - 0.05
        found = front_area(points, reference)
        assert found == pytest.approx(brute_force(points, reference), abs=2e-3)


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([], 0),
        ([(0.0, 0.0)], 0),
        ([(-0.2, 0.1)], 0),  # loses what it was trained for
        ([(0.4, -0.2)], 0.4 * 0.1),  # a triangle: the base at its other end
        ([(0.4, 0.0)], 0.4 * 0.2),
        ([(0.4, 0.1)], 0.4 * 0.3),
        ([(0.4, -0.2), (0.2, -0.1)], 0.4 * 0.1),  # on the same line: no more
        ([(0.4, -0.2), (0.2, -0.15)], 0.4 * 0.1),  # below it
        ([(0.4, -0.2), (0.2, 0.0)], 0.2 * 0.2 + 0.2 * 0.1),
        ([(0.4, -0.2), (0.4, -0.1)], 0.4 * 0.15),  # the better of two that gain as much
        ([(0.4, -0.9)], 0.4 * 0.1),  # below the reference is on it
    ],
)
def test_areas_that_can_be_told_by_hand(points: Points, area: float) -> None:
    assert front_area(points, -0.2) == pytest.approx(area)
    assert front_area(points[::-1], -0.2) == pytest.approx(area)


def test_an_arm_that_merely_trains_less_encloses_nearly_as_much() -> None:
    """On one curve, retention = -(gain^2): points along it, up to the end or up to three quarters of it."""
    curve = [(x, -(x**2)) for x in np.linspace(0, 0.4, 9)]
    whole, less = front_area(curve, -0.16), front_area(curve[:7], -0.16)
    beyond = front_area([(x, y / 2) for x, y in curve[:7]], -0.16)
    assert (whole - less) / whole < 0.12
    assert (beyond - less) / less > 0.1


@pytest.mark.parametrize("seeds", [1, 4])
def test_points_are_spread_as_the_closed_form_says(seeds: int) -> None:
    generator = np.random.default_rng(1)
    changes = [
        generator.normal(size=(2, seeds, 60))
        + 0.3 * generator.normal(size=(2, seeds, 1))
        + 2 * generator.normal(size=(2, 1, 60))
        for _ in range(2)
    ]
    sides = sides_of(changes[:1], changes[1:])
    drawn = resample(sides, resamples=8000)
    for side in (0, 1):
        for point in (0, 1):
            found = spread_by(Resampled(*(one[:, point, side] for one in drawn)), sides)
            expected = spread_of(changes[side][point])
            assert found.of_seeds == pytest.approx(expected.of_seeds, rel=0.1)
            assert found.of_problems == pytest.approx(expected.of_problems, rel=0.1)
            assert found.half() == pytest.approx(expected.half(), rel=0.05)


def test_the_same_problem_in_several_tasks_is_drawn_together() -> None:
    """As one problem that counts twice: two tasks of equal changes vary as one, two of opposite ones not at all."""
    changes = np.random.default_rng(2).normal(size=(1, 3, 80))
    one = sides_of([changes], [changes], shared=True)
    both = sides_of([changes, changes], [changes, -changes], shared=True)
    apart = sides_of([changes, changes], [changes, -changes])
    first, second, third = (resample(sides) for sides in (one, both, apart))
    assert second.problems[:, 0, 0].var() == pytest.approx(first.problems[:, 0, 0].var())
    assert np.allclose(second.problems[:, 0, 1], 0)
    assert third.problems[:, 0, 0].var() == pytest.approx(first.problems[:, 0, 0].var() / 2, rel=0.15)


def test_equal_arms_differ_by_nothing_and_arms_of_as_many_seeds_get_the_same_draws() -> None:
    generator = np.random.default_rng(3)
    sides = sides_of([generator.normal(0.2, 1, (3, 4, 50))], [generator.normal(-0.1, 1, (3, 4, 50))])
    spread = spread_of_difference(sides, sides, -0.3)
    assert (spread.of_seeds, spread.of_problems, spread.p_value(0.0)) == (0, 0, 1)
    assert np.array_equal(resample(sides).seeds, resample(sides).seeds)


def test_intervals_of_areas_cover_and_equal_curves_are_not_told_apart() -> None:
    covered, none, found = simulated_areas(4, 60, 150)
    assert covered >= 0.93 - tolerance(0.93, 60)
    assert none >= 0.95 - tolerance(0.95, 60)
    assert found == pytest.approx(1 - none)


@pytest.mark.thorough
@pytest.mark.parametrize("seeds", [3, 8])
def test_areas_in_long_simulations(seeds: int) -> None:
    covered, none, found = simulated_areas(seeds, 1000, 500)
    assert covered >= 0.93 - tolerance(0.93, 1000)
    assert none >= 0.945 - tolerance(0.945, 1000)
    assert found <= 0.05 + tolerance(0.05, 1000)
