"""Training curves from each arm's `train/log.jsonl`: read, thinned out and placed; the template draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from pathlib import Path

from flexlora.files import read_appended

METRICS = {
    "loss": "Training loss",
    "eval_loss": "Validation loss",
    "penalty": "Penalty value",
    "lam": "Penalty strength (lambda)",
    "high_frequency_share": "High-frequency share",
    "grad_norm": "Gradient norm",
    "clipped_fraction": "Clipped fraction (Sophia)",
    "learning_rate": "Learning rate",
}
MOST_POINTS = 600
"""Per curve; a plot is hardly more pixels wide."""

Point = tuple[float, float]
"""(step, value)"""


@dataclass(frozen=True, slots=True)
class Curve:
    arm: str
    index: int
    """The arm's number, which chooses its colour and dashes."""
    points: str
    """For an SVG polyline in a box of 1000 x 1000."""
    single: Point | None
    """Where the curve is one point only, its place in that box."""
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One metric for all arms."""

    title: str
    y_ticks: list[tuple[float, str]]
    """(percent of the height from the top, label)"""
    x_ticks: list[tuple[float, str]]
    curves: list[Curve]
    not_finite: int
    """Logged values that are NaN, infinite or beyond 1e100 and so cannot be drawn."""
    level: float | None = None
    """Where a horizontal reference line stands, in percent from the top."""
    threshold: float | None = None
    """Where a vertical line stands, in percent from the left."""


def read_logs(run_dir: Path, arms: Sequence[str]) -> dict[str, dict[str, list[Point]]]:
    """arm -> metric -> points, for `arms` in their order and any other arm with a log; an empty log gives no metric.

    Raises:
        UsageError: a damaged line; names it.
    """
    logged = sorted(path.parent.parent.name for path in run_dir.glob("*/train/log.jsonl"))
    logs: dict[str, dict[str, list[Point]]] = {}
    for arm in dict.fromkeys([*arms, *logged]):
        metrics = logs.setdefault(arm, {})
        for record in read_appended(run_dir / arm / "train" / "log.jsonl"):
            for metric in METRICS.keys() & record.keys():
                if "step" in record and record[metric] is not None:
                    metrics.setdefault(metric, []).append((float(record["step"]), float(record[metric])))
    return logs


def panels(logs: Mapping[str, Mapping[str, Sequence[Point]]]) -> list[Panel]:
    """A panel for every metric that some arm has logged."""
    drawn = (_panel(title, {arm: logs[arm].get(metric, ()) for arm in logs}) for metric, title in METRICS.items())
    return [panel for panel in drawn if panel is not None]


def _panel(title: str, by_arm: Mapping[str, Sequence[Point]]) -> Panel | None:
    finite = {arm: _by_step(points) for arm, points in by_arm.items()}
    everything = [point for points in finite.values() for point in points]
    if not everything:
        return None
    steps, values = zip(*everything, strict=True)
    y_values = _nice(min(values), max(values))
    bottom, top = y_values[0], y_values[-1]
    left, right = min(0.0, *steps), max(*steps, 1.0)

    def place(point: Point) -> Point:
        return 1000 * (point[0] - left) / (right - left), 1000 * (top - point[1]) / (top - bottom)

    curves = []
    for index, (arm, points) in enumerate(finite.items()):
        if points:
            placed = [place(point) for point in _thin(points)]
            curves.append(
                Curve(
                    arm,
                    index,
                    " ".join(f"{x:.1f},{y:.1f}" for x, y in placed),
                    placed[0] if len(points) == 1 else None,
                    f"{points[0][1]:.4g}",
                    f"{points[-1][1]:.4g}",
                )
            )
    return Panel(
        title,
        [(100 * (top - y) / (top - bottom), f"{y:.4g}") for y in y_values],
        [(100 * (x - left) / (right - left), f"{x:,.0f}") for x in _x_ticks(left, right)],
        curves,
        sum(not _drawable(value) for points in by_arm.values() for _, value in points),
    )


def _by_step(points: Sequence[Point]) -> list[Point]:
    """Finite points in the order of steps; a step logged twice (after a resume) counts with its last value."""
    return sorted({step: value for step, value in points if _drawable(value)}.items())


def _drawable(value: float) -> bool:
    return isfinite(value) and abs(value) <= 1e100


def _thin(points: Sequence[Point]) -> Sequence[Point]:
    """At most `MOST_POINTS` points: each stretch's lowest and highest stay, so that no spike is lost."""
    if len(points) <= MOST_POINTS:
        return points
    length = 2 * len(points) / MOST_POINTS
    stretches = [points[round(i * length) : round((i + 1) * length)] for i in range(MOST_POINTS // 2)]
    return [
        point
        for stretch in stretches
        if stretch
        for point in sorted({min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])})
    ]


def _nice(low: float, high: float) -> list[float]:
    """Round values at even distance, three to six of them, from below `low` to above `high`."""
    span = high - low
    if span <= 1e-9 * max(abs(low), abs(high), 1e-90):
        span = max(abs(high), 1e-90) if high else 1.0
    magnitude = 10.0 ** floor(log10(span / 4))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if span / (m * magnitude) <= 4)
    first, last = floor(round(low / step, 6)), ceil(round(high / step, 6))
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def _x_ticks(left: float, right: float) -> list[float]:
    inside = [x for x in _nice(left, right) if left <= x <= right and x == round(x)]
    return inside[:: 1 + len(inside) // 5]
