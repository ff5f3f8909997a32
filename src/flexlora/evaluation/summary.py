"""A run's `summary.json` from its results: every score, and every comparison that the run was made for.

Compared are, on each task and for each k: every baseline with the base, every variant of every arm with the base and
with each baseline, and every later arm's variant with the first arm's same variant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from flexlora.errors import UsageError
from flexlora.evaluation.compare import compare
from flexlora.evaluation.results import Key, TaskResults, read_results
from flexlora.evaluation.schema import (
    SCHEMA,
    Comparison,
    Likelihoods,
    Part,
    PassAtK,
    Score,
    Share,
    Side,
    Summary,
    comparison_record,
)
from flexlora.evaluation.score import Estimate, mean_share, score

E = TypeVar("E", bound="Evaluated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One variant on one task or on texts of one name, and where its files lie."""

    arm: str | None
    """None for the base and the baselines."""
    variant: str
    """`base`, `adapter`, `merged` or `baseline`."""
    model: str
    task: str
    language: str
    path: str
    """The folder with its files, relative to the run directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Evaluated):
    """One variant on one task: what to score and where its `results.jsonl` lies."""

    expected: frozenset[Key]
    """The (task_id, sample) keys that the recipe asks for."""
    parts: Mapping[str, str] = field(default_factory=dict, compare=False)
    """task_id -> the part of the task that it belongs to, e.g. its difficulty; empty where there are no parts."""


def score_run(
    run_dir: Path,
    entries: Sequence[Entry],
    ks: Sequence[int],
    *,
    name: str,
    provenance: Mapping[str, Any],
    likelihood: Likelihoods | None = None,
    seed: int = 0,
) -> Summary:
    """Score all `entries` of a run and compare arms with the base and with the first arm.

    Args:
        entries: in the order in which reports show them; the first arm met is the one later arms are compared with.
        ks: the k of pass@k, each at most the number of samples per problem.
        likelihood: of held-out texts, by `score_likelihoods`; there may be no entries then.
        seed: of the bootstrap; equal results and seed give an equal summary.

    Raises:
        FlexError: results missing, unexpected or without verdict.
        UsageError: k too great, an entry listed twice, several bases for one task, or sides that do not share
            their problems.
    """
    if not (entries or likelihood) or not ks:
        raise UsageError(f"{run_dir}: nothing to score ({len(entries)} entries, k in {list(ks)}).")
    refuse_twins(entries)
    results = {entry: read_results(run_dir / entry.path / "results.jsonl", entry.expected) for entry in entries}
    summary: Summary = {
        "schema": SCHEMA,
        "name": name,
        "scores": [_score(entry, results[entry], ks, seed) for entry in entries],
        "comparisons": [_comparison(before, after, results, k, seed) for before, after in pairs(entries) for k in ks],
        "provenance": dict(provenance),
    }
    return summary if likelihood is None else {**summary, "likelihood": likelihood}


def _score(entry: Entry, results: TaskResults, ks: Sequence[int], seed: int) -> Score:
    scored = score(results, ks, seed=seed)
    record: Score = {
        "arm": entry.arm,
        "variant": entry.variant,
        "model": entry.model,
        "task": entry.task,
        "language": entry.language,
        "problems": scored.problems,
        "samples_per_problem": scored.samples_per_problem,
        "pass_at_k": {str(k): _pass_at_k(estimate) for k, estimate in scored.pass_at_k.items()},
        "statuses": dict(scored.statuses),
        "path": entry.path,
    }
    if results.shares:
        record["tests_passed"] = _share(results, seed)
    if entry.parts:
        parts = dict.fromkeys(entry.parts.values())
        record["parts"] = {part: _part(_only(results, entry.parts, part), ks, seed) for part in parts}
    return record


def _part(results: TaskResults, ks: Sequence[int], seed: int) -> Part:
    scored = score(results, ks, seed=seed)
    record: Part = {
        "problems": scored.problems,
        "pass_at_k": {str(k): _pass_at_k(estimate) for k, estimate in scored.pass_at_k.items()},
    }
    if results.shares:
        record["tests_passed"] = _share(results, seed)
    return record


def _only(results: TaskResults, parts: Mapping[str, str], part: str) -> TaskResults:
    """The results on one part's problems, without the statuses, which are counted for all."""
    passes = {task_id: passed for task_id, passed in results.passes.items() if parts[task_id] == part}
    shares = {task_id: share for task_id, share in results.shares.items() if parts[task_id] == part}
    return TaskResults(results.samples_per_problem, passes, {}, shares)


def _share(results: TaskResults, seed: int) -> Share:
    mean = mean_share(results, seed=seed)
    return {"estimate": mean.estimate, "low": mean.interval.low, "high": mean.interval.high}


def _comparison(before: Entry, after: Entry, results: Mapping[Entry, TaskResults], k: int, seed: int) -> Comparison:
    against: Side = {"arm": before.arm, "variant": before.variant, "model": before.model}
    side: Side = {"arm": after.arm, "variant": after.variant, "model": after.model}
    found = compare(results[before], results[after], k=k, seed=seed)
    return comparison_record(found, side, against, after.task, after.language, k)


def _pass_at_k(estimate: Estimate) -> PassAtK:
    record: PassAtK = {
        "estimate": estimate.estimate,
        "low": estimate.interval.low,
        "high": estimate.interval.high,
        "method": estimate.method,
    }
    if estimate.bootstrap is not None:
        record["bootstrap"] = {"low": estimate.bootstrap.low, "high": estimate.bootstrap.high}
    return record


def pairs(entries: Sequence[E]) -> Iterator[tuple[E, E]]:
    """(before, after) for every comparison, in the order of `entries`."""
    first_arm = next((entry.arm for entry in entries if entry.arm is not None), None)
    bases = {entry.task: entry for entry in entries if entry.variant == "base"}
    firsts = {(entry.variant, entry.task): entry for entry in entries if entry.arm == first_arm}
    baselines = [entry for entry in entries if entry.variant == "baseline"]
    for entry in entries:
        if entry.variant == "base":
            continue
        if base := bases.get(entry.task):
            yield base, entry
        if entry.arm is None:
            continue
        yield from ((baseline, entry) for baseline in baselines if baseline.task == entry.task)
        if entry.arm != first_arm and (first := firsts.get((entry.variant, entry.task))):
            yield first, entry


def refuse_twins(entries: Sequence[Evaluated]) -> None:
    seen: set[tuple[str | None, ...]] = set()
    for entry in entries:
        # Several baselines differ in their model; nothing else may occur twice on a task.
        model = entry.model if entry.variant == "baseline" else None
        key = (entry.arm, entry.variant, model, entry.task)
        if key in seen:
            raise UsageError(
                f"Arm {entry.arm}, variant {entry.variant}, task {entry.task} is listed twice to be scored "
                f"(the second time in {entry.path}); each may stand there once."
            )
        seen.add(key)
