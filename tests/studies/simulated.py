"""Studies with known truth: answers that pass or fail, from random effects of seeds and problems that are crossed.

An answer passes where `level`, the problem's own ease, and the effects of its arm are above zero together:

    level + shift + u[p] + of_seed a[arm, s] + of_problem b[arm, p] + of_answer e[arm, s, p] > 0

all of a, b, e standard normal and u, which all arms share, of standard deviation `ease`; greedy answers of a model
trained with another seed are like that. The expected share of passes is a normal probability, known exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from flexlora.studies.fronts import (
    Sides,
    Task,
    around,
    front_area,
    points_of,
    resample,
    spread_of_area,
    spread_of_difference,
)

Floats = npt.NDArray[np.float64]
AT_ONCE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where arms' answers are drawn from."""

    of_seed: float = 0.0
    of_problem: float = 0.0
    of_answer: float = 1.0
    ease: float = 2.0
    level: float = -0.3
    shift: float = 0.0
    """Of the second arm and later ones."""

    def spread(self) -> float:
        return math.sqrt(self.ease**2 + self.of_seed**2 + self.of_problem**2 + self.of_answer**2)

    def share(self) -> float:
        """Of passes, in the later arms."""
        return float(norm.cdf((self.level + self.shift) / self.spread()))

    def difference(self) -> float:
        """Of the later arms from the first."""
        return self.share() - replace(self, shift=0.0).share()

    def difference_from_base(self) -> float:
        return self.share() - float(norm.cdf(self.level / self.ease))

    def shifted(self, shift: float) -> World:
        return replace(self, shift=shift)

    def shifted_to(self, difference: float) -> World:
        """The world in which the later arms are better by so much."""
        share = replace(self, shift=0.0).share() + difference
        return replace(self, shift=float(norm.ppf(share)) * self.spread() - self.level)

    def outcomes(self, seeds: int, problems: int, trials: int, arms: int = 2, seed: int = 1) -> Iterator[Floats]:
        """(arms, seeds, problems) of 0 and 1, for every trial."""
        generator = np.random.default_rng(seed)
        shift = np.array([0.0, *[self.shift] * (arms - 1)])[:, None, None]
        for start in range(0, trials, AT_ONCE):
            count = min(AT_ONCE, trials - start)
            latent = self.level + shift + self.ease * generator.normal(size=(count, 1, 1, problems))
            latent = latent + self.of_seed * generator.normal(size=(count, arms, seeds, 1))
            latent += self.of_problem * generator.normal(size=(count, arms, 1, problems))
            latent += self.of_answer * generator.normal(size=(count, arms, seeds, problems))
            yield from (latent > 0).astype(np.float64)

    def pairs(self, seeds: int, problems: int, trials: int, seed: int = 1) -> Iterator[tuple[Floats, Floats]]:
        """(before, after) for every trial."""
        for outcomes in self.outcomes(seeds, problems, trials, seed=seed):
            yield outcomes[0], outcomes[1]

    def against_base(self, seeds: int, problems: int, trials: int, seed: int = 1) -> Iterator[tuple[Floats, Floats]]:
        """(before (1, problems), after), the former of the model before training: no effects but the problem's ease."""
        generator = np.random.default_rng(seed)
        for _ in range(trials):
            ease = self.level + self.ease * generator.normal(size=(1, problems))
            latent = ease + self.shift + self.of_seed * generator.normal(size=(seeds, 1))
            latent = latent + self.of_problem * generator.normal(size=(1, problems))
            latent += self.of_answer * generator.normal(size=(seeds, problems))
            yield (ease > 0).astype(np.float64), (latent > 0).astype(np.float64)


def tolerance(rate: float, trials: int) -> float:
    """Three standard errors of a rate that was counted in so many trials."""
    return 3 * math.sqrt(rate * (1 - rate) / trials)


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
