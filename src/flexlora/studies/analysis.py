"""From a study's folder to `Findings`: cells -> compact results -> scores, comparisons and trade-offs.

Whatever way the answers come, from the cells or from a `results.jsonl` that somebody committed, the same code makes the
same numbers of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flexlora.errors import UsageError
from flexlora.evaluation.schema import read_summary
from flexlora.files import write_json
from flexlora.recipe import Recipe
from flexlora.studies.comparing import comparisons_of, scores_of
from flexlora.studies.findings import SCHEMA, Configuration, Failure, Findings, StudyComparison, StudyScore, Tradeoffs
from flexlora.studies.measures import cost_of, differing, paper_rows, training_of
from flexlora.studies.reading import OfAStudy, base_path, cell_path, is_finished, read_cells
from flexlora.studies.results import Results, load_results, write_results
from flexlora.studies.schema import Study
from flexlora.studies.tradeoffs import tradeoffs_of

RESULTS = "results.jsonl"
FINDINGS = "study.json"
MEANT_TO_DIFFER = ("arms", "seed", "overlap")
"""Of a cell's provenance: what it was trained on and came out as."""

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


def recompute(results_file: Path, study: Study) -> Numbers:
    """Scores, comparisons and trade-offs from a study's compact results (`results.jsonl`, or packed) and plan alone.

    Raises:
        UsageError: the file is missing or damaged, or the plan names what it does not have.
    """
    return numbers_of(load_results(results_file), study)


def numbers_of(results: Results, study: Study) -> Numbers:
    """Scores, comparisons and trade-offs of a study's answers."""
    return scores_of(results, study.analysis.k), comparisons_of(results, study), tradeoffs_of(results, study)


def analyse_cells(
    study: Study,
    folder: Path,
    cells: Sequence[OfAStudy],
    bases: Mapping[str, Recipe],
    failures: Sequence[Failure] = (),
) -> tuple[Findings, Results]:
    """What the finished ones of these cells show, and their answers.

    Args:
        cells: all that the study has.
        bases: name -> recipe of the runs with base and baselines.
        failures: cells that could not be finished.
    """
    if not cells:
        raise UsageError(f"{folder}: the study has no cells; give it an arm and a seed.")
    results = read_cells(study.name, folder, cells, bases)
    scores, comparisons, tradeoffs = numbers_of(results, study)
    finished = [cell for cell in cells if is_finished(folder / cell_path(cell))]
    models = {cell.config: cell.recipe.model for cell in cells} | {name: base.model for name, base in bases.items()}
    trained = {
        name: [training for cell in finished if cell.config == name and (training := _training(folder, cell))]
        for name in dict.fromkeys(cell.config for cell in finished)
    }
    all_models = list(dict.fromkeys(cell.recipe.model for cell in cells))
    return {
        "schema": SCHEMA,
        "name": study.name,
        "description": study.description,
        "model": all_models[0],
        "models": all_models,
        "plan": study.model_dump(mode="json"),
        "configurations": _configurations(study, folder, cells),
        "scores": scores,
        "comparisons": comparisons,
        "tradeoffs": tradeoffs,
        "paper": paper_rows(study, results, trained, models),
        "failures": list(failures),
        "unfinished_bases": [name for name in bases if not is_finished(folder / base_path(name))],
        "cells": len(cells),
        "finished": len(finished),
        "provenance": _provenance(folder, finished, bases),
    }, results


def _analysed(folder: Path) -> tuple[Findings, Results]:
    from flexlora.studies.cells import bases_of, cells_of
    from flexlora.studies.events import Events
    from flexlora.studies.folder import existing_study

    study = existing_study(folder)
    return analyse_cells(study, folder, cells_of(study), bases_of(study), Events(folder).failures())


def _training(folder: Path, cell: OfAStudy) -> Any:
    return training_of(folder / cell_path(cell), cell.arm)


def _configurations(study: Study, folder: Path, cells: Sequence[OfAStudy]) -> list[Configuration]:
    by_name: dict[str, list[OfAStudy]] = {}
    for cell in cells:
        by_name.setdefault(cell.config, []).append(cell)
    found: list[Configuration] = []
    for name, own in by_name.items():
        done = [cell for cell in own if is_finished(folder / cell_path(cell))]
        one: Configuration = {
            "name": name,
            "arm": own[0].arm,
            "point": own[0].point,
            "seeds": sorted(cell.seed for cell in done),
            "unfinished": sorted(cell.seed for cell in own if cell not in done),
            "cells": {str(cell.seed): cell_path(cell) for cell in own},
            "confirmatory": name in study.analysis.confirmatory,
        }
        if done:
            one["cost"] = cost_of([folder / cell_path(cell) for cell in done], own[0].arm)
        found.append(one)
    return found


def _provenance(folder: Path, finished: Sequence[OfAStudy], bases: Mapping[str, Recipe]) -> dict[str, Any]:
    """Of the first finished run, with what differs between runs over the same base."""
    if not finished:
        return {}
    first = read_summary(folder / cell_path(finished[0]))["provenance"]
    groups: dict[str, dict[str, Any]] = {name: {} for name in bases}
    for name in bases:
        if is_finished(folder / base_path(name)):
            groups[name][base_path(name)] = read_summary(folder / base_path(name))["provenance"]
    for cell in finished:
        groups.setdefault(cell.base, {})[cell_path(cell)] = read_summary(folder / cell_path(cell))["provenance"]
    differs: dict[str, dict[str, list[str]]] = {}
    for runs in groups.values():
        compared = {
            run: {key: value for key, value in provenance.items() if key not in MEANT_TO_DIFFER}
            for run, provenance in runs.items()
        }
        # Baselines are in the base's run only.
        differs |= {key: by for key, by in differing(compared).items() if key != "models"}
    return {**first, "differs": differs}
