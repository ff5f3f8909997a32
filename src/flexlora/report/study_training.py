"""Training curves and spectra of a study: for each configuration the mean over its seeds, and what they span."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from flexlora.evaluation.trainings import read_logs
from flexlora.files import Record, read_appended
from flexlora.report.curves import (
    OF_THE_PENALTY,
    VALIDATION,
    Curve,
    Panel,
    Point,
    in_order,
    nice,
    points_of,
    thin,
    x_ticks,
)
from flexlora.report.training_spectra import TrainingSpectra, spectra_of, usable

if TYPE_CHECKING:
    from flexlora.studies.findings import Configuration

METRICS = (
    ("loss", "Training loss"),
    ("eval_loss", VALIDATION),
    ("grad_norm", "Gradient norm"),
    ("penalty", "Penalty value"),
    ("high_frequency_share", "High-frequency share"),
)
"""(field of the log, title); all by step."""
Spectrum = Mapping[str, Any]
"""A line of `spectrum.jsonl`."""


def training_panels(folder: Path, configurations: Sequence[Configuration]) -> list[Panel]:
    """A panel for every metric that some cell has logged.

    Args:
        folder: the study.
        configurations: those to draw; their order numbers their colours.

    Raises:
        UsageError: a damaged line in a log; names it.
    """
    logs = {one["name"]: [_log(folder / cell, one["arm"]) for cell in one["cells"].values()] for one in configurations}
    drawn = []
    for name, title in METRICS:
        by_seed = {config: [points_of(log, name, "step") for log in of] for config, of in logs.items()}
        values = [value for of in by_seed.values() for points in of for _, value in points]
        if values and (name not in OF_THE_PENALTY or any(values)):
            panel = _panel(title, by_seed)
            drawn += [panel] if panel else []
    return drawn


def study_spectra(folder: Path, configurations: Sequence[Configuration]) -> TrainingSpectra:
    """The spectra of configurations, each the mean over its seeds at the steps that all of them logged."""
    logs = {}
    for one in configurations:
        cells = [folder / cell / one["arm"] / "train" / "spectrum.jsonl" for cell in one["cells"].values()]
        logs[one["name"]] = _mean_spectra([usable(read_appended(path)) for path in cells if path.exists()])
    return spectra_of(logs)


def _log(cell: Path, arm: str) -> list[Record]:
    return read_logs(cell, [arm])[arm]


def _panel(title: str, by_seed: Mapping[str, Sequence[Sequence[Point]]]) -> Panel | None:
    finite = {config: [in_order(points) for points in of if points] for config, of in by_seed.items()}
    every = [point for of in finite.values() for points in of for point in points]
    if not every:
        return None
    y_values = nice(min(value for _, value in every), max(value for _, value in every))
    bottom, top = y_values[0], y_values[-1]
    right = max(1.0, *(at for at, _ in every))

    def place(points: Iterable[Point]) -> str:
        return " ".join(f"{1000 * at / right:.1f},{1000 * (top - y) / (top - bottom):.1f}" for at, y in points)

    curves = []
    for index, (config, of) in enumerate(finite.items()):
        steps: dict[float, list[float]] = {}
        for points in of:
            for at, value in points:
                steps.setdefault(at, []).append(value)
        # Where some seeds have no value, the mean would jump by who is missing.
        whole = {at: found for at, found in sorted(steps.items()) if len(found) == len(of)}
        if whole:
            mean = [(at, fmean(found)) for at, found in whole.items()]
            low, high = (thin([(at, end(found)) for at, found in whole.items()]) for end in (min, max))
            curves.append(
                Curve(
                    config,
                    index,
                    place(thin(mean)),
                    None,
                    f"{mean[0][1]:.4g}",
                    f"{mean[-1][1]:.4g}",
                    band=place([*low, *reversed(high)]) if len(of) > 1 else "",
                )
            )
    logged = sum(len(points) for of in by_seed.values() for points in of)
    return Panel(
        title,
        [(100 * (top - y) / (top - bottom), f"{y:.4g}") for y in y_values],
        [(100 * x / right, f"{x:,.0f}") for x in x_ticks(0, right)],
        curves,
        logged - len(every),
        by="step",
    )


def _mean_spectra(logs: Sequence[Sequence[Spectrum]]) -> list[dict[str, Any]]:
    """Means over seeds, step by step; the first seed's view and threshold, which all share."""
    by_step = [{record["step"]: record for record in log} for log in logs]
    if not by_step:
        return []
    shared = [step for step in by_step[0] if all(step in log for log in by_step)]
    return [_mean_record([log[step] for log in by_step]) for step in shared]


def _mean_record(records: Sequence[Spectrum]) -> dict[str, Any]:
    first = records[0]
    factors = list(first["bands"])
    found = {factor: [r for r in records if r["energy"][factor]] for factor in factors}

    def mean(name: str, factor: str) -> float | None:
        return fmean(record[name][factor] for record in found[factor]) if found[factor] else None

    return {
        **first,
        "energy": {factor: fmean(record["energy"][factor] for record in records) for factor in factors},
        "bands": {
            factor: [fmean(values) for values in zip(*(r["bands"][factor] for r in records), strict=True)]
            for factor in factors
        },
        "share": {factor: mean("share", factor) or 0.0 for factor in factors},
        "centroid": {factor: mean("centroid", factor) for factor in factors},
    }
