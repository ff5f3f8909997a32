"""What a run cost: each arm's training, and the programs of everything that was evaluated, from the run's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flexlora.evaluation.schema import Summary
from flexlora.evaluation.trainings import Training, parameters_of
from flexlora.files import read_appended
from flexlora.report.words import score_name

NOTE = (
    "Time of training is that of optimizer steps, without loading, validation and checkpoints. Time of programs is "
    "that of all of them, one after another, compilation included; several run at once, and a verdict from the cache "
    "counts with the time that it took when it was made."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCost:
    """Of one arm; None where its files do not say."""

    arm: str
    parameters: int | None
    """Values that the adapter holds."""
    steps: int
    train_s: float | None
    s_per_step: float | None
    peak_memory_gb: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramCost:
    """Of one variant's programs, on all tasks."""

    name: str
    programs: int
    cached: int
    wall_s: float
    cpu_s: float


def training_costs(run_dir: Path, trainings: Sequence[Training]) -> list[TrainingCost]:
    """A line for each arm that logged a training."""
    return [
        TrainingCost(
            arm=one["arm"],
            parameters=parameters_of(run_dir / one["arm"] / "train" / "adapter"),
            steps=one["steps"],
            train_s=one["train_s"],
            s_per_step=one["s_per_step"],
            peak_memory_gb=one["peak_memory_gb"],
        )
        for one in trainings
    ]


def program_costs(run_dir: Path, summary: Summary) -> list[ProgramCost]:
    """A line for each variant, in the order of the scores.

    Raises:
        UsageError: a damaged line of `results.jsonl`; names it.
    """
    records: dict[str, list[tuple[bool, float, float]]] = {}
    for score in summary["scores"]:
        records.setdefault(score_name(score, summary["scores"]), []).extend(
            (bool(one.get("cached")), float(one.get("wall_s") or 0), float(one.get("cpu_s") or 0))
            for one in read_appended(run_dir / score["path"] / "results.jsonl")
        )
    return [
        ProgramCost(
            name=name,
            programs=len(found),
            cached=sum(cached for cached, _, _ in found),
            wall_s=sum(wall for _, wall, _ in found),
            cpu_s=sum(cpu for _, _, cpu in found),
        )
        for name, found in records.items()
    ]
