"""A study's curves: scores over a numeric key of the grid, and what is gained against what is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from flexlora.report import words
from flexlora.report.curves import Curve, Mark, Panel, nice
from flexlora.report.study_words import only_base, side

if TYPE_CHECKING:
    from flexlora.studies.findings import Configuration, Findings, StudyScore, Tradeoffs
    from flexlora.studies.findings import Curve as TradeoffCurve

Tick = tuple[float, str]


def numeric_keys(findings: Findings) -> list[str]:
    """Keys of the grid with at least two numbers for values."""
    keys = dict.fromkeys(key for one in findings["configurations"] for key in one["point"])
    return [key for key in keys if len(_values(findings["configurations"], key)) > 1]


def grid_panels(findings: Findings, key: str) -> tuple[list[str], list[Panel]]:
    """Scores over one key of the grid: the names of the curves, then a panel a task.

    A curve is an arm with all its other keys alike. Values stand at even distances, so that 0 and powers of ten are as
    readable as any; a configuration without the key is a level line, since nothing of it changes. The base is a line
    where all stand over one.
    """
    values = _values(findings["configurations"], key)
    curves: dict[str, list[Configuration]] = {}
    for one in findings["configurations"]:
        if key not in one["point"] or _number(one["point"][key]) is not None:
            curves.setdefault(_without(one, key, findings["keys"][key]), []).append(one)
    k = min(one["k"] for one in findings["scores"])
    variants = dict.fromkeys(one["variant"] for one in findings["scores"] if one["config"] in _names(findings))
    names = [side(name, variant) for variant in variants for name in curves]
    short = findings["keys"][key]
    tasks = dict.fromkeys(one["task"] for one in findings["scores"])
    panels, over = [], only_base(findings)
    for task in tasks:
        scores = {
            (one["config"], one["variant"]): one for one in findings["scores"] if (one["task"], one["k"]) == (task, k)
        }
        made = [
            (
                side(name, variant),
                [(one, scores[one["name"], variant]) for one in of if (one["name"], variant) in scores],
            )
            for variant in variants
            for name, of in curves.items()
        ]
        base = scores.get((over, "base")) if over else None
        if any(points for _, points in made):
            language = next(iter(scores.values()))["language"]
            title = f"{words.language_name(language)}, {words.task_name(task)}"
            panels.append(_grid_panel(title, key, short, values, made, base, names))
    return names, panels


def _grid_panel(
    title: str,
    key: str,
    short: str,
    values: Sequence[float],
    made: Sequence[tuple[str, Sequence[tuple[Configuration, StudyScore]]]],
    base: StudyScore | None,
    names: Sequence[str],
) -> Panel:
    every = [score for _, points in made for _, score in points]
    y_values = nice(min(s["low"] for s in every), max(s["high"] for s in every))
    bottom, top = y_values[0], y_values[-1]

    def x(value: float) -> float:
        return 1000 * (values.index(value) + 0.5) / len(values)

    def y(share: float) -> float:
        return 1000 * (top - share) / (top - bottom)

    curves = []
    for name, points in made:
        level = [score for one, score in points if key not in one["point"]]
        placed = sorted((float(one["point"][key]), score) for one, score in points if key in one["point"])
        for score in level:
            at = y(score["estimate"])
            value = words.percent(score["estimate"])
            curves.append(Curve(name, names.index(name), f"0,{at:.1f} 1000,{at:.1f}", None, "", value))
        if placed:
            marks = tuple(
                Mark(x(value), y(score["estimate"]), along=(y(score["low"]), y(score["high"])))
                for value, score in placed
            )
            first, last = (words.percent(placed[at][1]["estimate"]) for at in (0, -1))
            curves.append(Curve(name, names.index(name), _line(marks), None, first, last, marks=marks))
    return Panel(
        title,
        _shares(y_values),
        [(x(value) / 10, f"{value:g}") for value in values],
        curves,
        0,
        level=y(base["estimate"]) / 10 if base and bottom <= base["estimate"] <= top else None,
        by=short,
    )


def tradeoff_panel(tradeoffs: Tradeoffs) -> Panel:
    """Retention upwards against gain to the right: an arm's points with both intervals, and its front."""
    points = [point for curve in tradeoffs["curves"] for point in curve["points"]]
    x_values = nice(min(0.0, *(p["gain_low"] for p in points)), max(0.0, *(p["gain_high"] for p in points)))
    y_values = nice(min(0.0, *(p["retention_low"] for p in points)), max(0.0, *(p["retention_high"] for p in points)))

    def x(gain: float) -> float:
        return 1000 * (gain - x_values[0]) / (x_values[-1] - x_values[0])

    def y(change: float) -> float:
        return 1000 * (y_values[-1] - change) / (y_values[-1] - y_values[0])

    def marks(curve: TradeoffCurve) -> Iterator[Mark]:
        for point in sorted(curve["points"], key=lambda point: point["gain"]):
            yield Mark(
                x(point["gain"]),
                y(point["retention"]),
                across=(x(point["gain_low"]), x(point["gain_high"])),
                along=(y(point["retention_low"]), y(point["retention_high"])),
            )

    return Panel(
        "Retention against gain, in points from the base",
        [(y(value) / 10, words.points(value).removesuffix(".0")) for value in y_values],
        [(x(value) / 10, words.points(value).removesuffix(".0")) for value in x_values],
        [
            Curve(
                curve["arm"],
                index,
                _line([Mark(x(gain), y(change)) for gain, change in curve["front"]]),
                None,
                "",
                "",
                marks=tuple(marks(curve)),
            )
            for index, curve in enumerate(tradeoffs["curves"])
        ],
        0,
        level=y(0) / 10,
        threshold=x(0) / 10,
    )


def _line(marks: Sequence[Mark]) -> str:
    return " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in marks)


def _shares(values: Sequence[float]) -> list[Tick]:
    return [(100 * (values[-1] - y) / (values[-1] - values[0]), f"{100 * y:.4g}") for y in values]


def _values(configurations: Sequence[Configuration], key: str) -> list[float]:
    numbers = (_number(one["point"][key]) for one in configurations if key in one["point"])
    return sorted({number for number in numbers if number is not None})


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _without(one: Configuration, key: str, short: str) -> str:
    """The configuration's name without one key."""
    return " ".join(part for part in one["name"].split() if not (key in one["point"] and part.startswith(f"{short}=")))


def _names(findings: Findings) -> set[str]:
    return {one["name"] for one in findings["configurations"]}
