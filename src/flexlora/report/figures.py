"""Positions for the page's two interval plots; the template draws them.

Positions are percent of the plot's width, which SVG takes as lengths: the plots then stretch to any screen while
their dots and text keep their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from urllib.parse import urlencode

from flexlora.evaluation.schema import Comparison, Score, Side, Summary
from flexlora.report.words import (
    count,
    difference_range,
    language_name,
    percent,
    points,
    score_name,
    score_range,
    side_name,
    task_name,
)


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Row:
    """A dot with its interval."""

    label: str
    variant: str
    value: str
    range: str
    at: float
    low: float
    high: float
    comparison: Comparison | None = None
    note: str = ""
    """Said below the value."""
    dots: tuple[float, ...] = ()
    """Each seed's own value."""
    bar: bool = False
    """Drawn as a bar from the left, its interval over its end."""


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one task."""

    title: str
    subtitle: str
    line: float | None
    """Where the reference stands: the base's score, or no difference."""
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Figure:
    title: str
    unit: str
    ticks: list[Tick]
    groups: list[Group]


def score_figures(summary: Summary) -> list[Figure]:
    """One plot of scores for each k: a group a task, a row a variant, the base's score as a line."""
    figures = []
    for k in dict.fromkeys(k for score in summary["scores"] for k in score["pass_at_k"]):
        scores = [score for score in summary["scores"] if k in score["pass_at_k"]]
        top = round_up(max(score["pass_at_k"][k]["high"] for score in scores))
        figures.append(
            Figure(
                f"pass@{k}",
                "% of problems",
                ticks(0, top),
                [_score_group(task, scores, k, top) for task in _tasks(scores)],
            )
        )
    return figures


def difference_figures(summary: Summary) -> list[Figure]:
    """A forest plot for each k and other side: the base first, then the first arm's variants."""
    figures = []
    pairs = dict.fromkeys((one["k"], side_name(one["against"])) for one in summary["comparisons"])
    for k, against in sorted(pairs, key=lambda pair: pair[1] != "base"):
        chosen = [one for one in summary["comparisons"] if (one["k"], side_name(one["against"])) == (k, against)]
        reach = round_up(max(max(-one["low"], one["high"], abs(one["difference"])) for one in chosen))
        groups = []
        for task in dict.fromkeys(one["task"] for one in chosen):
            rows = [_difference_row(one, reach) for one in chosen if one["task"] == task]
            language = next(one["language"] for one in chosen if one["task"] == task)
            groups.append(Group(language_name(language), task_name(task), 50.0, rows))
        figures.append(Figure(f"pass@{k} against {against}", "points", ticks(-reach, reach), groups))
    return figures


def fragment(side: Side, task: str, **more: str) -> str:
    """The page's own link that shows some samples: `#variant=main%2Fadapter&task=mbpp&status=OK`."""
    return "#" + urlencode({"variant": side_name(side), "task": task, **more})


def _score_group(task: str, scores: Sequence[Score], k: str, top: float) -> Group:
    chosen = [score for score in scores if score["task"] == task]
    base = next((score["pass_at_k"][k]["estimate"] for score in chosen if score["variant"] == "base"), None)
    first = chosen[0]
    group = Group(
        language_name(first["language"]),
        f"{task_name(task)}, {count(first['problems'], 'problem')}"
        + (f" × {first['samples_per_problem']} samples" if first["samples_per_problem"] > 1 else ""),
        None if base is None else 100 * base / top,
    )
    for score in chosen:
        value = score["pass_at_k"][k]
        group.rows.append(
            Row(
                label=score_name(score, scores),
                variant=score["variant"],
                value=percent(value["estimate"]),
                range=score_range(value["low"], value["high"]),
                at=100 * value["estimate"] / top,
                low=100 * value["low"] / top,
                high=100 * value["high"] / top,
            )
        )
    return group


def _difference_row(one: Comparison, reach: float) -> Row:
    def at(difference: float) -> float:
        return 50 + 50 * difference / reach

    return Row(
        label=side_name(one),
        variant=one["variant"],
        value=points(one["difference"]),
        range=difference_range(one["low"], one["high"]),
        at=at(one["difference"]),
        low=at(one["low"]),
        high=at(one["high"]),
        comparison=one,
    )


def _tasks(scores: Sequence[Score]) -> list[str]:
    return list(dict.fromkeys(score["task"] for score in scores))


def round_up(share: float) -> float:
    """The end of an axis: the next whole 10 % (5 % where it is small), so that the axis ends on a tick."""
    step = 0.05 if share <= 0.2 else 0.1
    return max(step, ceil(round(share / step, 9)) * step)


def ticks(low: float, high: float) -> list[Tick]:
    """Of an axis of shares: five ticks or so, each a multiple of 5 or 10 %."""
    span = high - low
    step = next(step for step in (0.025, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0) if span / step <= 5)
    first, last = ceil(round(low / step, 9)), int(round(high / step, 9))
    signed = low < 0
    return [
        Tick(
            100 * (i * step - low) / span,
            points(i * step).removesuffix(".0") if signed else f"{100 * i * step:g}",
        )
        for i in range(first, last + 1)
    ]
