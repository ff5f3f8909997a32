"""What `study.json` holds: the types below are the file, field by field.

All scores and differences are shares (0.33 is 33 %), all intervals 95 %, all paths relative to the study's folder. A
configuration is an arm at a grid point; its name is the arm's, then `key=value` for every key of the grid with the last
part of the key's name (all of it where two end alike): `factors`, `factors lam=0.02 targets=mlp`.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

SCHEMA = 1


class Bounds(TypedDict):
    """A 95 % interval."""

    low: float
    high: float


class Configuration(TypedDict):
    """One arm at one grid point."""

    name: str
    arm: str
    point: dict[str, Any]
    """Dotted key of the grid -> its value, or the value's name."""
    seeds: list[int]
    """Those that are finished."""
    unfinished: list[int]
    cells: dict[str, str]
    """Seed, as text -> the cell's run directory."""
    confirmatory: bool
    cost: NotRequired[Cost]


class Cost(TypedDict):
    """Of a configuration's finished cells, in the mean; None where it is not known."""

    trainable_parameters: int | None
    steps: int | None
    train_s: float | None
    peak_memory_gb: float | None
    validation_loss: float | None
    """The best one."""


class StudyScore(Bounds):
    """One configuration and variant on one task, over seeds and problems."""

    config: str
    """`base` for the model as it is, `baseline MODEL` for a baseline: those have one seed."""
    variant: str
    """`base`, `baseline`, `adapter`, `adapter@0.5`, `merged`."""
    task: str
    language: str
    k: int
    problems: int
    seeds: list[int]
    estimate: float
    per_seed: list[float]


class StudyComparison(Bounds):
    """One configuration minus another, paired by seed and problem."""

    config: str
    variant: str
    against: str
    """A configuration of the same variant, or `base`."""
    task: str
    language: str
    k: int
    problems: int
    seeds: list[int]
    """Those that both have."""
    difference: float
    per_seed: list[float]
    standard_error: float
    p_value: float
    p_corrected: float
    """By Holm over the comparisons of the same `family`."""
    method: str
    """What interval and p-value are from: over seeds and problems, or with one seed over problems only."""
    family: str
    """`primary`; else of what kind, against what, and where: `confirmatory against none: adapter tiny/A/java`."""
    detectable: float
    """The least true difference that is found in four of five times, with the family's correction."""
    gained: list[str]
    """Problems that more seeds solve (by more than half of the seeds) than against."""
    lost: list[str]


class Point(TypedDict):
    """One point of a trade-off curve: means over the tasks of each side, as changes from the base."""

    config: str
    variant: str
    gain: float
    gain_low: float
    gain_high: float
    retention: float
    retention_low: float
    retention_high: float


class Curve(TypedDict):
    """An arm's points: over the grid and over the adapter's strength."""

    arm: str
    """`ARM over BASE` where the study has several bases."""
    seeds: list[int]
    """Those that all its points have; with one, intervals are over problems only."""
    points: list[Point]
    front: list[list[float]]
    """(gain, retention) of the corners of the points' best trade-off, from no gain on; see `fronts.front_of`."""
    area: float
    """Under that front, above `Tradeoffs.reference`."""
    low: float
    high: float
    difference: NotRequired[AreaDifference]
    """From the first of `analysis.against`."""


class AreaDifference(Bounds):
    """Of two curves' areas, paired by seed and problem."""

    against: str
    seeds: list[int]
    """Those that both curves have."""
    difference: float
    p_value: float
    p_corrected: float
    """By Holm over the study's differences of areas."""


class Tradeoffs(TypedDict):
    """The trade-off of all arms."""

    gain: list[str]
    retention: list[str]
    reference: float
    """The change on the target side above which areas are counted: the worst that any arm's point shows, for all."""
    curves: list[Curve]


class Failure(TypedDict):
    """A cell that could not be finished."""

    cell: str
    error: str
    """Its last words."""
    log: str


class PaperRow(TypedDict):
    """A paper's figure beside the study's."""

    config: str
    measure: str
    variant: str
    paper: float
    ours: float | None
    low: float | None
    high: float | None
    note: str


class Findings(TypedDict):
    """Everything that a study shows."""

    schema: int
    name: str
    description: str
    model: str
    models: list[str]
    """All of them; several where the grid has the model."""
    plan: dict[str, Any]
    """The study as it was run: `study.yaml`."""
    keys: dict[str, str]
    """Dotted key of the grid -> the key in names."""
    configurations: list[Configuration]
    scores: list[StudyScore]
    comparisons: list[StudyComparison]
    """The primary ones first, then confirmatory, then exploratory."""
    tradeoffs: Tradeoffs | None
    paper: list[PaperRow]
    failures: list[Failure]
    unfinished_bases: list[str]
    """Without a base nothing is compared with it, and there is no trade-off curve over it."""
    cells: int
    finished: int
    provenance: dict[str, Any]
    """As of a run, of the first finished cell, with what differs between cells under `differs`."""
