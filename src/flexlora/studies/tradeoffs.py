"""The trade-off curves of a study's arms: every grid point and every strength of its adapter, in one area an arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flexlora.errors import UsageError
from flexlora.evaluation.holm import holm
from flexlora.studies.comparing import first_arm
from flexlora.studies.findings import AreaDifference, Curve, Point, Tradeoffs
from flexlora.studies.fronts import (
    Floats,
    Resampled,
    Sides,
    Task,
    areas_of,
    around,
    front_of,
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
    base: str


def tradeoffs_of(results: Results, study: Study) -> Tradeoffs | None:
    """A curve for every arm with a finished seed that all its points have; None where none were asked for.

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
    places = _places(results, wanted)
    seeds = {name: common for name in places if (common := _seeds(results, places[name], wanted))}
    k = study.analysis.k
    sides = {name: _sides(results, places[name], seeds[name], wanted, k) for name in seeds}
    reference = min((0.0, *(float(points_of(found)[:, 1].min()) for found in sides.values())))
    curves = []
    for name in sides:
        curve = _curve(name, places[name], seeds[name], sides[name], reference)
        against = _curve_name(results, _against(results, study), places[name][0].base)
        shared = sorted(set(seeds[name]) & set(seeds.get(against, ())))
        if shared and against != name:
            first, second = (_sides(results, places[one], shared, wanted, k) for one in (against, name))
            curve["difference"] = _difference(against, shared, first, second, reference)
        curves.append(curve)
    differences = {curve["arm"]: curve["difference"] for curve in curves if "difference" in curve}
    for name, p_corrected in holm({name: one["p_value"] for name, one in differences.items()}).items():
        differences[name]["p_corrected"] = p_corrected
    return {"gain": list(wanted.gain), "retention": list(wanted.retention), "reference": reference, "curves": curves}


def _places(results: Results, wanted: Tradeoff) -> dict[str, list[Place]]:
    """The points of every curve: those that have answers on every task, and whose base has."""
    places: dict[str, list[Place]] = {}
    for config, origin in results.configurations.items():
        if origin.arm is None:
            continue
        variants = results.variants(config)
        strengths = [variant for variant in variants if variant.split("@")[0] == "adapter"] or variants
        for variant in strengths:
            if all(
                (config, variant, task) in results.answers and (origin.base, "base", task) in results.answers
                for task in (*wanted.gain, *wanted.retention)
            ):
                place = Place(config=config, variant=variant, base=origin.base)
                places.setdefault(_curve_name(results, origin.arm, origin.base), []).append(place)
    return places


def _curve_name(results: Results, arm: str, base: str) -> str:
    """The arm's name, with that of the base where there are several: points over two models make no curve."""
    several = len({origin.base for origin in results.configurations.values()}) > 1
    return f"{arm} over {base}" if several else arm


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


def _changes(results: Results, place: Place, task: str, seeds: Sequence[int], k: int) -> Floats:
    base = results.answers[place.base, "base", task]
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
    return {
        "arm": arm,
        "seeds": seeds,
        "points": points,
        "front": [list(corner) for corner in front_of(means.tolist(), reference)],
        "area": area,
        "low": bounds.low,
        "high": bounds.high,
    }


def _difference(against: str, seeds: list[int], first: Sides, second: Sides, reference: float) -> AreaDifference:
    areas = areas_of(np.stack([points_of(second)]), reference) - areas_of(np.stack([points_of(first)]), reference)
    difference, spread = float(areas[0]), spread_of_difference(first, second, reference)
    bounds, p_value = around(difference, spread, -2.0, 2.0), spread.p_value(difference)
    return {
        "against": against,
        "seeds": seeds,
        "difference": difference,
        "low": bounds.low,
        "high": bounds.high,
        "p_value": p_value,
        "p_corrected": p_value,
    }


def _against(results: Results, study: Study) -> str:
    """The arm of the first configuration that others are compared with."""
    named = next(iter(study.analysis.against), None)
    if named is None:
        return first_arm(results)
    origin = results.configurations.get(named)
    return named if origin is None or origin.arm is None else origin.arm
