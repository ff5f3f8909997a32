"""The adapters' spectra over training, from each arm's `train/spectrum.jsonl`; the template draws them.

All power is relative to white noise of the same shapes, on a logarithmic scale: 1 means no preference for a frequency,
and shrinking all weights alike changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log2
from pathlib import Path
from typing import Any

from flexlora.files import read_appended
from flexlora.report.curves import Curve, Panel

MOST_COLUMNS = 48
"""Of a heat map; more logged steps are thinned out evenly."""
STEPS_OF_COLOUR = 4
"""Colours on either side of white noise, each half a power of two: the last is four times, or a quarter, and beyond."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Power by step (columns) and band (rows, frequency rising upwards), against white noise."""

    arm: str
    title: str
    columns: int
    rows: int
    paths: list[tuple[int, str]]
    """(colour from 0 to 8, 4 is white noise; SVG path of its cells in a box of columns x rows)"""
    x_ticks: list[tuple[float, str]]
    """(percent, step)"""
    y_ticks: list[tuple[float, str]]
    """(percent from the top, frequency)"""
    threshold: float
    """Where tau stands, in percent from the top."""


@dataclass(frozen=True, slots=True)
class Change:
    """A factor's figures at the first logged step that has energy and at the last."""

    arm: str
    factor: str
    view: str
    tau: float
    steps: tuple[int, int]
    energy: tuple[float, float]
    share: tuple[float, float]
    noise_share: float
    centroid: tuple[float, float]
    noise_centroid: float


@dataclass(frozen=True, slots=True)
class TrainingSpectra:
    arms: list[str]
    changes: list[Change]
    panels: list[Panel]
    """The last spectra of all arms, one panel a factor."""
    maps: list[HeatMap]


def training_spectra(run_dir: Path, arms: Sequence[str]) -> TrainingSpectra:
    """What the page shows of all arms that logged spectra.

    Args:
        run_dir: the run.
        arms: all arms of the page, which number their colours.

    Raises:
        UsageError: a damaged line; names it.
    """
    return spectra_of({arm: usable(read_appended(run_dir / arm / "train" / "spectrum.jsonl")) for arm in arms})


def spectra_of(logs: Mapping[str, Sequence[Record]]) -> TrainingSpectra:
    """The same of logs.

    Args:
        logs: arm -> usable lines of its `spectrum.jsonl`; empty for one without.
    """
    factors = dict.fromkeys((log[-1]["view"], factor) for log in logs.values() if log for factor in log[-1]["bands"])
    several_views = len({view for view, _ in factors}) > 1
    titles = {key: f"{key[1]} (view {key[0]})" if several_views else key[1] for key in factors}
    return TrainingSpectra(
        arms=[arm for arm, log in logs.items() if log],
        changes=[change for arm, log in logs.items() for change in _changes(arm, log)],
        panels=[panel for key in factors if (panel := _panel(titles[key], *key, logs)) is not None],
        maps=[
            _heat_map(arm, titles[view, factor], factor, log)
            for view, factor in factors
            for arm, log in logs.items()
            if log and log[-1]["view"] == view
        ],
    )


def relative(record: Record, factor: str) -> list[float | None]:
    """Each band's share over white noise's; None where nothing falls, or the factor is all zero."""
    energy = record["energy"][factor]
    pairs = zip(record["bands"][factor], record["noise"][factor], strict=True)
    return [band / (energy * share) if energy and share else None for band, share in pairs]


def usable(log: Sequence[Record]) -> list[Record]:
    """Lines whose figures are all finite: those of a diverging training say nothing about frequencies."""
    return [record for record in log if all(map(isfinite, record["energy"].values()))]


def _changes(arm: str, log: Sequence[Record]) -> Iterator[Change]:
    for factor in log[-1]["bands"] if log else ():
        with_energy = [record for record in log if record["energy"][factor]]
        if not with_energy:
            continue
        first, last = with_energy[0], with_energy[-1]
        yield Change(
            arm=arm,
            factor=factor,
            view=last["view"],
            tau=last["tau"],
            steps=(first["step"], last["step"]),
            energy=(first["energy"][factor], last["energy"][factor]),
            share=(first["share"][factor], last["share"][factor]),
            noise_share=last["noise_share"][factor],
            centroid=(first["centroid"][factor], last["centroid"][factor]),
            noise_centroid=last["noise_centroid"][factor],
        )


def _panel(title: str, view: str, factor: str, logs: Mapping[str, Sequence[Record]]) -> Panel | None:
    shown = {
        arm: (index, log[-1])
        for index, (arm, log) in enumerate(logs.items())
        if log and log[-1]["view"] == view and log[-1]["energy"][factor]
    }
    if not shown:
        return None
    bands = {arm: relative(record, factor) for arm, (_, record) in shown.items()}
    # Never so narrow that noise looks like structure.
    values = [log2(value) for row in bands.values() for value in row if value]
    low, high = min([-1, *map(floor, values)]), max([1, *map(ceil, values)])

    def down(value: float) -> float:
        """Percent from the top; no power at all stands on the floor."""
        return 100 * (high - (log2(value) if value else low)) / (high - low)

    curves = []
    for arm, (index, record) in shown.items():
        width = 1000 / len(bands[arm])
        points = [
            f"{x:.1f},{10 * down(value):.1f}"
            for i, value in enumerate(bands[arm])
            if value is not None
            for x in (i * width, (i + 1) * width)
        ]
        curves.append(Curve(arm, index, " ".join(points), None, "", f"{100 * record['share'][factor]:.1f} % above tau"))
    taus = {record["tau"] for _, record in shown.values()}
    step = max(1, ceil((high - low) / 5))
    return Panel(
        title,
        [
            (100 * (high - power) / (high - low), _power(power))
            for power in range(ceil(low / step) * step, high + 1, step)
        ],
        _frequency_ticks(),
        curves,
        0,
        level=down(1),
        threshold=100 * taus.pop() if len(taus) == 1 else None,
    )


def _heat_map(arm: str, title: str, factor: str, log: Sequence[Record]) -> HeatMap:
    chosen = _thinned(log)
    rows = len(chosen[-1]["bands"][factor])
    cells: dict[int, list[str]] = {}
    for column, record in enumerate(chosen):
        for band, value in enumerate(relative(record, factor)):
            if value is not None:
                cells.setdefault(_colour(value), []).append(f"M{column} {rows - 1 - band}h1v1h-1z")
    ticks = range(0, len(chosen), max(1, ceil(len(chosen) / 5)))
    return HeatMap(
        arm=arm,
        title=title,
        columns=len(chosen),
        rows=rows,
        paths=[(colour, "".join(parts)) for colour, parts in sorted(cells.items())],
        x_ticks=[(100 * (i + 0.5) / len(chosen), f"{chosen[i]['step']:,}") for i in ticks],
        y_ticks=[(100 - at, label) for at, label in _frequency_ticks()],
        threshold=100 * (1 - chosen[-1]["tau"]),
    )


def _thinned(log: Sequence[Record]) -> list[Record]:
    """At most `MOST_COLUMNS` lines at even distance, the first and the last among them."""
    if len(log) <= MOST_COLUMNS:
        return list(log)
    return [log[round(i * (len(log) - 1) / (MOST_COLUMNS - 1))] for i in range(MOST_COLUMNS)]


def _colour(value: float) -> int:
    steps = round(2 * log2(value)) if value > 0 else -STEPS_OF_COLOUR
    return STEPS_OF_COLOUR + min(max(steps, -STEPS_OF_COLOUR), STEPS_OF_COLOUR)


def _frequency_ticks() -> list[tuple[float, str]]:
    return [(100 * f, f"{f:g}") for f in (0.0, 0.25, 0.5, 0.75, 1.0)]


def _power(exponent: int) -> str:
    return f"{2**exponent}" if exponent >= 0 else f"1/{2**-exponent}"
