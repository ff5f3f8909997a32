"""A study's folder as `Results`: the verdicts of all finished cells and bases, checked to be of one kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from flexlora.errors import UsageError
from flexlora.evaluation.results import TaskResults, name_some
from flexlora.evaluation.runs import scored_results
from flexlora.evaluation.schema import Summary, read_summary
from flexlora.folder import existing
from flexlora.recipe import Recipe
from flexlora.studies.cells import Cell
from flexlora.studies.results import Answers, Origin, Results, TaskProblems

SAMPLING = {"n", "temperature", "top_p", "max_new_tokens"}
"""What of the sampling a score depends on."""


def cell_path(cell: Cell) -> str:
    """A cell's run directory, relative to the study's folder."""
    return f"cells/{cell.name}"


def base_path(name: str) -> str:
    """The run directory of a base and baselines, relative to the study's folder."""
    return f"bases/{name}"


def read_cells(name: str, folder: Path, cells: Sequence[Cell], bases: Iterable[str], finished: Set[str]) -> Results:
    """All verdicts of the finished runs of a study; the caller lists the others.

    Args:
        name: of the study.
        cells: all of them.
        bases: names of the runs with base and baselines.
        finished: their paths.

    Raises:
        UsageError: a folder is no run, has another seed, or differs from the others in problems, data or sampling.
        FlexError: verdicts are missing, or no longer those of a run's summary.
    """
    results = Results(study=name)
    conditions: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for base in bases:
        if base_path(base) in finished:
            _add_run(results, conditions, folder, base_path(base), base, None)
    for cell in cells:
        results.configurations.setdefault(cell.config, Origin(arm=cell.arm, point=cell.point, base=cell.base))
        if cell_path(cell) in finished:
            _add_run(results, conditions, folder, cell_path(cell), cell.base, cell)
    return results


def _add_run(
    results: Results,
    conditions: dict[tuple[str, str], tuple[str, dict[str, Any]]],
    folder: Path,
    path: str,
    base: str,
    cell: Cell | None,
) -> None:
    run, summary = folder / path, read_summary(folder / path)
    recipe = existing(run).recipe
    if cell is not None and recipe.seed != cell.seed:
        raise UsageError(f"{run}: was run with seed {recipe.seed}, and the study has {cell.seed} there. Delete it.")
    for score in summary["scores"]:
        task = score["task"]
        _refuse_other_conditions(conditions, (base, task), path, _conditions(recipe, summary, task))
        found = scored_results(run, score)
        _refuse_other_problems(results, task, score["language"], found, run)
        config, variant = base if cell is None else cell.config, score["variant"]
        if variant == "baseline":
            config = f"baseline {score['model']}" + ("" if base == "base" else f" ({base})")
        results.configurations.setdefault(config, Origin(arm=None, point={}, base=base))
        counts = tuple(found.passes[problem] for problem in results.tasks[task].problems)
        answers = results.answers.setdefault(
            (config, variant, task), Answers(samples=found.samples_per_problem, passes={})
        )
        answers.passes[recipe.seed] = counts


def _conditions(recipe: Recipe, summary: Summary, task: str) -> dict[str, Any]:
    """What scores on a task depend on besides the model, flat."""
    provenance = summary["provenance"]
    own = [one.model_dump(mode="json") for one in recipe.tasks if one.name == task]
    return dict(
        _flat(
            {
                "task": own[0] if own else {},
                "sampling": recipe.sampling.model_dump(mode="json", include=SAMPLING),
                "prompting": recipe.prompting.model_dump(mode="json"),
                "data": {
                    key: value
                    for key, value in provenance.get("tasks", {}).get(task, {}).get("data", {}).items()
                    if key != "source"
                },
            }
        )
    )


def _refuse_other_conditions(
    conditions: dict[tuple[str, str], tuple[str, dict[str, Any]]],
    key: tuple[str, str],
    path: str,
    now: dict[str, Any],
) -> None:
    """All that stands over one base is compared with it and with one another."""
    first_path, first = conditions.setdefault(key, (path, now))
    if first != now:
        listed = "; ".join(
            f"{name}: {first.get(name)!r} in {first_path}, {now.get(name)!r} in {path}"
            for name in sorted({*first, *now})
            if first.get(name) != now.get(name)
        )
        raise UsageError(
            f"{key[1]}: evaluated in different ways, which must not be compared ({listed}). Delete one of the two "
            "folders and run the study again."
        )


def _refuse_other_problems(results: Results, task: str, language: str, found: TaskResults, run: Path) -> None:
    problems = tuple(sorted(found.passes))
    known = results.tasks.setdefault(task, TaskProblems(language=language, problems=problems))
    if known.problems != problems:
        differing = sorted(set(known.problems) ^ set(problems))
        raise UsageError(
            f"{run}: {task} has other problems ({len(problems)}) than in the runs before it ({len(known.problems)}); "
            f"{len(differing)} are not in both: {name_some(differing)}. Scores on different problems are not compared; "
            "give all of a study the same limit and data."
        )


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
