"""Areas against a brute-force reference, and their intervals against simulations with known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulated import Floats, World, tolerance

from flexlora.studies.fronts import (
    Resampled,
    Sides,
    Task,
    around,
    front_area,
    points_of,
    resample,
    spread_by,
    spread_of_area,
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


def sides_of(gain: list[Floats], retention: list[Floats], shared: bool = False) -> Sides:
    """Of changes (points, seeds, problems) a task; all tasks with problems of their own, or with the same ones."""
    at, made = 0, []
    for changes in (*gain, *retention):
        size = changes.shape[2]
        made.append(Task(changes=changes, problems=np.arange(size) + (0 if shared else at)))
        at += size
    return Sides(
        gain=tuple(made[: len(gain)]),
        retention=tuple(made[len(gain) :]),
        all_problems=made[0].changes.shape[2] if shared else at,
    )


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


def worlds(source: World, target: World, strengths: int = 3) -> tuple[list[World], list[World]]:
    """An arm's points, at growing strength: the source language gains, the target loses."""
    steps = [(number + 1) / strengths for number in range(strengths)]
    return (
        [source.shifted(source.shift * step) for step in steps],
        [target.shifted(target.shift * step**2) for step in steps],
    )


def studied(
    gain: list[World], retention: list[World], seeds: int, problems: int, generator: np.random.Generator
) -> list[Sides]:
    """Two arms whose points are alike, of one study: (base (1, problems), then every arm's points), as changes."""
    found = []
    eases = [world.ease * generator.normal(size=(1, problems)) + world.level for world in (gain[0], retention[0])]
    for _ in range(2):
        sides = []
        for points, ease in ((gain, eases[0]), (retention, eases[1])):
            base = (ease > 0).astype(float)
            of_seed = generator.normal(size=(seeds, 1))
            noise = generator.normal(size=(seeds, problems))
            own = generator.normal(size=(1, problems))
            sides.append(
                np.stack(
                    [
                        (w.of_seed * of_seed + w.of_problem * own + w.of_answer * noise + ease + w.shift > 0) - base
                        for w in points
                    ]
                )
            )
        found.append(sides_of([sides[0]], [sides[1]]))
    return found


def simulated_areas(seeds: int, trials: int, resamples: int) -> tuple[float, float, float]:
    """How often the interval of an area holds the truth, that of a difference of none 0, and how often it is found."""
    source = World(of_seed=0.2, of_problem=0.3, of_answer=0.5, shift=1.2, level=-0.6)
    gain, retention = worlds(source, replace(source, shift=-0.8, level=0.2))
    truth = [(g.difference_from_base(), r.difference_from_base()) for g, r in zip(gain, retention, strict=True)]
    reference = min(y for _, y in truth)
    area = front_area(truth, reference)
    generator = np.random.default_rng(7)
    covered = none = found = 0
    for _ in range(trials):
        first, second = studied(gain, retention, seeds, 160, generator)
        estimate = [front_area(points_of(sides), reference) for sides in (first, second)]
        bounds = around(estimate[0], spread_of_area(first, resample(first, resamples=resamples), reference), 0, 2)
        covered += bounds.low <= area <= bounds.high
        spread = spread_of_difference(first, second, reference, resamples=resamples)
        none += abs(estimate[1] - estimate[0]) <= spread.half()
        found += spread.p_value(estimate[1] - estimate[0]) < 0.05
    return covered / trials, none / trials, found / trials


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
