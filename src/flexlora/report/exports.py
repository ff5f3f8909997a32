"""Figures and tables for papers: SVG, LaTeX and CSV, of a study and of a run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flexlora.errors import FlexError
from flexlora.evaluation.schema import Summary
from flexlora.evaluation.trainings import read_logs
from flexlora.files import write_whole
from flexlora.report import figures, run_tables, study_figures, study_words
from flexlora.report.curves import Panel, panels
from flexlora.report.latex import Table, comma_separated, latex
from flexlora.report.study_curves import grid_panels, numeric_keys, tradeoff_panel
from flexlora.report.study_tables import study_tables
from flexlora.report.study_training import study_spectra, training_panels
from flexlora.report.svg import panel_svg, plot_svg
from flexlora.report.training_spectra import TrainingSpectra, training_spectra

if TYPE_CHECKING:
    from flexlora.studies.findings import Findings

OF_A_STUDY = {
    "figures": re.compile(
        rf"(scores|{'|'.join(study_words.KINDS)})(-.*)?\.svg|(training|spectrum|grid)-.*\.svg|tradeoff\.svg"
    ),
    "tables": re.compile(r"(scores|comparisons|areas|tradeoffs|cost|paper)\.(tex|csv)"),
}
"""Folder -> names of what `write_exports` may have left there, whose curves and tables may be gone by now."""
Drawn = list[tuple[str, str]]
"""(name of the file without its ending, SVG)"""


def write_exports(folder: Path, findings: Findings) -> list[Path]:
    """Write a study's `figures/*.svg` and `tables/*.{tex,csv}`, and give their paths; older ones are removed.

    Args:
        folder: the study, whose cells the training curves are read from.

    Raises:
        UsageError: a damaged line in a cell's log; names it.
        FlexError: a file cannot be written or removed.
    """
    configurations = study_words.drawn(findings)
    names = [one["name"] for one in configurations]
    drawn = [
        *_plots("scores", study_figures.score_figures(findings)),
        *(one for kind in study_words.KINDS for one in _plots(kind, study_figures.difference_figures(findings, kind))),
        *_panels("training", training_panels(folder, configurations), names),
        *_spectra(study_spectra(folder, configurations), names),
    ]
    for key in numeric_keys(findings) if findings["scores"] else ():
        curves, grid = grid_panels(findings, key)
        drawn += _panels(f"grid-{findings['keys'][key]}", grid, curves)
    tradeoffs = findings["tradeoffs"]
    if tradeoffs and tradeoffs["curves"]:
        arms = [curve["arm"] for curve in tradeoffs["curves"]]
        drawn.append(("tradeoff", panel_svg(tradeoff_panel(tradeoffs), arms)))
    written = _write(folder, drawn, study_tables(findings))
    _remove_stale(folder, written)
    return written


def write_run_exports(run_dir: Path, summary: Summary, folder: Path) -> list[Path]:
    """Write a run's figures and tables to `figures/` and `tables/` of a folder, and give their paths.

    Raises:
        UsageError: a damaged line in a log; names it.
        FlexError: a file cannot be written.
    """
    arms = list(dict.fromkeys(score["arm"] for score in summary["scores"] if score["arm"]))
    drawn = [
        *_plots("scores", figures.score_figures(summary)),
        *_plots("differences", figures.difference_figures(summary)),
        *_panels("training", panels(read_logs(run_dir, arms)), arms),
        *_spectra(training_spectra(run_dir, arms), arms),
    ]
    return _write(folder, drawn, run_tables.run_tables(run_dir, summary))


def _plots(name: str, made: Sequence[figures.Figure]) -> Drawn:
    """Where there are several, named by what each is of or against too."""
    return [
        (name if len(made) == 1 else f"{name}-{_flat(one.title.rpartition(' comparisons ')[2])}", plot_svg(one))
        for one in made
    ]


def _panels(name: str, made: Sequence[Panel], names: Sequence[str]) -> Drawn:
    titles = [one.title for one in made]
    return [
        (
            f"{name}-{_flat(one.title if titles.count(one.title) == 1 else f'{one.title} by {one.by}')}",
            panel_svg(one, names),
        )
        for one in made
    ]


def _spectra(spectra: TrainingSpectra, names: Sequence[str]) -> Drawn:
    return [
        (
            f"spectrum-{_flat(one.title)}",
            panel_svg(replace(one, title=f"Power of {one.title} over white noise's", by="frequency"), names),
        )
        for one in spectra.panels
    ]


def _write(folder: Path, drawn: Drawn, tables: Sequence[Table]) -> list[Path]:
    files = {folder / "figures" / f"{name}.svg": text for name, text in drawn}
    for table in tables:
        files[folder / "tables" / f"{table.name}.tex"] = latex(table)
        files[folder / "tables" / f"{table.name}.csv"] = comma_separated(table)
    for path, text in files.items():
        write_whole(path, re.sub("[\ud800-\udfff]", "\ufffd", text))
    return list(files)


def _remove_stale(folder: Path, written: Sequence[Path]) -> None:
    for name, ours in OF_A_STUDY.items():
        for path in set((folder / name).glob("*")) - set(written):
            if ours.fullmatch(path.name):
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise FlexError(f"{path}: of an earlier report, and cannot be removed ({error}).") from error


def _flat(title: str) -> str:
    """`Java, tiny/A/java` -> `java-tiny-a-java`."""
    return re.sub(r"[^a-z0-9@.+]+", "-", title.lower()).strip("-.")
