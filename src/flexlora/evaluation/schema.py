"""What `summary.json` holds: the types below are the file, field by field.

All scores and differences are shares (0.33 is 33 %), all intervals 95 %, all paths relative to the run directory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from flexlora.errors import UsageError
from flexlora.evaluation.compare import Difference

SCHEMA = 1
PRIMARY, CONFIRMATORY, EXPLORATORY = KINDS = ("primary", "confirmatory", "exploratory")
"""Of a study's comparisons: the first two were fixed beforehand."""


class Bounds(TypedDict):
    """A 95 % interval."""

    low: float
    high: float


class PassAtK(Bounds):
    """One pass@k of one score."""

    estimate: float
    method: str
    """`wilson` (one sample per problem) or `bootstrap`."""
    bootstrap: NotRequired[Bounds]
    """The bootstrap interval beside Wilson's; only where `method` is `wilson`."""


class Share(Bounds):
    """A mean share over problems, with its bootstrap interval."""

    estimate: float


class Part(TypedDict):
    """A score on one part of a task's problems, e.g. on those of one difficulty."""

    problems: int
    pass_at_k: dict[str, PassAtK]
    tests_passed: NotRequired[Share]


class Side(TypedDict):
    """One side of a comparison; the task is the comparison's."""

    arm: str | None
    """None for the base and the baselines, which belong to no arm."""
    variant: str
    model: str
    """Path or hub name; of an arm, what its adapter is on."""


class Tested(TypedDict, total=False):
    """What only some tasks have."""

    tests_passed: Share
    """Which share of its test cases a sample passed, in the mean; only where programs have cases. `pass_at_k` is strict
    there: a sample passes if all its tests do."""
    parts: dict[str, Part]
    """The scores on each part of the problems, where the task has parts."""


class Score(Side, Tested):
    """One variant on one task."""

    task: str
    language: str
    problems: int
    samples_per_problem: int
    pass_at_k: dict[str, PassAtK]
    """By k, written as text since JSON has no other keys."""
    statuses: dict[str, int]
    """How many samples ended in each status, commonest first."""
    path: str
    """The folder with `samples.jsonl` and `results.jsonl`."""


class Comparison(Side):
    """`arm`/`variant` minus `against`, paired on the problems of `task`."""

    against: Side
    task: str
    language: str
    k: int
    difference: float
    low: float
    high: float
    p_value: float
    method: str
    """What `p_value` is from: `exact McNemar` or `paired bootstrap`; the interval is always from the latter."""
    gained: list[str]
    lost: list[str]


class Rate(Bounds):
    """A negative log-likelihood per token or character; less is likelier."""

    estimate: float


class RateDifference(Bounds):
    """The difference of two such rates; below 0 the side is likelier than what it is compared with."""

    difference: float


class LikelihoodScore(Side):
    """How likely one variant finds the held-out texts of one name."""

    task: str
    language: str
    functions: int
    """Texts that were scored."""
    cut: int
    """Of them, how many were longer than allowed and scored up to there."""
    left_out: int
    """Texts whose prompt alone is longer than allowed; not among `functions`."""
    tokens: int
    characters: int
    nats_per_token: Rate
    bits_per_character: Rate
    path: str
    """The folder with `likelihood.jsonl`."""


class LikelihoodComparison(Side):
    """`arm`/`variant` minus `against`, paired on the functions of `task`."""

    against: Side
    task: str
    language: str
    functions: int
    nats_per_token: RateDifference | None
    """None where the two sides' tokenizers cut the same functions differently."""
    bits_per_character: RateDifference
    p_value: float
    """Two-sided, for "no difference", paired bootstrap over functions."""
    likelier: int
    """Functions that this side finds likelier; those it finds less likely are the next."""
    less_likely: int


class Likelihoods(TypedDict):
    """All likelihoods of a run, and their comparisons."""

    scores: list[LikelihoodScore]
    comparisons: list[LikelihoodComparison]


class Selection(Side):
    """What a choice among the completions of one variant on one task is worth, beside pass@1 without it."""

    task: str
    language: str
    method: str
    """`codet`, `majority` or `logprob`."""
    estimate: float
    """pass@1 of a completion taken at random from those chosen; `low` and `high` are its interval (bootstrap)."""
    low: float
    high: float
    plain: float
    """pass@1 of a completion taken at random from all."""
    best: float
    """What no choice can exceed: the share of problems with a completion that passes."""
    difference: float
    difference_low: float
    difference_high: float
    p_value: float
    """Of the difference: paired bootstrap."""
    tokens: int
    """Cost: tokens that the model wrote as tests. `codet` and `majority` use the same."""
    tests: int
    """Cost: different tests, or inputs, over all problems."""
    programs: int
    """Cost: different programs that were run."""
    path: str
    """The folder with its files."""


class Repair(Side):
    """What second answers, after an error message, are worth; apart from pass@1, which knows nothing of them."""

    task: str
    language: str
    show: str
    """`errors`, or `all`: the tests were shown too."""
    attempted: int
    mended: int
    no_room: int
    """Those whose program and message did not fit the model's context; they count as not mended."""
    estimate: float
    """Share of completions that pass at the first or second attempt; `low` and `high` are its interval (bootstrap)."""
    low: float
    high: float
    plain: float
    """pass@1."""
    difference_low: float
    difference_high: float
    tokens: int
    """Cost: of the second answers."""
    programs: int
    path: str


class Summary(TypedDict):
    """All scores and comparisons of a run."""

    schema: int
    name: str
    scores: list[Score]
    comparisons: list[Comparison]
    likelihood: NotRequired[Likelihoods]
    """Only where the recipe names texts to measure."""
    selections: NotRequired[list[Selection]]
    """Only where the recipe has `selection`."""
    repairs: NotRequired[list[Repair]]
    """Only where the recipe has `repair`."""
    provenance: dict[str, Any]


def comparison_record(found: Difference, side: Side, against: Side, task: str, language: str, k: int) -> Comparison:
    """A comparison as `summary.json` holds it."""
    return {
        "arm": side["arm"],
        "variant": side["variant"],
        "model": side["model"],
        "against": {"arm": against["arm"], "variant": against["variant"], "model": against["model"]},
        "task": task,
        "language": language,
        "k": k,
        "difference": found.difference,
        "low": found.interval.low,
        "high": found.interval.high,
        "p_value": found.p_value,
        "method": found.method,
        "gained": list(found.gained),
        "lost": list(found.lost),
    }


def read_summary(run_dir: Path) -> Summary:
    """The run's `summary.json`.

    Raises:
        UsageError: no such file, or one of another schema.
    """
    path = run_dir / "summary.json"
    try:
        summary = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(f"{path}: not found. Is {run_dir} a run directory? `flexlora score` writes it.") from error
    except ValueError as error:
        raise UsageError(f"{path}: not valid JSON ({error}). `flexlora score` writes it anew.") from error
    schema = summary.get("schema") if isinstance(summary, dict) else None
    if schema != SCHEMA:
        raise UsageError(
            f"{path}: has schema {schema!r}, this version reads {SCHEMA}. Run `flexlora score` on {run_dir} to "
            "write it anew."
        )
    return cast(Summary, summary)
