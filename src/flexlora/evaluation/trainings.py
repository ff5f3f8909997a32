"""How the trainings of a run's arms went, side by side: what `trainings.json` holds, from their logs alone.

The types below are the file, field by field. Only values that are finite count. Nothing is read between two
validations: a loss is reached at the first validation that is at or below it. One training an arm has no interval.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite, log, prod
from pathlib import Path
from typing import TypedDict

from flexlora.files import Record, read_appended

SCHEMA = 1


class Reached(TypedDict):
    """When a loss was reached."""

    step: int
    train_s: float | None
    """Seconds of training; None in logs without them."""


class Validation(TypedDict):
    """Of the validation loss."""

    best: float
    best_at: Reached
    """The first validation with it."""
    last: float
    last_step: int


class GradientNorm(TypedDict):
    """Of the gradient's norm before clipping, the penalty's gradient included, at the logged steps."""

    logged: int
    not_finite: int
    """Further logged values, which count for nothing below."""
    mean: float
    deviation: float
    """The standard deviation over the logged steps."""
    variation: float | None
    """The deviation over the mean; None where that is 0. It holds a slow drift too."""
    fluctuation: float | None
    """The mean of |ln(norm / norm logged before)|: 0.1 is 10 % up or down from one to the next, whatever the drift."""
    largest: float
    median: float


class Clipped(TypedDict):
    """Of the share of values that Sophia clipped, at the logged steps."""

    mean: float
    last: float


class EarlyStopping(TypedDict):
    """What `train.early_stopping` came to."""

    stopped_at: int
    """The last step."""
    early: bool
    """Whether that was before the planned end."""
    kept: int
    """The step whose adapter is the result."""


class Training(TypedDict):
    """One arm's training. What its log does not have is None; a validation loss is never made up from another."""

    arm: str
    steps: int
    """The last logged one."""
    train_s: float | None
    """Seconds of all steps; loading, validation and checkpoints are not in it."""
    s_per_step: float | None
    peak_memory_gb: float | None
    loss: float | None
    """The training loss, as last logged."""
    validation: Validation | None
    gradient_norm: GradientNorm | None
    clipped_fraction: Clipped | None
    early_stopping: EarlyStopping | None
    """Of a finished training that had it; None where the last adapter is the result."""
    reached: dict[str, Reached | None]
    """By every other arm with a validation loss: when this arm reached that one's best; None for never."""


class Trainings(TypedDict):
    """All arms of a run that have logged anything."""

    schema: int
    trainings: list[Training]


def read_logs(run_dir: Path, arms: Sequence[str]) -> dict[str, list[Record]]:
    """arm -> lines of its `train/log.jsonl`, in the order of steps; those without a step are left out.

    Raises:
        UsageError: a damaged line; names it.
    """
    return {arm: _in_order(read_appended(run_dir / arm / "train" / "log.jsonl")) for arm in arms}


def compare_trainings(logs: Mapping[str, Sequence[Record]]) -> Trainings:
    """The figures of every arm that has logged any.

    Args:
        logs: arm -> lines, as `read_logs` gives them.
    """
    validations = {arm: _validations(records) for arm, records in logs.items()}
    best = {arm: min(loss for loss, _ in found) for arm, found in validations.items() if found}
    return {
        "schema": SCHEMA,
        "trainings": [
            _training(arm, records, validations[arm], {other: loss for other, loss in best.items() if other != arm})
            for arm, records in logs.items()
            if records
        ],
    }


def parameters_of(adapter: Path) -> int | None:
    """How many values an adapter's file holds, from its header; None where there is no such file, or a damaged one."""
    weights = adapter / "adapter_model.safetensors"
    try:
        with weights.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, weights.stat().st_size)))
        shapes: list[list[int]] = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
        return sum(map(prod, shapes))
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return None


def first_at_or_below(loss: float, validations: Sequence[tuple[float, Reached]]) -> Reached | None:
    """When a training reached a validation loss.

    Args:
        loss: to be reached.
        validations: (loss, when) in the order of steps.
    """
    return next((when for found, when in validations if found <= loss), None)


def _training(
    arm: str, records: Sequence[Record], validations: Sequence[tuple[float, Reached]], others: Mapping[str, float]
) -> Training:
    steps = records[-1]["step"]
    train_s = max(_finite(records, "train_s"), default=None)
    return {
        "arm": arm,
        "steps": steps,
        "train_s": train_s,
        "s_per_step": train_s / steps if train_s is not None and steps else None,
        "peak_memory_gb": max(_finite(records, "peak_memory_gb"), default=None),
        "loss": next(reversed(_finite(records, "loss")), None),
        "validation": _validation(validations),
        "gradient_norm": _gradient_norm(records),
        "clipped_fraction": _clipped(_finite(records, "clipped_fraction")),
        "early_stopping": _early_stopping(records),
        "reached": {other: first_at_or_below(loss, validations) for other, loss in others.items()}
        if validations
        else {},
    }


def _validations(records: Sequence[Record]) -> list[tuple[float, Reached]]:
    return [
        (float(record["eval_loss"]), {"step": record["step"], "train_s": record.get("train_s")})
        for record in records
        if _is_finite(record.get("eval_loss"))
    ]


def _validation(validations: Sequence[tuple[float, Reached]]) -> Validation | None:
    if not validations:
        return None
    best, at = min(validations, key=lambda found: found[0])  # the first of equal ones
    last, last_at = validations[-1]
    return {"best": best, "best_at": at, "last": last, "last_step": last_at["step"]}


def _gradient_norm(records: Sequence[Record]) -> GradientNorm | None:
    norms = _finite(records, "grad_norm")
    if not norms:
        return None
    mean, deviation = statistics.fmean(norms), statistics.pstdev(norms)
    ratios = [abs(log(after / before)) for before, after in pairwise(norms) if before > 0 and after > 0]
    return {
        "logged": len(norms),
        "not_finite": sum(record.get("grad_norm") is not None for record in records) - len(norms),
        "mean": mean,
        "deviation": deviation,
        "variation": deviation / mean if mean else None,
        "fluctuation": statistics.fmean(ratios) if ratios else None,
        "largest": max(norms),
        "median": statistics.median(norms),
    }


def _clipped(fractions: Sequence[float]) -> Clipped | None:
    return {"mean": statistics.fmean(fractions), "last": fractions[-1]} if fractions else None


def _early_stopping(records: Sequence[Record]) -> EarlyStopping | None:
    last = records[-1]
    if "kept_step" not in last:
        return None
    return {"stopped_at": last["step"], "early": last["stopped_early"], "kept": last["kept_step"]}


def _in_order(records: Sequence[Record]) -> list[Record]:
    """By step: a training line, a validation, what early stopping kept; of two lines for one, the later counts."""
    found = {
        (record["step"], "kept_step" in record, "eval_loss" in record): record for record in records if "step" in record
    }
    return [found[key] for key in sorted(found)]


def _finite(records: Sequence[Record], name: str) -> list[float]:
    return [float(record[name]) for record in records if _is_finite(record.get(name))]


def _is_finite(value: float | None) -> bool:
    return value is not None and isfinite(value)
