"""Comparison of two finished runs, as `flexlora compare RUN_A RUN_B` shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flexlora.errors import FlexError, UsageError
from flexlora.evaluation.compare import compare
from flexlora.evaluation.holm import holm
from flexlora.evaluation.likelihood import compare_run_likelihoods
from flexlora.evaluation.results import TaskResults, read_results
from flexlora.evaluation.schema import Comparison, LikelihoodComparison, Score, Summary, comparison_record, read_summary

PairKey = tuple[str | None, str, str, str | None]
"""(arm, variant, task, model of a baseline): what makes entries of two runs a pair."""
NO_CONDITION = ("base_url", "batch_size", "source")
"""Provenance that no score depends on: how many at a time, and where the same data and models were found."""


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Run B minus run A on everything that both evaluated."""

    run_a: str
    run_b: str
    comparisons: list[Comparison]
    """`against` is the same arm and variant in run A."""
    problems: list[int]
    """How many problems each comparison is over."""
    p_corrected: list[float]
    """Each comparison's p-value, corrected for all of them by Holm."""
    only_in_a: list[str]
    """Entries that only run A has, as "arm/variant on task"."""
    only_in_b: list[str]
    likelihoods: list[LikelihoodComparison]
    """As `comparisons`, of the texts that both measured."""
    conditions: list[str]
    """What else differs between the runs and may be why their scores do: models, data, prompts, sampling."""

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values, for `flexlora compare --json`."""
        return asdict(self)


def compare_runs(run_a: Path, run_b: Path, *, seed: int = 0) -> RunComparison:
    """Compare what two runs share: equal arm, variant and task (and model, for baselines), B minus A.

    Raises:
        UsageError: a folder is no run, nothing pairs, a pair shares no k or no function, or is on different problems.
        FlexError: a run's results are incomplete or no longer those of its summary.
    """
    summary_a, summary_b = read_summary(run_a), read_summary(run_b)
    scores_a, scores_b = _scores(summary_a), _scores(summary_b)
    shared = [key for key in scores_a if key in scores_b]
    likelihoods = compare_run_likelihoods(run_a, run_b, summary_a, summary_b, seed=seed)
    if not shared and not likelihoods:
        raise UsageError(
            f"{run_a} and {run_b} share no arm, variant and task. The first has {_listed(scores_a)}; the second "
            f"has {_listed(scores_b)}. Evaluate the same tasks in both."
        )
    comparisons: list[Comparison] = []
    problems: list[int] = []
    for key in shared:
        found = _compare_pair(run_a, run_b, scores_a[key], scores_b[key], seed)
        comparisons += found
        problems += [scores_b[key]["problems"]] * len(found)
    return RunComparison(
        run_a=str(run_a),
        run_b=str(run_b),
        comparisons=comparisons,
        problems=problems,
        p_corrected=list(holm({str(number): one["p_value"] for number, one in enumerate(comparisons)}).values()),
        only_in_a=[_name(key) for key in scores_a if key not in scores_b],
        only_in_b=[_name(key) for key in scores_b if key not in scores_a],
        likelihoods=likelihoods,
        conditions=list(_conditions(summary_a, summary_b, shared, likelihoods)),
    )


def _compare_pair(run_a: Path, run_b: Path, before: Score, after: Score, seed: int) -> list[Comparison]:
    ks = [int(k) for k in before["pass_at_k"] if k in after["pass_at_k"]]
    if not ks:
        raise UsageError(
            f"{_name(_key(after))}: {run_a} has pass@{', '.join(before['pass_at_k'])}, {run_b} has "
            f"pass@{', '.join(after['pass_at_k'])}. Score both with a k in common."
        )
    old, new = scored_results(run_a, before), scored_results(run_b, after)
    return [
        comparison_record(compare(old, new, k=k, seed=seed), after, before, after["task"], after["language"], k)
        for k in ks
    ]


def scored_results(run: Path, score: Score) -> TaskResults:
    """The verdicts that a score of a run's summary is made of.

    Raises:
        FlexError: they are incomplete, or no longer those of the summary.
    """
    path = run / score["path"] / "results.jsonl"
    results = read_results(path)
    found = (len(results.passes), results.samples_per_problem, dict(results.statuses))
    if found != (score["problems"], score["samples_per_problem"], score["statuses"]):
        raise FlexError(
            f"{path}: changed since {run / 'summary.json'} was written ({found[0]} problems, {found[1]} samples each, "
            f"{found[2]}). Run `flexlora score` on {run} again."
        )
    return results


def _scores(summary: Summary) -> dict[PairKey, Score]:
    return {_key(score): score for score in summary["scores"]}


def _conditions(
    summary_a: Summary, summary_b: Summary, shared: Sequence[PairKey], likelihoods: Sequence[LikelihoodComparison]
) -> Iterator[str]:
    """What the two runs' provenance says differently about what they share."""
    models = [
        {score["model"] for score in summary["scores"]}
        | {score["model"] for score in (summary["likelihood"]["scores"] if "likelihood" in summary else ())}
        for summary in (summary_a, summary_b)
    ]
    if models[0] != models[1]:
        yield f"model: {', '.join(sorted(models[0]))} in A, {', '.join(sorted(models[1]))} in B"
    a, b = summary_a["provenance"], summary_b["provenance"]
    for part in ("sampling", "seed", "engine", "prompting"):
        yield from _differing(part, a.get(part), b.get(part))
    if likelihoods:
        for option in ("conditional", "max_length"):
            yield from _differing(f"likelihood.{option}", a["likelihood"][option], b["likelihood"][option])
        for name in dict.fromkeys(one["task"] for one in likelihoods):
            yield from _differing(name, a["likelihood"]["texts"].get(name), b["likelihood"]["texts"].get(name))
    for task in dict.fromkeys(task for _, _, task, _ in shared):
        yield from _differing(task, a.get("tasks", {}).get(task), b.get("tasks", {}).get(task))


def _differing(name: str, a: Any, b: Any) -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            if key not in NO_CONDITION:
                yield from _differing(f"{name}.{key}", a.get(key), b.get(key))
    elif a != b:
        yield f"{name}: {a!r} in A, {b!r} in B"


def _key(score: Score) -> PairKey:
    return (
        score["arm"],
        score["variant"],
        score["task"],
        score["model"] if score["variant"] == "baseline" else None,
    )


def _name(key: PairKey) -> str:
    arm, variant, task, model = key
    return f"{arm}/{variant} on {task}" if arm else f"{variant}{f' {model}' if model else ''} on {task}"


def _listed(scores: dict[PairKey, Score]) -> str:
    return ", ".join(_name(key) for key in scores) or "nothing"
