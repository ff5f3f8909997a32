"""Scores and paired comparisons of likelihoods: from each function's negative log-likelihood to `summary.json`.

A rate is the sum over all functions by the number of their tokens or characters, so that long functions count for more,
as in a loss or a perplexity. Functions are what is resampled for intervals. How many functions are likelier stands
beside each difference, as that counts every function once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Protocol

from flexlora.errors import FlexError, UsageError
from flexlora.evaluation.intervals import ratio_bootstrap
from flexlora.evaluation.results import name_some
from flexlora.evaluation.schema import (
    LikelihoodComparison,
    Likelihoods,
    LikelihoodScore,
    Rate,
    RateDifference,
    Side,
    Summary,
)
from flexlora.evaluation.summary import Evaluated, pairs, refuse_twins
from flexlora.files import read_appended

BIT = log(2)
"""In nats."""
FILE = "likelihood.jsonl"


class Function(Protocol):
    """What a model makes of one text: as recorded in a file, or `flexlora.likelihood.Measured`."""

    @property
    def tokens(self) -> int:
        """That were scored."""

    @property
    def characters(self) -> int:
        """That those tokens stand for."""

    @property
    def nll(self) -> float:
        """Sum of their negative log-likelihoods, in nats."""

    @property
    def cut(self) -> bool:
        """Whether its end was not scored."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A function of a file."""

    tokens: int
    characters: int
    nll: float
    cut: bool


Functions = Mapping[str, Function]
"""task_id -> function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodEntry(Evaluated):
    """One variant on texts of one name: what to score and where its `likelihood.jsonl` lies."""

    expected: frozenset[str]
    """The texts that the recipe asks for."""


def read_likelihoods(path: Path, expected: frozenset[str]) -> dict[str, Recorded]:
    """The functions in `path` that are `expected`, sorted; others may be there, from before a limit was lowered.

    Raises:
        FlexError: some are missing; names them.
        UsageError: the file is damaged.
    """
    found = {record["task_id"]: record for record in read_appended(path)}
    if missing := sorted(expected - found.keys()):
        raise FlexError(
            f"{path}: {len(missing)} of {len(expected)} likelihoods are missing ({name_some(missing)}). "
            "`flexlora likelihood` on this run measures what is missing."
        )
    return {
        task_id: Recorded(
            found[task_id]["tokens"], found[task_id]["characters"], found[task_id]["nll"], found[task_id]["cut"]
        )
        for task_id in sorted(expected)
    }


def score_likelihoods(run_dir: Path, entries: Sequence[LikelihoodEntry], *, seed: int = 0) -> Likelihoods:
    """Score all `entries` of a run, and compare the pairs that `score_run` compares.

    Raises:
        FlexError: likelihoods are missing.
        UsageError: an entry listed twice, texts none of which could be scored, or sides that share no function.
    """
    refuse_twins(entries)
    functions = {entry: read_likelihoods(run_dir / entry.path / FILE, entry.expected) for entry in entries}
    return {
        "scores": [_score(entry, functions[entry], seed) for entry in entries],
        "comparisons": [
            compare_functions(
                functions[before], functions[after], _side(after), _side(before), after.task, after.language, seed=seed
            )
            for before, after in pairs(entries)
        ],
    }


def _side(entry: Evaluated) -> Side:
    return {"arm": entry.arm, "variant": entry.variant, "model": entry.model}


def _score(entry: LikelihoodEntry, functions: Functions, seed: int) -> LikelihoodScore:
    scored = [function for function in functions.values() if function.tokens]
    if not scored:
        raise UsageError(
            f"{entry.task}: none of its {len(functions)} texts could be scored, as their prompts alone fill "
            "likelihood.max_length; raise it, or set likelihood.conditional=false."
        )
    return {
        **_side(entry),
        "task": entry.task,
        "language": entry.language,
        "functions": len(scored),
        "cut": sum(function.cut for function in scored),
        "left_out": len(functions) - len(scored),
        "tokens": sum(function.tokens for function in scored),
        "characters": sum(function.characters for function in scored),
        "nats_per_token": _rate([f.nll for f in scored], [f.tokens for f in scored], seed),
        "bits_per_character": _rate([f.nll / BIT for f in scored], [f.characters for f in scored], seed),
        "path": entry.path,
    }


def compare_functions(
    before: Functions, after: Functions, side: Side, against: Side, task: str, language: str, *, seed: int = 0
) -> LikelihoodComparison:
    """`after` minus `before`, paired on the functions that both scored to the same end.

    Raises:
        UsageError: there are none.
    """
    same_tokens = all(after[i].tokens == before[i].tokens for i in before if i in after)
    shared = [
        task_id
        for task_id, old in before.items()
        if (new := after.get(task_id)) and old.tokens and new.tokens and (same_tokens or not (old.cut or new.cut))
    ]
    if not shared:
        raise UsageError(
            f"{task}: the sides have no function in common that both scored to the same end ({len(before)} and "
            f"{len(after)} functions); raise likelihood.max_length, or measure the same texts on both."
        )
    differences = [after[i].nll - before[i].nll for i in shared]
    tokens, p_value = _difference(differences, [before[i].tokens for i in shared], seed)
    characters, _ = _difference([d / BIT for d in differences], [before[i].characters for i in shared], seed)
    return {
        **side,
        "against": against,
        "task": task,
        "language": language,
        "functions": len(shared),
        "nats_per_token": tokens if same_tokens else None,
        "bits_per_character": characters,
        "p_value": p_value,
        "likelier": sum(d < 0 for d in differences),
        "less_likely": sum(d > 0 for d in differences),
    }


def compare_run_likelihoods(
    run_a: Path, run_b: Path, summary_a: Summary, summary_b: Summary, *, seed: int = 0
) -> list[LikelihoodComparison]:
    """Run B minus run A on the texts that both measured: equal arm, variant and name (and model, for baselines).

    Raises:
        UsageError: a pair shares no functions.
    """
    scores_a, scores_b = (
        {_key(score): score for score in summary.get("likelihood", _NONE)["scores"]}
        for summary in (summary_a, summary_b)
    )
    return [
        compare_functions(
            _all_functions(run_a, before),
            _all_functions(run_b, scores_b[key]),
            _side_of(scores_b[key]),
            _side_of(before),
            before["task"],
            before["language"],
            seed=seed,
        )
        for key, before in scores_a.items()
        if key in scores_b
    ]


_NONE: Likelihoods = {"scores": [], "comparisons": []}


def _key(score: LikelihoodScore) -> tuple[str | None, ...]:
    return score["arm"], score["variant"], score["task"], score["model"] if score["variant"] == "baseline" else None


def _side_of(score: LikelihoodScore) -> Side:
    return {"arm": score["arm"], "variant": score["variant"], "model": score["model"]}


def _all_functions(run: Path, score: LikelihoodScore) -> Functions:
    path = run / score["path"] / FILE
    return read_likelihoods(path, frozenset(record["task_id"] for record in read_appended(path)))


def _rate(nll: Sequence[float], per: Sequence[int], seed: int) -> Rate:
    interval, _ = ratio_bootstrap(nll, per, seed=seed)
    return {"estimate": sum(nll) / sum(per), "low": interval.low, "high": interval.high}


def _difference(differences: Sequence[float], per: Sequence[int], seed: int) -> tuple[RateDifference, float]:
    interval, p_value = ratio_bootstrap(differences, per, seed=seed)
    return {"difference": sum(differences) / sum(per), "low": interval.low, "high": interval.high}, p_value
