"""Training curves of all arms, by step and by second: thinned out and placed; the template draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from flexlora.files import Record

VALIDATION = "Validation loss"
METRICS = (
    ("eval_loss", "step", VALIDATION),
    ("eval_loss", "train_s", VALIDATION),
    ("loss", "step", "Training loss"),
    ("grad_norm", "step", "Gradient norm"),
    ("clipped_fraction", "step", "Clipped fraction (Sophia)"),
    ("penalty", "step", "Penalty value"),
    ("lam", "step", "Penalty strength (lambda)"),
    ("high_frequency_share", "step", "High-frequency share"),
    ("learning_rate", "step", "Learning rate"),
)
"""(field of the log, field that it is drawn over, title)"""
OF_THE_PENALTY = ("penalty", "lam")
"""Not drawn for a run without it, whose logs hold zeros."""
MOST_POINTS = 600
"""Per curve; a plot is hardly more pixels wide."""

Point = tuple[float, float]
"""(step or second, value)"""


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with its intervals, in a box of 1000 x 1000."""

    x: float
    y: float
    across: tuple[float, float] | None = None
    """Where its interval in x ends."""
    along: tuple[float, float] | None = None
    """Where its interval in y ends."""


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
    band: str = ""
    """For an SVG polygon in that box: what the seeds span."""
    marks: tuple[Mark, ...] = ()


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
    by: str = ""
    """What runs to the right: `step` or `second`."""


def panels(logs: Mapping[str, Sequence[Record]]) -> list[Panel]:
    """A panel for every metric that some arm has logged.

    Args:
        logs: arm -> lines of its log.
    """
    drawn = (
        _panel(title, "second" if over == "train_s" else over, {arm: points_of(logs[arm], name, over) for arm in logs})
        for name, over, title in METRICS
        if name not in OF_THE_PENALTY or any(record.get(name) for records in logs.values() for record in records)
    )
    return [panel for panel in drawn if panel is not None]


def points_of(records: Sequence[Record], name: str, over: str) -> list[Point]:
    return [
        (float(record[over]), float(record[name]))
        for record in records
        if record.get(name) is not None and record.get(over) is not None
    ]


def _panel(title: str, by: str, by_arm: Mapping[str, Sequence[Point]]) -> Panel | None:
    finite = {arm: in_order(points) for arm, points in by_arm.items()}
    everything = [point for points in finite.values() for point in points]
    if not everything:
        return None
    places, values = zip(*everything, strict=True)
    y_values = nice(min(values), max(values))
    bottom, top = y_values[0], y_values[-1]
    left, right = min(0.0, *places), max(*places, 1.0)

    def place(point: Point) -> Point:
        return 1000 * (point[0] - left) / (right - left), 1000 * (top - point[1]) / (top - bottom)

    curves = []
    for index, (arm, points) in enumerate(finite.items()):
        if points:
            placed = [place(point) for point in thin(points)]
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
        [(100 * (x - left) / (right - left), f"{x:,.0f}") for x in x_ticks(left, right)],
        curves,
        sum(not _drawable(value) for points in by_arm.values() for _, value in points),
        by=by,
    )


def in_order(points: Sequence[Point]) -> list[Point]:
    """Finite points from left to right; a step logged twice counts with its last value."""
    return sorted({at: value for at, value in points if _drawable(value)}.items())


def _drawable(value: float) -> bool:
    return isfinite(value) and abs(value) <= 1e100


def thin(points: Sequence[Point]) -> Sequence[Point]:
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


def nice(low: float, high: float) -> list[float]:
    """Round values at even distance, three to six of them, from below `low` to above `high`."""
    span = high - low
    if span <= 1e-9 * max(abs(low), abs(high), 1e-90):
        span = max(abs(high), 1e-90) if high else 1.0
    magnitude = 10.0 ** floor(log10(span / 4))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if span / (m * magnitude) <= 4)
    first, last = floor(round(low / step, 6)), ceil(round(high / step, 6))
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def x_ticks(left: float, right: float) -> list[float]:
    inside = [x for x in nice(left, right) if left <= x <= right and x == round(x)]
    return inside[:: 1 + len(inside) // 5]
