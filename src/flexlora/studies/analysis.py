"""From a study's folder to `Findings`: cells -> compact results -> scores, comparisons and trade-offs.

Whatever way the answers come, from the cells or from a `results.jsonl` that somebody committed, the same code makes the
same numbers of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from flexlora.errors import UsageError
from flexlora.evaluation.schema import read_summary
from flexlora.files import write_json
from flexlora.recipe import Recipe
from flexlora.studies.cells import Cell, bases_of, cells_of
from flexlora.studies.comparing import comparisons_of, scores_of
from flexlora.studies.events import Events
from flexlora.studies.findings import SCHEMA, Configuration, Failure, Findings, StudyComparison, StudyScore, Tradeoffs
from flexlora.studies.folder import existing_study, runs_of
from flexlora.studies.measures import cost_of, differing, paper_rows, training_of
from flexlora.studies.names import short_keys
from flexlora.studies.reading import base_path, cell_path, read_cells
from flexlora.studies.results import Results, load_results, write_results
from flexlora.studies.schema import Study
from flexlora.studies.tradeoffs import tradeoffs_of

RESULTS = "results.jsonl"
FINDINGS = "study.json"
MEANT_TO_DIFFER = ("arms", "seed", "overlap", "models")
"""Of a run's provenance: what it was trained on and came out as; baselines, which are in a base's run only."""

Numbers = tuple[list[StudyScore], list[StudyComparison], Tradeoffs | None]


def analyse(folder: Path) -> Findings:
    """What a study shows so far; reads only.

    Raises:
        UsageError: it is no study's folder, or its cells do not go together.
        FlexError: a finished cell lacks verdicts.
    """
    return _analysed(folder)[0]


def write_findings(folder: Path) -> Findings:
    """`analyse`, and write `study.json` and `results.jsonl`."""
    findings, results = _analysed(folder)
    write_results(folder / RESULTS, results)
    write_json(folder / FINDINGS, findings)
    return findings


def recompute(results_file: Path, study: Study) -> Findings:
    """What a study shows, from its compact results (`results.jsonl`, or packed) and plan alone.

    Costs, failures and provenance are in neither, nor is what a paper says of trainings compared; a cell with answers
    counts as finished.

    Raises:
        UsageError: the file is missing, damaged or of another study, or the plan names what it does not have.
    """
    results = load_results(results_file)
    if results.study != study.name:
        raise UsageError(f"{results_file}: holds the study {results.study!r}, and the plan is of {study.name!r}.")
    had = {(config, seed) for (config, _, _), answers in results.answers.items() for seed in answers.passes}
    cells, bases = cells_of(study), bases_of(study)
    there = {cell_path(cell) for cell in cells if (cell.config, cell.seed) in had}
    there |= {base_path(name) for name in bases if name in results.configurations}
    return _findings(study, cells, bases, there, results)


def numbers_of(results: Results, study: Study) -> Numbers:
    """Scores, comparisons and trade-offs of a study's answers."""
    return scores_of(results, study.analysis.k), comparisons_of(results, study), tradeoffs_of(results, study)


def analyse_cells(
    study: Study,
    folder: Path,
    cells: Sequence[Cell],
    bases: Mapping[str, Recipe],
    there: Set[str],
    failures: Sequence[Failure] = (),
) -> tuple[Findings, Results]:
    """What the finished ones of these cells show, and their answers.

    Args:
        cells: all that the study has.
        bases: name -> recipe of the runs with base and baselines.
        there: paths of the runs that are finished, relative to the study's folder.
        failures: cells that could not be finished.
    """
    if not cells:
        raise UsageError(f"{folder}: the study has no cells; give it an arm and a seed.")
    results = read_cells(study.name, folder, cells, bases, there)
    return _findings(study, cells, bases, there, results, folder, failures), results


def _findings(
    study: Study,
    cells: Sequence[Cell],
    bases: Mapping[str, Recipe],
    there: Set[str],
    results: Results,
    folder: Path | None = None,
    failures: Sequence[Failure] = (),
) -> Findings:
    """Of these answers; without a folder there are no costs and no provenance."""
    scores, comparisons, tradeoffs = numbers_of(results, study)
    finished = [cell for cell in cells if cell_path(cell) in there]
    models = {cell.config: cell.recipe.model for cell in cells} | {name: base.model for name, base in bases.items()}
    trained = {
        name: [training for cell in finished if cell.config == name and (training := _training(folder, cell))]
        for name in dict.fromkeys(cell.config for cell in finished)
    }
    all_models = list(dict.fromkeys(cell.recipe.model for cell in cells))
    there_of_bases = [name for name in bases if base_path(name) in there]
    return {
        "schema": SCHEMA,
        "name": study.name,
        "description": study.description,
        "model": all_models[0],
        "models": all_models,
        "plan": study.model_dump(mode="json"),
        "keys": short_keys(study.grid),
        "configurations": _configurations(study, folder, cells, there),
        "scores": scores,
        "comparisons": comparisons,
        "tradeoffs": tradeoffs,
        "paper": [row for row in paper_rows(study, results, trained, models) if folder or row["ours"] is not None],
        "failures": list(failures),
        "unfinished_bases": [name for name in bases if name not in there_of_bases],
        "cells": len(cells),
        "finished": len(finished),
        "provenance": {} if folder is None else _provenance(folder, finished, there_of_bases),
    }


def _analysed(folder: Path) -> tuple[Findings, Results]:
    study = existing_study(folder)
    finished = [run for run in runs_of(study, folder) if run.is_finished()]  # asked once: a study may be running
    there = {run.path.relative_to(folder).as_posix() for run in finished}
    failures = Events(folder).failures({run.name for run in finished})
    return analyse_cells(study, folder, cells_of(study), bases_of(study), there, failures)


def _training(folder: Path | None, cell: Cell) -> Any:
    return None if folder is None else training_of(folder / cell_path(cell), cell.arm)


def _configurations(
    study: Study, folder: Path | None, cells: Sequence[Cell], finished: Set[str]
) -> list[Configuration]:
    by_name: dict[str, list[Cell]] = {}
    for cell in cells:
        by_name.setdefault(cell.config, []).append(cell)
    found: list[Configuration] = []
    for name, own in by_name.items():
        done = [cell for cell in own if cell_path(cell) in finished]
        one: Configuration = {
            "name": name,
            "arm": own[0].arm,
            "point": own[0].point,
            "seeds": sorted(cell.seed for cell in done),
            "unfinished": sorted(cell.seed for cell in own if cell not in done),
            "cells": {str(cell.seed): cell_path(cell) for cell in own},
            "confirmatory": name in study.analysis.confirmatory,
        }
        if done and folder is not None:
            one["cost"] = cost_of([folder / cell_path(cell) for cell in done], own[0].arm)
        found.append(one)
    return found


def _provenance(folder: Path, cells: Sequence[Cell], bases: Sequence[str]) -> dict[str, Any]:
    """Of the first finished cell, with what differs between runs over the same base."""
    if not cells:
        return {}
    runs = [(base, base_path(base)) for base in bases] + [(cell.base, cell_path(cell)) for cell in cells]
    found = {path: read_summary(folder / path)["provenance"] for _, path in runs}
    differs: dict[str, dict[str, list[str]]] = {}
    for base in dict.fromkeys(base for base, _ in runs):
        compared = {
            path: {key: value for key, value in found[path].items() if key not in MEANT_TO_DIFFER}
            for of, path in runs
            if of == base
        }
        differs |= differing(compared)
    return {**found[cell_path(cells[0])], "differs": differs}
