"""The trade-off curves of a study's arms: every grid point and every strength of its adapter, in one area an arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flexlora.errors import UsageError
from flexlora.studies.findings import AreaDifference, Curve, Point, Tradeoffs
from flexlora.studies.fronts import (
    Resampled,
    Sides,
    Task,
    areas_of,
    around,
    points_of,
    resample,
    spread_by,
    spread_of_area,
    spread_of_difference,
)
from flexlora.studies.results import Results
from flexlora.studies.schema import Study, Tradeoff


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a point is from."""

    config: str
    variant: str


def tradeoffs_of(results: Results, study: Study) -> Tradeoffs | None:
    """The curves of all arms with a finished seed that all their points have; None where none were asked for.

    Points are the arm's configurations as `adapter` and at every strength of it, or as `merged` where no adapter was
    evaluated; what is not finished, or lacks one of the tasks, is left out until it is there.

    Raises:
        UsageError: a task of the trade-off is none of the study's.
    """
    wanted = study.analysis.tradeoff
    if wanted is None:
        return None
    if results.tasks and (missing := [name for name in (*wanted.gain, *wanted.retention) if name not in results.tasks]):
        raise UsageError(
            f"study {study.name}: analysis.tradeoff names {', '.join(missing)}, which it does not evaluate; it has "
            f"{', '.join(results.tasks)}."
        )
    arms = list(dict.fromkeys(origin.arm for origin in results.configurations.values() if origin.arm is not None))
    places = {arm: there for arm in arms if (there := _places(results, arm, wanted))}
    seeds = {arm: common for arm in places if (common := _seeds(results, places[arm], wanted))}
    k = study.analysis.k
    sides = {arm: _sides(results, places[arm], seeds[arm], wanted, k) for arm in seeds}
    points = {arm: points_of(sides[arm]) for arm in sides}
    reference = min((0.0, *(float(found[:, 1].min()) for found in points.values())))
    curves = [_curve(arm, places[arm], seeds[arm], sides[arm], reference) for arm in sides]
    against = _against(results, study)
    for curve in curves:
        if against in sides and curve["arm"] != against:
            shared = sorted(set(seeds[curve["arm"]]) & set(seeds[against]))
            if shared:
                first, second = (_sides(results, places[arm], shared, wanted, k) for arm in (against, curve["arm"]))
                curve["difference"] = _difference(against, shared, first, second, reference)
    return {"gain": list(wanted.gain), "retention": list(wanted.retention), "reference": reference, "curves": curves}


def _places(results: Results, arm: str, wanted: Tradeoff) -> list[Place]:
    """An arm's points that have answers on every task, and whose base has."""
    places = []
    for config, origin in results.configurations.items():
        if origin.arm != arm:
            continue
        variants = results.variants(config)
        strengths = [variant for variant in variants if variant.split("@")[0] == "adapter"] or variants
        places += [
            Place(config=config, variant=variant)
            for variant in strengths
            if all(
                (config, variant, task) in results.answers and (origin.base, "base", task) in results.answers
                for task in (*wanted.gain, *wanted.retention)
            )
        ]
    return places


def _seeds(results: Results, places: Sequence[Place], wanted: Tradeoff) -> list[int]:
    """The seeds that all points have on all tasks."""
    had = [
        set(results.answers[place.config, place.variant, task].passes)
        for place in places
        for task in (*wanted.gain, *wanted.retention)
    ]
    return sorted(set.intersection(*had))


def _sides(results: Results, places: Sequence[Place], seeds: Sequence[int], wanted: Tradeoff, k: int) -> Sides:
    tasks = dict.fromkeys((*wanted.gain, *wanted.retention))
    numbers = {
        problem: number
        for number, problem in enumerate(dict.fromkeys(p for task in tasks for p in results.tasks[task].problems))
    }

    def side(names: Sequence[str]) -> tuple[Task, ...]:
        return tuple(
            Task(
                changes=np.stack([_changes(results, place, name, seeds, k) for place in places]),
                problems=np.array([numbers[problem] for problem in results.tasks[name].problems]),
            )
            for name in names
        )

    return Sides(gain=side(wanted.gain), retention=side(wanted.retention), all_problems=len(numbers))


def _changes(results: Results, place: Place, task: str, seeds: Sequence[int], k: int) -> np.ndarray:
    base = results.answers[results.configurations[place.config].base, "base", task]
    values = results.answers[place.config, place.variant, task].values(seeds, k)
    return values - base.values(sorted(base.passes), k)


def _curve(arm: str, places: Sequence[Place], seeds: list[int], sides: Sides, reference: float) -> Curve:
    means, drawn = points_of(sides), resample(sides)
    points: list[Point] = []
    for number, place in enumerate(places):
        of_point = [spread_by(Resampled(*(one[:, number, side] for one in drawn)), sides) for side in (0, 1)]
        gain, retention = (around(float(means[number, side]), of_point[side], -1.0, 1.0) for side in (0, 1))
        points.append(
            {
                "config": place.config,
                "variant": place.variant,
                "gain": float(means[number, 0]),
                "gain_low": gain.low,
                "gain_high": gain.high,
                "retention": float(means[number, 1]),
                "retention_low": retention.low,
                "retention_high": retention.high,
            }
        )
    area = float(areas_of(means[None], reference)[0])
    bounds = around(area, spread_of_area(sides, drawn, reference), 0.0, 2.0)
    return {"arm": arm, "seeds": seeds, "points": points, "area": area, "low": bounds.low, "high": bounds.high}


def _difference(against: str, seeds: list[int], first: Sides, second: Sides, reference: float) -> AreaDifference:
    areas = areas_of(np.stack([points_of(second)]), reference) - areas_of(np.stack([points_of(first)]), reference)
    difference, spread = float(areas[0]), spread_of_difference(first, second, reference)
    bounds = around(difference, spread, -2.0, 2.0)
    return {
        "against": against,
        "seeds": seeds,
        "difference": difference,
        "low": bounds.low,
        "high": bounds.high,
        "p_value": spread.p_value(difference),
    }


def _against(results: Results, study: Study) -> str | None:
    """The arm of the first configuration that others are compared with."""
    named = study.analysis.against[0] if study.analysis.against else None
    arms = [origin.arm for origin in results.configurations.values() if origin.arm is not None]
    if named is None:
        return arms[0] if arms else None
    return results.configurations[named].arm if named in results.configurations else named
