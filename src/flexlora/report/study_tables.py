"""The tables of a study, for its page, for papers and for spreadsheets alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flexlora.evaluation.published import CAVEATS
from flexlora.report import study_words, words
from flexlora.report.latex import Table
from flexlora.report.study_words import area, area_note, area_words
from flexlora.report.trainings import duration, number

if TYPE_CHECKING:
    from flexlora.studies.findings import Findings


def study_tables(findings: Findings) -> list[Table]:
    """All that have rows."""
    makers = (scores_table, comparisons_table, areas_table, tradeoffs_table, cost_table, paper_table)
    return [table for make in makers if (table := make(findings)).rows]


def scores_table(findings: Findings) -> Table:
    """A row a configuration and variant, a column a task."""
    k = min((one["k"] for one in findings["scores"]), default=1)
    scores = [one for one in findings["scores"] if one["k"] == k]
    tasks = {one["task"]: one["language"] for one in scores}
    cells = {(one["config"], one["variant"], one["task"]): one for one in scores}
    rows = dict.fromkeys((one["config"], one["variant"]) for one in scores)
    return Table(
        name="scores",
        caption=f"pass@{k} in %, with 95 % intervals over seeds and problems.",
        columns=[
            "Configuration",
            "Seeds",
            *(f"{words.language_name(tasks[task])}, {words.task_name(task)}" for task in tasks),
        ],
        rows=[
            [
                study_words.side(config, variant),
                str(max(len(one["seeds"]) for one in scores if (one["config"], one["variant"]) == (config, variant))),
                *(study_words.score_text(cells.get((config, variant, task))) for task in tasks),
            ]
            for config, variant in rows
        ],
        records=findings["scores"],
    )


def comparisons_table(findings: Findings) -> Table:
    """A row a comparison."""
    return Table(
        name="comparisons",
        caption="Differences in points of pass@k, with 95 % intervals over seeds and problems; p-values by Holm.",
        columns=["Comparison", "Kind", "Task", "Difference", "p", "p corrected", "Detectable"],
        rows=[
            [
                f"{study_words.side(one['config'], one['variant'])} against {one['against']}",
                study_words.kind(one),
                words.task_name(one["task"]) + ("" if one["k"] == 1 else f", pass@{one['k']}"),
                f"{words.points(one['difference'])} {words.difference_range(one['low'], one['high'])}",
                _p(one["p_value"]),
                _p(one["p_corrected"]),
                words.percent(one["detectable"]),
            ]
            for one in findings["comparisons"]
        ],
        records=[{"kind": study_words.kind(one), **one} for one in findings["comparisons"]],
    )


def areas_table(findings: Findings) -> Table:
    """A row an arm: the area of its trade-off curve."""
    curves = findings["tradeoffs"]["curves"] if findings["tradeoffs"] else []
    numbers = dict.fromkeys(("difference", "low", "high", "p_value", "p_corrected"))
    none: dict[str, Any] = {"against": "", "seeds": [], **numbers}
    differences = sum("difference" in one for one in curves)
    return Table(
        name="areas",
        caption="Areas of the trade-off curves, with 95 % intervals.",
        columns=["Arm", "Points", "Area", "Difference"],
        rows=[
            [
                one["arm"],
                str(len(one["points"])),
                f"{area(one['area'])} [{area(one['low'])}, {area(one['high'])}]",
                area_words(one.get("difference"), differences),
            ]
            for one in curves
        ],
        records=[
            {key: one[key] for key in ("arm", "area", "low", "high")}
            | {f"difference_{key}": value for key, value in (one.get("difference") or none).items()}
            for one in curves
        ],
        notes=[area_note(findings["tradeoffs"])] if findings["tradeoffs"] else [],
    )


def tradeoffs_table(findings: Findings) -> Table:
    """A row a point of a curve."""
    curves = findings["tradeoffs"]["curves"] if findings["tradeoffs"] else []
    points = [(curve["arm"], point) for curve in curves for point in curve["points"]]
    return Table(
        name="tradeoffs",
        caption="Gain and retention in points from the base, with 95 % intervals.",
        columns=["Configuration", "Gain", "Retention"],
        rows=[
            [
                study_words.side(point["config"], point["variant"]),
                f"{words.points(point['gain'])} {words.difference_range(point['gain_low'], point['gain_high'])}",
                f"{words.points(point['retention'])} "
                f"{words.difference_range(point['retention_low'], point['retention_high'])}",
            ]
            for _, point in points
        ],
        records=[{"arm": arm, **point} for arm, point in points],
    )


def cost_table(findings: Findings) -> Table:
    """A row a configuration, in the mean over its cells."""
    costs = [(one, one["cost"]) for one in findings["configurations"] if "cost" in one]
    return Table(
        name="cost",
        caption="Cost of training a cell, in the mean over seeds.",
        columns=["Configuration", "Cells", "Values trained", "Steps", "Time", "Peak memory", "Validation loss"],
        rows=[
            [
                one["name"],
                str(len(one["seeds"])),
                "" if cost["trainable_parameters"] is None else f"{cost['trainable_parameters']:,}",
                "" if cost["steps"] is None else f"{cost['steps']:,}",
                "" if cost["train_s"] is None else duration(cost["train_s"]),
                "" if cost["peak_memory_gb"] is None else f"{cost['peak_memory_gb']:.2f} GB",
                "" if cost["validation_loss"] is None else number(cost["validation_loss"]),
            ]
            for one, cost in costs
        ],
        records=[{"config": one["name"], "cells": len(one["seeds"]), **cost} for one, cost in costs],
    )


def paper_table(findings: Findings) -> Table:
    """A row a figure of the paper, with ours beside it and what must be said of them."""
    return Table(
        name="paper",
        caption="A paper's figures beside this study's.",
        columns=["Configuration", "Measure", "Paper", "Here", "95 % interval", "Note"],
        rows=[
            [
                study_words.side(one["config"], one["variant"]),
                study_words.measure_name(one["measure"]),
                f"{one['paper']:g}",
                "not measured" if one["ours"] is None else f"{one['ours']:.4g}",
                "" if one["low"] is None or one["high"] is None else f"[{one['low']:.4g}, {one['high']:.4g}]",
                one["note"],
            ]
            for one in findings["paper"]
        ],
        records=findings["paper"],
        notes=CAVEATS if findings["paper"] else (),
    )


def _p(value: float) -> str:
    return words.p_text(value).removeprefix("p = ").removeprefix("p ")
