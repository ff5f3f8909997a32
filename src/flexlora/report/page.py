"""`report.html`: one self-contained page of a run, made from its files.

How it is put together, so that nothing leaves it, is in `rendering`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from flexlora.evaluation.published import CAVEATS, published_for
from flexlora.evaluation.schema import Comparison, Score, Side, Summary
from flexlora.evaluation.trainings import compare_trainings, read_logs
from flexlora.report import cost, likelihood, merge, methods, trainings, words
from flexlora.report.audits import audits
from flexlora.report.browser import collect
from flexlora.report.citation import citation
from flexlora.report.curves import VALIDATION, panels
from flexlora.report.figures import difference_figures, score_figures
from flexlora.report.matrix import cell_text, matrix
from flexlora.report.rendering import unbroken, write_page
from flexlora.report.training_spectra import training_spectra

SCRIPTS = ("shared.js", "page.js", "flips.js")
FLIPS_NOTE = (
    "The two programs of a problem that one side of a comparison solves and the other does not; lines in which they "
    "differ are marked."
)


def write_report(run_dir: Path, summary: Summary, prompts: Mapping[tuple[str, str], str]) -> Path:
    """Write `RUN/report.html` and return its path.

    Args:
        summary: as `summary.json` holds it; its paths lead to the samples and results, its arms to their logs.
        prompts: (task, task_id) -> the prompt shown to the model; one that is missing is shown as empty.

    Raises:
        UsageError: a damaged line in a file of the run; names it.
        FlexError: the page cannot be written.
    """
    logs = read_logs(run_dir, _arms(run_dir, summary))
    compared, drawn = compare_trainings(logs), panels(logs)
    browser = collect(run_dir, summary, prompts)
    context = {
        "trained": trainings,
        "likely": likelihood,
        "methods": methods,
        "cell_text": cell_text,
        "summary": summary,
        "browser": browser,
        "sentences": [
            (words.verdict(one), unbroken(words.sentence(one, words.problems_of(summary, one))))
            for one in summary["comparisons"]
        ],
        "tables": [_score_table(summary, k) for k in _ks(summary)],
        "languages": matrix(summary),
        "overlap": words.overlap_notes(summary, named=None),
        "tests_rows": words.tests_rows(summary),
        "likelihoods": summary.get("likelihood"),
        "models": dict.fromkeys(score["model"] for score in _measured(summary)),
        "statuses": words.statuses_in_order(summary),
        "score_figures": score_figures(summary),
        "difference_figures": difference_figures(summary),
        "flips_note": FLIPS_NOTE,
        "arms": list(logs),
        "unlogged": [arm for arm, records in logs.items() if not records],
        "trainings": compared["trainings"],
        "training_sentences": [line.replace(" %", "\u00a0%") for line in trainings.sentences(compared)],
        "panels": [[one for one in drawn if (one.title == VALIDATION) == which] for which in (True, False)],
        "spectra": training_spectra(run_dir, list(logs)),
        "audits": audits(run_dir),
        "merge": merge,
        "training_costs": cost.training_costs(run_dir, compared["trainings"]),
        "program_costs": cost.program_costs(run_dir, summary),
        "cost_note": cost.NOTE,
        "published": _published(summary),
        "caveats": CAVEATS,
        "provenance": json.dumps(summary["provenance"], indent=2, ensure_ascii=False),
        "citation": citation("run", summary["name"], run_dir / "summary.json", summary["provenance"]),
    }
    return write_page(run_dir / "report.html", "page.html.j2", SCRIPTS, browser.json, context)


def _arms(run_dir: Path, summary: Summary) -> list[str]:
    """Those with scores, then any other with a log."""
    logged = sorted(path.parent.parent.name for path in run_dir.glob("*/train/log.jsonl"))
    return list(dict.fromkeys([*(score["arm"] for score in _measured(summary) if score["arm"]), *logged]))


def _measured(summary: Summary) -> list[Side]:
    """Everything with a score or a likelihood."""
    return [*summary["scores"], *(summary["likelihood"]["scores"] if "likelihood" in summary else ())]


def _ks(summary: Summary) -> list[str]:
    return list(dict.fromkeys(k for score in summary["scores"] for k in score["pass_at_k"]))


def _score_table(summary: Summary, k: str) -> dict[str, object]:
    """What the template needs for one table: names of columns, and rows of (score, its difference from the base)."""
    scores = [score for score in summary["scores"] if k in score["pass_at_k"]]
    against_base: dict[tuple[str, str], Comparison] = {
        (one["task"], words.side_name(one)): one
        for one in summary["comparisons"]
        if one["against"]["variant"] == "base" and str(one["k"]) == k
    }
    columns = list(dict.fromkeys(words.score_name(score, summary["scores"]) for score in scores))
    rows: dict[str, dict[str, Score]] = {}
    for score in scores:
        rows.setdefault(score["task"], {})[words.score_name(score, summary["scores"])] = score
    return {
        "k": k,
        "columns": columns,
        "rows": [
            {
                "first": next(iter(row.values())),
                "cells": [
                    (score, against_base.get((task, words.side_name(score))) if score else None)
                    for score in map(row.get, columns)
                ],
            }
            for task, row in rows.items()
        ],
    }


def _published(summary: Summary) -> dict[str, object] | None:
    """Published rows beside this run's own pass@1, in the languages that both have."""
    sources = published_for(score["model"] for score in summary["scores"])
    ours: dict[str, dict[str, float]] = {}
    for score in summary["scores"]:
        if words.is_humaneval(score["task"]) and "1" in score["pass_at_k"]:
            own = ours.setdefault(words.score_name(score, summary["scores"]), {})
            own[score["language"]] = 100 * score["pass_at_k"]["1"]["estimate"]
    languages = [
        code
        for code in dict.fromkeys(code for row in ours.values() for code in row)
        if any(code in source.percent for source in sources)
    ]
    if not languages:
        return None
    return {"languages": languages, "ours": ours, "sources": sources}
