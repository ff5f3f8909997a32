"""`STUDY/report.html`: one self-contained page of a study, from its findings and the files of its cells.

How it is put together, so that nothing leaves it, is in `rendering`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexlora.recipe import EMBEDDED
from flexlora.report import merge, words
from flexlora.report import study_words as study
from flexlora.report.audits import Audit, audits
from flexlora.report.citation import citation
from flexlora.report.latex import Table
from flexlora.report.rendering import unbroken, write_page
from flexlora.report.study_curves import grid_panels, numeric_keys, tradeoff_panel
from flexlora.report.study_figures import TITLES, difference_figures, score_figures
from flexlora.report.study_flips import study_flips
from flexlora.report.study_tables import areas_table, cost_table, paper_table, scores_table, tradeoffs_table
from flexlora.report.study_training import study_spectra, training_panels

if TYPE_CHECKING:
    from flexlora.studies.findings import Findings

SCRIPTS = ("shared.js", "flips.js")
FLIPS_NOTE = (
    "Problems that more seeds solve with one configuration than with the other, by more than half of the seeds: both "
    "programs of the first seed in which it flipped. Lines in which they differ are marked."
)
OPEN = 8
"""Sentences that are not folded away."""


def write_study_report(folder: Path, findings: Findings) -> Path:
    """Write `STUDY/report.html` and return its path.

    Args:
        folder: the study; what of its cells is gone is not drawn.

    Raises:
        UsageError: a damaged line in a file of a cell; names it.
        FlexError: the page cannot be written.
    """
    configurations = study.drawn(findings)
    flips = study_flips(folder, findings)
    tradeoffs = findings["tradeoffs"] if findings["tradeoffs"] and findings["tradeoffs"]["curves"] else None
    gain, retention = study.sides_of(tradeoffs) if tradeoffs else ("", "")
    left_out = f" Of {words.count(flips.left_out, 'problem')} more the programs are in the cells' files only."
    provenance = dict(findings["provenance"])
    differs = provenance.pop("differs", None)
    context: dict[str, Any] = {
        "findings": findings,
        "study": study,
        "unfinished": study.unfinished(findings),
        "primary": [(one, unbroken(line)) for one, line in _headlines(findings)],
        "compared": [_compared(findings, kind) for kind in study.KINDS[1:] if study.of_kind(findings, kind)],
        "notes": _notes(findings),
        "scores": scores_table(findings),
        "score_figures": score_figures(findings),
        "forests": [(kind, figures) for kind in study.KINDS if (figures := difference_figures(findings, kind))],
        "grids": [(key, *grid_panels(findings, key)) for key in numeric_keys(findings)] if findings["scores"] else [],
        "tradeoff": tradeoff_panel(tradeoffs) if tradeoffs else None,
        "tradeoff_arms": [curve["arm"] for curve in tradeoffs["curves"]] if tradeoffs else [],
        "tradeoff_points": tradeoffs_table(findings),
        "areas": areas_table(findings),
        "gain": gain,
        "retention": retention,
        "flips": flips.flips,
        "flips_note": FLIPS_NOTE + (left_out if flips.left_out else ""),
        "arms": [one["name"] for one in configurations],
        "undrawn": [one["name"] for one in findings["configurations"] if one["seeds"] and one not in configurations],
        "panels": training_panels(folder, configurations),
        "spectra": study_spectra(folder, configurations),
        "audits": _audits(folder, findings),
        "merge": merge,
        "cost": _filled(cost_table(findings)),
        "paper": _filled(paper_table(findings)),
        "provenance": _text(provenance),
        "differs": _text(differs) if differs else "",
        "plan": _text(findings["plan"]),
        "runs": [cell for one in findings["configurations"] for cell in one["cells"].values()],
        "citation": citation("study", findings["name"], folder / "study.json", findings["provenance"]),
    }
    return write_page(folder / "report.html", "study.html.j2", SCRIPTS, flips.json(), context)


def _headlines(findings: Findings) -> list[tuple[Any, str]]:
    members = study.families(findings)
    return [(one, study.headline(one, members[one["family"]])) for one in study.of_kind(findings, study.PRIMARY)]


def _compared(findings: Findings, kind: str) -> tuple[str, list[tuple[str, str]], list[str], bool]:
    """Title, sentences with their verdicts, their overview, and whether they are unfolded."""
    members = study.families(findings)
    comparisons = study.of_kind(findings, kind)
    lines = [(study.verdict(one), unbroken(study.sentence(one, members[one["family"]]))) for one in comparisons]
    return TITLES[kind], lines, study.overview(comparisons), kind == study.CONFIRMATORY and len(lines) <= OPEN


def _notes(findings: Findings) -> list[str]:
    if not findings["comparisons"]:
        return []
    explored = [study.EXPLORED] if study.of_kind(findings, study.EXPLORATORY) else []
    return [study.method_note(findings), *explored, *([words.TINY] if EMBEDDED in findings["models"] else [])]


def _audits(folder: Path, findings: Findings) -> list[Audit]:
    """Those of merges of its cells' adapters, which `flexlora merge` left in the cells."""
    cells = [cell for one in findings["configurations"] for cell in one["cells"].values()]
    return [replace(one, folder=f"{cell}/{one.folder}") for cell in cells for one in audits(folder / cell)]


def _filled(table: Table) -> Table | None:
    return table if table.rows else None


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
