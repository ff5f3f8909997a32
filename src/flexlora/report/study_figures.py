"""The interval plots of a study: pass@k of every configuration, and its differences, of each kind apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from flexlora.report import words
from flexlora.report.figures import Figure, Group, Row, round_up, ticks
from flexlora.report.study_words import CONFIRMATORY, EXPLORATORY, PRIMARY, families, of_kind, only_base, p_text, side

if TYPE_CHECKING:
    from flexlora.studies.findings import Findings, StudyComparison, StudyScore

TITLES = {
    PRIMARY: "Primary comparison",
    CONFIRMATORY: "Confirmatory comparisons",
    EXPLORATORY: "Exploratory comparisons",
}


def score_figures(findings: Findings) -> list[Figure]:
    """A plot of bars for each k, a group a task, the base's score as a line where there is one base."""
    figures, over = [], only_base(findings)
    for k in dict.fromkeys(one["k"] for one in findings["scores"]):
        scores = [one for one in findings["scores"] if one["k"] == k]
        top = round_up(max(max(one["high"], *one["per_seed"]) for one in scores))
        groups = []
        for task in dict.fromkeys(one["task"] for one in scores):
            of_task = [one for one in scores if one["task"] == task]
            base = next((one["estimate"] for one in of_task if over and one["variant"] == "base"), None)
            groups.append(
                Group(
                    words.language_name(of_task[0]["language"]),
                    f"{words.task_name(task)}, {words.count(of_task[0]['problems'], 'problem')}",
                    None if base is None else 100 * base / top,
                    [_score_row(one, top) for one in of_task],
                )
            )
        figures.append(Figure(f"pass@{k}", "% of problems", ticks(0, top), groups))
    return figures


def difference_figures(findings: Findings, kind: str) -> list[Figure]:
    """A forest plot of one kind of comparisons, for each that they are against."""
    chosen = of_kind(findings, kind)
    members = families(findings)
    pairs = dict.fromkeys((one["k"], one["against"]) for one in chosen)
    return [
        _forest(kind, k, against, [one for one in chosen if (one["k"], one["against"]) == (k, against)], members)
        for k, against in pairs
    ]


def _forest(kind: str, k: int, against: str, chosen: Sequence[StudyComparison], members: Mapping[str, int]) -> Figure:
    # An interval may have no end, as with one problem.
    ends = [min(abs(value), 1.0) for one in chosen for value in (one["low"], one["high"], *one["per_seed"])]
    reach = round_up(max(ends))
    groups = []
    for task in dict.fromkeys(one["task"] for one in chosen):
        of_task = [one for one in chosen if one["task"] == task]
        rows = [_difference_row(one, reach, members[one["family"]]) for one in of_task]
        subtitle = f"{words.task_name(task)}, {words.count(of_task[0]['problems'], 'problem')}"
        groups.append(Group(words.language_name(of_task[0]["language"]), subtitle, 50.0, rows))
    metric = "" if k == 1 else f", pass@{k}"
    return Figure(f"{TITLES[kind]} against {against}{metric}", "points", ticks(-reach, reach), groups)


def _score_row(one: StudyScore, top: float) -> Row:
    seeds = len(one["seeds"])
    return Row(
        label=side(one["config"], one["variant"]),
        variant=one["variant"],
        value=words.percent(one["estimate"]),
        range=words.score_range(one["low"], one["high"]),
        at=100 * one["estimate"] / top,
        low=100 * one["low"] / top,
        high=100 * one["high"] / top,
        dots=tuple(100 * value / top for value in one["per_seed"]) if seeds > 1 else (),
        bar=True,
    )


def _difference_row(one: StudyComparison, reach: float, members: int) -> Row:
    def at(difference: float) -> float:
        return 50 + 50 * max(-1.0, min(1.0, difference / reach))

    return Row(
        label=side(one["config"], one["variant"]),
        variant=one["variant"],
        value=words.points(one["difference"]),
        range=words.difference_range(one["low"], one["high"]),
        at=at(one["difference"]),
        low=at(one["low"]),
        high=at(one["high"]),
        note=p_text(one, members),
        dots=tuple(map(at, one["per_seed"])),
    )
