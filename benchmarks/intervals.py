"""How often the intervals of a study hold the truth, beside simpler ones, in simulations with known truth.

    python benchmarks/intervals.py [--trials 2000]

Prints the Markdown tables of `docs/statistics.md`; five minutes on one core. Answers pass or fail, from random effects
that are crossed (`tests/studies/simulated.py`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "studies"))

from simulated import Floats, World, simulated_areas  # the tests' own, found by the line above

from flexlora.evaluation.holm import holm
from flexlora.evaluation.intervals import Interval, paired_bootstrap
from flexlora.studies.statistics import Spread, compare_arms, spread_of

WORLDS = {
    "none": World(),
    "of problems": World(of_problem=0.7),
    "of seeds and problems": World(of_seed=0.2, of_problem=0.3),
    "of seeds above all": World(of_seed=0.6, of_problem=0.3, of_answer=0.7),
}
"""What the arms' answers differ by, besides chance."""


def ours(before: Floats, after: Floats) -> Interval:
    return compare_arms(before, after).interval


def problems_only(before: Floats, after: Floats) -> Interval:
    """Paired bootstrap over problems of the seeds' means: what takes the seeds as they are."""
    return paired_bootstrap(before.mean(axis=0).tolist(), after.mean(axis=0).tolist(), resamples=500)[0]


def seeds_only(before: Floats, after: Floats) -> Interval:
    """The t interval of the seeds' means: what takes the problems as they are."""
    differences = (after - before).mean(axis=1)
    spread = Spread(
        of_seeds=float(differences.var(ddof=1)) / len(differences), of_problems=0.0, seeds=len(differences), problems=2
    )
    return Interval(float(differences.mean()) - spread.half(), float(differences.mean()) + spread.half())


def plain_hierarchical(before: Floats, after: Floats) -> Interval:
    """Percentiles of a bootstrap that draws seeds and problems, uncorrected."""
    differences = after - before
    seeds, problems = (draws(size) for size in differences.shape)
    low, high = np.quantile(((seeds @ differences) * problems).sum(axis=1), (0.025, 0.975))
    return Interval(float(low), float(high))


@cache
def draws(size: int) -> Floats:
    """Resamples of so many, as weights: the same in every trial."""
    return np.random.default_rng(size).multinomial(size, np.full(size, 1 / size), size=500) / size


METHODS: dict[str, Callable[[Floats, Floats], Interval]] = {
    "FLeX": ours,
    "problems only": problems_only,
    "seeds only": seeds_only,
    "plain bootstrap of both": plain_hierarchical,
}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table, row by row as they come."""
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |", flush=True)


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def coverage(trials: int) -> None:
    """Table: how often each method's interval holds the true difference."""

    def rows() -> Iterable[Sequence[object]]:
        for seeds, problems in ((3, 160), (5, 160), (8, 160), (8, 200), (3, 40)):
            for name, world in WORLDS.items():
                found: dict[str, list[Interval]] = {method: [] for method in METHODS}
                for pair in world.shifted(0.3).pairs(seeds, problems, trials):
                    for method, interval in METHODS.items():
                        found[method].append(interval(*pair))
                truth = world.shifted(0.3).difference()
                held = [np.mean([one.low <= truth <= one.high for one in own]) for own in found.values()]
                width = np.mean([one.high - one.low for one in found["FLeX"]])
                yield (seeds, problems, name, *(percent(float(share)) for share in held), percent(float(width)))

    table(("seeds", "problems", "differences", *METHODS, "width of FLeX's, points"), rows())


def false_positives(trials: int) -> None:
    """Table: how often something is found where nothing is, alone and in a family of five arms."""

    def rows() -> Iterable[Sequence[object]]:
        for seeds in (3, 8):
            for name, world in WORLDS.items():
                alone, family, plain = 0, 0, 0
                for outcomes in world.outcomes(seeds, 160, trials, arms=6, seed=3):
                    p = {str(arm): compare_arms(outcomes[0], outcomes[arm]).p_value for arm in range(1, 6)}
                    alone += p["1"] < 0.05
                    family += min(holm(p).values()) < 0.05
                    plain += min(p.values()) < 0.05
                yield (seeds, name, *(percent(count / trials) for count in (alone, family, plain)))

    table(("seeds", "differences", "one comparison", "any of five, Holm", "any of five, uncorrected"), rows())


def power(trials: int) -> None:
    """Table: what is called detectable, and how often it is found."""

    def rows() -> Iterable[Sequence[object]]:
        world = World(of_seed=0.15, of_problem=0.4)
        for seeds, problems, comparisons in (
            (3, 160, 1),
            (5, 160, 1),
            (8, 160, 1),
            (8, 200, 1),
            (8, 200, 2),
            (8, 200, 5),
        ):
            spreads = [spread_of(after - before) for before, after in world.pairs(seeds, problems, 400, seed=4)]
            usual = Spread(
                of_seeds=float(np.mean([one.of_seeds for one in spreads])),
                of_problems=float(np.mean([one.of_problems for one in spreads])),
                seeds=seeds,
                problems=problems,
            )
            claimed = usual.detectable(comparisons)
            pairs = world.shifted_to(claimed).pairs(seeds, problems, trials, seed=5)
            found = np.mean([compare_arms(*pair).p_value < 0.05 / comparisons for pair in pairs])
            yield seeds, problems, comparisons, percent(claimed), percent(float(found))

    table(("seeds", "problems", "comparisons", "detectable, points", "found"), rows())


def areas(trials: int) -> None:
    """Table: intervals of areas, and of the difference of two arms that are alike."""

    def rows() -> Iterable[Sequence[object]]:
        for seeds in (3, 8):
            covered, none, found = simulated_areas(seeds, trials, 500)
            yield seeds, percent(covered), percent(none), percent(found)

    table(("seeds", "area held", "no difference held", "difference found"), rows())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="simulated studies a row (areas: a quarter)")
    trials = parser.parse_args().trials
    coverage(trials)
    false_positives(trials)
    power(trials)
    areas(trials // 4)


if __name__ == "__main__":
    main()
