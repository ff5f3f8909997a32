"""What a study's cells cost, and the figures of a paper beside the study's own."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flexlora.evaluation.trainings import Training, compare_trainings, parameters_of, read_logs
from flexlora.studies.comparing import score_of
from flexlora.studies.findings import Cost, PaperRow
from flexlora.studies.results import Results
from flexlora.studies.schema import PaperFigure, Study

OF_TRAINING = ("validation_loss", "train_minutes", "peak_memory_mb")
"""Measures of a paper that are none of a task."""


def training_of(run: Path, arm: str) -> Training | None:
    """How an arm's training in a run went, from its log; None where it logged nothing."""
    return next(iter(compare_trainings(read_logs(run, [arm]))["trainings"]), None)


def cost_of(runs: Sequence[Path], arm: str) -> Cost:
    """What the finished cells of a configuration cost, in the mean."""
    found = [training for run in runs if (training := training_of(run, arm))]
    parameters = [count for run in runs if (count := parameters_of(run / arm / "train" / "adapter")) is not None]
    steps, trainable = _mean([one["steps"] for one in found]), _mean(parameters)
    return {
        "trainable_parameters": None if trainable is None else round(trainable),
        "steps": None if steps is None else round(steps),
        "train_s": _mean([one["train_s"] for one in found]),
        "peak_memory_gb": _mean([one["peak_memory_gb"] for one in found]),
        "validation_loss": _mean([_best(one) for one in found]),
    }


def paper_rows(
    study: Study, results: Results, trained: Mapping[str, Sequence[Training]], models: Mapping[str, str]
) -> list[PaperRow]:
    """The paper's figures for configurations of its own model; none for any other model.

    Args:
        trained: configuration -> the trainings of its finished cells.
        models: configuration -> its model.
    """
    if study.paper is None or study.paper.model not in models.values():
        return []
    return [
        _paper_row(figure, results, trained.get(figure.config, ()))
        for figure in study.paper.figures
        if models.get(figure.config, study.paper.model) == study.paper.model
    ]


def _paper_row(figure: PaperFigure, results: Results, trained: Sequence[Training]) -> PaperRow:
    ours, low, high = _ours(figure, results, trained)
    return {
        "config": figure.config,
        "measure": figure.measure,
        "variant": figure.variant,
        "paper": figure.value,
        "ours": ours,
        "low": low,
        "high": high,
        "note": figure.note,
    }


def _ours(
    figure: PaperFigure, results: Results, trained: Sequence[Training]
) -> tuple[float | None, float | None, float | None]:
    """The study's own value in the paper's unit, with its interval; None where it is not known."""
    if figure.measure not in OF_TRAINING:
        origin = results.configurations.get(figure.config)
        of_base = origin is not None and origin.arm is None
        variant = next(iter(results.variants(figure.config)), "base") if of_base else figure.variant
        score = score_of(results, figure.config, variant, figure.measure, 1)
        if score is None:
            return None, None, None
        return 100 * score["estimate"], 100 * score["low"], 100 * score["high"]
    values = {
        "validation_loss": [_best(one) for one in trained],
        "train_minutes": [None if (s := one["train_s"]) is None else s / 60 for one in trained],
        "peak_memory_mb": [None if (gb := one["peak_memory_gb"]) is None else 1000 * gb for one in trained],
    }[figure.measure]
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return (known[0] if known else None), None, None
    mean, half = statistics.fmean(known), _t_half(known)
    return mean, mean - half, mean + half


def _t_half(values: Sequence[float]) -> float:
    """Half the 95 % interval of a mean over seeds."""
    from scipy.special import stdtrit

    return -float(stdtrit(len(values) - 1, 0.025)) * statistics.stdev(values) / math.sqrt(len(values))


def _best(training: Training) -> float | None:
    validation = training["validation"]
    return None if validation is None else validation["best"]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def differing(provenances: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """What differs between cells: dotted key -> value, as JSON -> names of the cells that have it.

    Args:
        provenances: cell -> provenance, without what is meant to differ.
    """
    flat = {cell: dict(_flat(values)) for cell, values in provenances.items()}
    found: dict[str, dict[str, list[str]]] = {}
    for key in dict.fromkeys(key for values in flat.values() for key in values):
        by_value: dict[str, list[str]] = {}
        for cell, values in flat.items():
            by_value.setdefault(json.dumps(values.get(key), sort_keys=True), []).append(cell)
        if len(by_value) > 1:
            found[key] = by_value
    return found


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        return [(name, value)]
    return [pair for key, inner in value.items() for pair in _flat(inner, f"{name}.{key}" if name else str(key))]
