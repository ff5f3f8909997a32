"""The tables of a run for papers and spreadsheets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from flexlora.evaluation.published import CAVEATS, published_for
from flexlora.evaluation.schema import Score, Summary
from flexlora.evaluation.trainings import compare_trainings, read_logs
from flexlora.report import words
from flexlora.report.cost import training_costs
from flexlora.report.latex import Table
from flexlora.report.trainings import duration


def run_tables(run_dir: Path, summary: Summary) -> list[Table]:
    """All that have rows."""
    made = (*scores_tables(summary), comparisons_table(summary), cost_table(run_dir, summary), published_table(summary))
    return [table for table in made if table.rows]


def scores_tables(summary: Summary) -> list[Table]:
    """For each k a table: a row a variant, a column a task."""
    return [_scores_table(summary, k) for k in dict.fromkeys(k for one in summary["scores"] for k in one["pass_at_k"])]


def comparisons_table(summary: Summary) -> Table:
    """A row a comparison."""
    found = summary["comparisons"]
    return Table(
        name="comparisons",
        caption="Differences in points of pass@k, with 95 % intervals over problems; p-values as they are.",
        columns=["Comparison", "Task", "k", "Difference", "p", "Gained", "Lost"],
        rows=[
            [
                f"{words.side_name(one)} against {words.side_name(one['against'])}",
                words.task_name(one["task"]),
                str(one["k"]),
                f"{words.points(one['difference'])} {words.difference_range(one['low'], one['high'])}",
                words.p_text(one["p_value"]).removeprefix("p = ").removeprefix("p "),
                str(len(one["gained"])),
                str(len(one["lost"])),
            ]
            for one in found
        ],
        records=[{"side": words.side_name(one), **one, "against": words.side_name(one["against"])} for one in found],
    )


def cost_table(run_dir: Path, summary: Summary) -> Table:
    """A row an arm that logged a training."""
    arms = list(dict.fromkeys(score["arm"] for score in summary["scores"] if score["arm"]))
    costs = training_costs(run_dir, compare_trainings(read_logs(run_dir, arms))["trainings"])
    return Table(
        name="cost",
        caption="Cost of training.",
        columns=["Arm", "Values trained", "Steps", "Time", "Peak memory"],
        rows=[
            [
                one.arm,
                "" if one.parameters is None else f"{one.parameters:,}",
                f"{one.steps:,}",
                "" if one.train_s is None else duration(one.train_s),
                "" if one.peak_memory_gb is None else f"{one.peak_memory_gb:.2f} GB",
            ]
            for one in costs
        ],
        records=[asdict(one) for one in costs],
    )


def published_table(summary: Summary) -> Table:
    """Published pass@1 beside the run's own, with what must be said of them."""
    own = [score for score in summary["scores"] if words.is_humaneval(score["task"]) and "1" in score["pass_at_k"]]
    sources = published_for(score["model"] for score in summary["scores"])
    languages = [
        code
        for code in dict.fromkeys(score["language"] for score in own)
        if any(code in source.percent for source in sources)
    ]
    ours: dict[str, dict[str, str]] = {}
    for score in own:
        row = ours.setdefault(f"This run, {words.score_name(score, summary['scores'])}", {})
        row[score["language"]] = words.percent(score["pass_at_k"]["1"]["estimate"])
    theirs = {
        f"{one.source}{f' ({one.note})' if one.note else ''}": {code: f"{x:g}" for code, x in one.percent.items()}
        for one in sources
    }
    rows = {**ours, **theirs} if languages else {}
    return Table(
        name="published",
        caption="Published pass@1 in % on HumanEval and MultiPL-E's HumanEval, beside this run's.",
        columns=["Source", *map(words.language_name, languages)],
        rows=[[name, *(row.get(code, "") for code in languages)] for name, row in rows.items()],
        records=[{"source": name, **{code: row.get(code) for code in languages}} for name, row in rows.items()],
        notes=CAVEATS,
    )


def _scores_table(summary: Summary, k: str) -> Table:
    scores = [score for score in summary["scores"] if k in score["pass_at_k"]]
    names = {id(score): words.score_name(score, summary["scores"]) for score in scores}
    tasks = {score["task"]: score["language"] for score in scores}
    cells: dict[tuple[str, str], Score] = {(names[id(score)], score["task"]): score for score in scores}
    return Table(
        name="scores" if k == "1" else f"scores-pass-at-{k}",
        caption=f"pass@{k} in %, with 95 % intervals over problems.",
        columns=["Variant", *(f"{words.language_name(code)}, {words.task_name(task)}" for task, code in tasks.items())],
        rows=[
            [name, *(_cell(cells.get((name, task)), k) for task in tasks)]
            for name in dict.fromkeys(names[id(score)] for score in scores)
        ],
        records=[_record(score, names[id(score)], k) for score in scores],
    )


def _cell(score: Score | None, k: str) -> str:
    if score is None:
        return ""
    value = score["pass_at_k"][k]
    return f"{words.percent(value['estimate'])} {words.score_range(value['low'], value['high'])}"


def _record(score: Score, name: str, k: str) -> dict[str, Any]:
    value = score["pass_at_k"][k]
    kept = {
        key: score[key] for key in ("arm", "variant", "model", "task", "language", "problems", "samples_per_problem")
    }
    return {"name": name, **kept, "k": k, **{key: value[key] for key in ("estimate", "low", "high", "method")}}
