"""A study's scores, and the comparisons that were fixed beforehand, from its answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from flexlora.errors import UsageError
from flexlora.evaluation.holm import holm
from flexlora.evaluation.schema import KINDS, PRIMARY
from flexlora.studies.cells import BASE
from flexlora.studies.findings import StudyComparison, StudyScore
from flexlora.studies.results import Answers, Results
from flexlora.studies.schema import Analysis, Primary, Study
from flexlora.studies.statistics import Spread, compare_arms, mean_score


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One comparison that is to be made."""

    config: str
    against: str
    variant: str
    task: str
    kind: str

    @property
    def family(self) -> str:
        """What it is corrected together with."""
        return self.kind if self.kind == PRIMARY else f"{self.kind} against {self.against}: {self.variant} {self.task}"


def scores_of(results: Results, k: int) -> list[StudyScore]:
    """Every configuration and variant on every task, over the seeds that are there."""
    return [_score(results, key, k) for key in results.answers]


def score_of(results: Results, config: str, variant: str, task: str, k: int) -> StudyScore | None:
    """One of them; None where there are no answers."""
    key = (config, variant, task)
    return _score(results, key, k) if key in results.answers else None


def comparisons_of(results: Results, study: Study) -> list[StudyComparison]:
    """Every comparison of the study's plan for which both sides have a seed in common: primary ones first.

    P-values are corrected over those of a family that are there; of a study that is not finished they may change.

    Raises:
        UsageError: the plan names a configuration that the study does not have.
    """
    pairs = _each_once(sorted(_pairs(results, study), key=lambda pair: KINDS.index(pair.kind)))
    found = [made for pair in pairs if (made := _comparison(results, pair, study.analysis.k)) is not None]
    families: dict[str, list[tuple[StudyComparison, Spread]]] = {}
    for made in found:
        families.setdefault(made[0]["family"], []).append(made)
    for family in families.values():
        corrected = holm({str(number): comparison["p_value"] for number, (comparison, _) in enumerate(family)})
        for (comparison, spread), p_corrected in zip(family, corrected.values(), strict=True):
            comparison["p_corrected"] = p_corrected
            comparison["detectable"] = spread.detectable(len(family))
    return [comparison for comparison, _ in found]


def _each_once(pairs: Iterable[Pair]) -> list[Pair]:
    """Pairs without those that are an earlier one the other way round."""
    first: dict[tuple[frozenset[str], str, str], Pair] = {}
    for pair in pairs:
        first.setdefault((frozenset((pair.config, pair.against)), pair.variant, pair.task), pair)
    return list(first.values())


def rivals_of(results: Results, analysis: Analysis, config: str) -> list[str]:
    """The configurations over the same base that one is compared with, besides the base.

    Another base is another model, or another way to ask it. An arm's name stands for its configuration with the same
    values of the grid, where both have a key. None named means the first arm.
    """
    own = results.configurations[config]
    rivals = []
    for name in analysis.against or (first_arm(results),):
        if name in results.configurations:
            rivals.append(name)
            continue
        rivals += [
            other
            for other, origin in results.configurations.items()
            if origin.arm == name and all(own.point.get(key, value) == value for key, value in origin.point.items())
        ]
    others = [name for name in dict.fromkeys(rivals) if name not in (config, own.base)]
    return [name for name in others if results.configurations[name].base == own.base]


def first_arm(results: Results) -> str:
    """The study's first arm."""
    return next(origin.arm for origin in results.configurations.values() if origin.arm is not None)


def _pairs(results: Results, study: Study) -> Iterator[Pair]:
    analysis = study.analysis
    trained = [name for name, origin in results.configurations.items() if origin.arm is not None]
    if trained:
        _refuse_unknown(results, study)
    first = analysis.primary
    for config in trained:
        base, rivals = results.configurations[config].base, rivals_of(results, analysis, config)
        usual = [base, *rivals]
        planned = [*rivals, *([base] if {BASE, base} & set(analysis.against) else [])]
        special = [first.against] if first and first.config == config and first.against not in usual else []
        for against, variant, task in product([*usual, *special], results.variants(config), results.tasks):
            kind = "confirmatory" if config in analysis.confirmatory and against in planned else "exploratory"
            pair = Pair(config=config, against=against, variant=variant, task=task, kind=kind)
            if first and _is_primary(pair, first):
                yield replace(pair, kind=PRIMARY)
            elif against in usual:
                yield pair


def _is_primary(pair: Pair, first: Primary) -> bool:
    same = (pair.config, pair.against, pair.variant) == (first.config, first.against, first.variant)
    return same and pair.task in first.tasks


def _comparison(results: Results, pair: Pair, k: int) -> tuple[StudyComparison, Spread] | None:
    """A comparison without what its family says, and the spread of its difference; None without a common seed."""
    after = results.of(pair.config, pair.variant, pair.task)
    is_base = pair.against == results.configurations[pair.config].base
    before = results.of(pair.against, "base" if is_base else pair.variant, pair.task)
    if after is None or before is None:
        return None
    seeds = sorted(after.passes if is_base else set(after.passes) & set(before.passes))
    if not seeds:
        return None
    # The base has one seed, its own, that every seed is paired with.
    others = sorted(before.passes) if is_base else seeds
    old, new = before.values(others, k), after.values(seeds, k)
    found = compare_arms(old, new)
    task = results.tasks[pair.task]
    gained, lost = _flipped(task.problems, before, others, after, seeds)
    comparison: StudyComparison = {
        "config": pair.config,
        "variant": pair.variant,
        "against": pair.against,
        "task": pair.task,
        "language": task.language,
        "k": k,
        "problems": len(task.problems),
        "seeds": seeds,
        "difference": found.difference,
        "low": found.interval.low,
        "high": found.interval.high,
        "per_seed": (new - old).mean(axis=1).tolist(),
        "standard_error": found.spread.standard_error,
        "p_value": found.p_value,
        "p_corrected": found.p_value,
        "method": found.method,
        "family": pair.family,
        "detectable": 1.0,
        "gained": gained,
        "lost": lost,
    }
    return comparison, found.spread


def _flipped(
    problems: Sequence[str], before: Answers, old: Sequence[int], after: Answers, new: Sequence[int]
) -> tuple[list[str], list[str]]:
    change = after.solved(new).mean(axis=0) - before.solved(old).mean(axis=0)
    gained = [problem for problem, by in zip(problems, change, strict=True) if by > 0.5]
    lost = [problem for problem, by in zip(problems, change, strict=True) if by < -0.5]
    return gained, lost


def _score(results: Results, key: tuple[str, str, str], k: int) -> StudyScore:
    config, variant, task = key
    answers, problems = results.answers[key], results.tasks[task]
    seeds = sorted(answers.passes)
    values = answers.values(seeds, k)
    mean = mean_score(values)
    return {
        "config": config,
        "variant": variant,
        "task": task,
        "language": problems.language,
        "k": k,
        "problems": len(problems.problems),
        "seeds": seeds,
        "estimate": mean.estimate,
        "low": mean.interval.low,
        "high": mean.interval.high,
        "per_seed": values.mean(axis=1).tolist(),
    }


def _refuse_unknown(results: Results, study: Study) -> None:
    analysis, known = study.analysis, results.configurations
    others = {BASE, *(origin.base for origin in known.values()), *(origin.arm for origin in known.values())}
    wanted = {"analysis.against": [name for name in analysis.against if name not in others]}
    wanted["analysis.confirmatory"] = list(analysis.confirmatory)
    if analysis.primary:
        wanted["analysis.primary"] = [analysis.primary.config, analysis.primary.against]
    unknown = [f"{key}: {name!r}" for key, names in wanted.items() for name in names if name not in known]
    if (first := analysis.primary) and results.tasks:
        unknown += [f"analysis.primary.tasks: {name!r}" for name in first.tasks if name not in results.tasks]
    if unknown:
        raise UsageError(
            f"study {study.name}: no such configuration or task: {'; '.join(unknown)}. There are the configurations "
            f"{', '.join(repr(name) for name, origin in known.items() if origin.arm is not None)}, and the tasks "
            f"{', '.join(map(repr, results.tasks))}."
        )
    if first and known[first.config].base != known[first.against].base:
        raise UsageError(
            f"study {study.name}: analysis.primary compares {first.config!r} over {known[first.config].base} with "
            f"{first.against!r} over {known[first.against].base}: another model, or another way to ask it. Compare two "
            "configurations over one base."
        )
