"""Studies in YAML files: found by path or packaged name, read with their recipe, overridden, and checked as a whole."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flexlora.data.task_list import with_all_tasks
from flexlora.errors import UsageError
from flexlora.recipe import (
    Recipe,
    absolute_if_local,
    checked,
    dumped,
    examined,
    find,
    is_study,
    merged,
    packaged,
    packaged_studies,
    parse_override,
    read_yaml,
)
from flexlora.studies.cells import BASE, Cell, cells_of, recipe_values, refuse_all
from flexlora.studies.schema import Study

__all__ = ["find_study", "load_study", "packaged_studies", "read_study"]

ENTRIES = ("arms", "grid", "seeds_of")
"""Keys of a study that are mappings of names; an override of null takes one out."""


def load_study(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Study:
    """Read, override and check a study and all its cells; its recipe is written out in what is returned.

    Args:
        name_or_path: a path, or the name of a packaged study.
        overrides: `key=value` strings (`--set` on the command line): of the study (`seeds=4`, `grid.penalty.lam=[0]`,
            `arms.rows=null`), or of the recipe (`model=tiny`), which go to the study's `set`.

    Raises:
        UsageError: a file is missing, or the study, its recipe or one of its cells is wrong; all errors are listed.
    """
    path = find_study(str(name_or_path))
    values = read_yaml(path)
    if not is_study(values):
        recipe = f"a recipe, which is one run; `flexlora run {name_or_path}` runs it"
        raise UsageError(f"{path}: {recipe if 'model' in values else 'no study, as it has no `recipe`'}.")
    values.setdefault("name", path.stem)
    given = list(overrides)
    for override in filter(_names_recipe, given):  # first, as the arms may be the recipe's
        values = _overridden(values, override)
    values, source = _with_file(values, path.parent)
    for override in itertools.filterfalse(_names_recipe, given):
        values = _overridden(values, override)
    try:
        study = checked(Study, values, "")
    except UsageError as error:
        raise UsageError(f"study {path} is not valid: {error}") from error
    study = _written_out(study, source)
    refuse_all(study, _misnamed(study, cells_of(study)))
    return study


def read_study(file: Path) -> Study:
    """The study that `STUDY/study.yaml` holds: its recipe is written out already.

    Raises:
        UsageError: there is none, or it was damaged.
    """
    try:
        return checked(Study, read_yaml(file), "")
    except UsageError as error:
        raise UsageError(f"{file}: not a study's: {error}") from error


def find_study(study: str) -> Path:
    """The file of a study given as a path or as the name of a packaged one.

    Raises:
        UsageError: there is no such file and no such name, or it is a recipe's.
    """
    path, known = Path(study), packaged_studies()
    if path.is_file():
        return path
    if study in known:
        return known[study]
    if (path / "study.yaml").is_file():
        return path / "study.yaml"
    if study in packaged():
        raise UsageError(f"{study}: a recipe, which is one run; `flexlora run {study}` runs it.")
    close = difflib.get_close_matches(path.stem, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UsageError(
        f"study {study!r}: no such file, and no packaged study of that name.{hint} Packaged: "
        f"{', '.join(known) or 'none'}."
    )


def _names_recipe(override: str) -> bool:
    return override.startswith("recipe=")


def _overridden(values: Mapping[str, Any], override: str) -> dict[str, Any]:
    """The values of a study with one `key=value` laid over them."""
    given = parse_override(override)
    (first,) = given
    key, _, _ = override.partition("=")
    if first not in Study.model_fields:
        if first not in Recipe.model_fields:
            close = difflib.get_close_matches(first, [*Study.model_fields, *Recipe.model_fields], n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UsageError(f"--set {override!r}: {first!r} is no key of a study or of a recipe{hint}")
        return merged(values, {"set": given})
    if first not in ENTRIES or key == first:
        return {**values, **given} if key == first else merged(values, given)
    entries = dict(values.get(first) or {})
    name = key.removeprefix(f"{first}.")
    if first == "grid":  # whose keys have points
        given = {first: {name: _value_at(given, key)}}
    if given[first].get(name, entries) is None:
        if name not in entries:
            raise UsageError(f"--set {override!r}: {first} has no {name!r} to take out; it has {', '.join(entries)}")
        del entries[name]
    else:
        entries = {**entries, **given[first]} if first == "grid" else merged(entries, given[first])
    return {**values, first: entries}


def _value_at(nested: Any, key: str) -> Any:
    for part in key.split("."):
        nested = nested[part]
    return nested


def _with_file(values: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    """A study's values with what is in its recipe's file, and with the recipe's arms where it has none of its own.

    Returns:
        Them, and what the recipe is called in messages.

    Raises:
        UsageError: there is no such recipe, or it is a study.
    """
    recipe, source = values["recipe"], f"the recipe of study {values['name']}"
    if isinstance(recipe, str):
        beside = folder / recipe
        file = beside if beside.is_file() else find(recipe)
        recipe, source = read_yaml(file), f"recipe {file}"
        if is_study(recipe):
            raise UsageError(f"study {values['name']}: its recipe {values['recipe']!r} is a study itself.")
    arms = values.get("arms") or (recipe.get("arms") if isinstance(recipe, Mapping) else None)
    return {**values, "recipe": recipe, **({"arms": arms} if arms else {})}, source


def _written_out(study: Study, source: str) -> Study:
    """The study with a whole recipe, and nothing left that depends on where it is read.

    Raises:
        UsageError: the recipe is wrong.
    """
    if taken := [key for key in ("seed", "arms") if key in study.set]:
        raise UsageError(f"study {study.name}: set.{taken[0]}: the study's own `seeds` and `arms` say that; set those.")
    values = recipe_values(study)
    arms = study.arms or {"main": {}}
    recipe, problems = examined(values | {"arms": arms})
    if recipe is None or problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise UsageError(f"{source} is not valid{' with what the study sets' if study.set else ''}:\n{listed}")
    written = dumped(with_all_tasks(recipe)) | {"arms": {}}
    grid = {key: _in_full(values) if key == "model" else values for key, values in study.grid.items()}
    return study.model_copy(update={"recipe": written, "set": {}, "arms": arms, "grid": grid})


def _in_full(models: tuple[Any, ...] | dict[str, Any]) -> tuple[Any, ...] | dict[str, Any]:
    """Models by places that mean the same wherever the study is continued from, under the names that were given."""
    named = models if isinstance(models, dict) else {str(name): name for name in models}
    full = {name: absolute_if_local(model) if isinstance(model, str) else model for name, model in named.items()}
    return models if list(full.values()) == list(named.values()) else full


def _misnamed(study: Study, cells: Iterable[Cell]) -> list[str]:
    """What `analysis` and `paper` name that the study does not have."""
    cells = list(cells)
    configs = dict.fromkeys(cell.config for cell in cells)
    tasks = dict.fromkeys(task.name for cell in cells for task in cell.recipe.tasks)
    variants = dict.fromkeys(variant for cell in cells for variant in cell.recipe.variants)
    found: list[str] = []

    def look(where: str, names: Iterable[str], known: Iterable[str], kind: str) -> None:
        found.extend(
            f"{where}: there is no {kind} {name!r}; there are {', '.join(known)}" for name in names if name not in known
        )

    analysis = study.analysis
    compared = dict.fromkeys([*configs, *study.arms, BASE, *(cell.base for cell in cells)])
    look("analysis.against", analysis.against, compared, "configuration or arm")
    look("analysis.confirmatory", analysis.confirmatory, configs, "configuration")
    if primary := analysis.primary:
        look("analysis.primary.config", [primary.config], configs, "configuration")
        look("analysis.primary.against", [primary.against], configs, "configuration")
        look("analysis.primary.tasks", primary.tasks, tasks, "task")
        look("analysis.primary.variant", [primary.variant], variants, "variant")
        if primary.config == primary.against:
            found.append(f"analysis.primary: compares {primary.config} with itself")
    if tradeoff := analysis.tradeoff:
        look("analysis.tradeoff.gain", tradeoff.gain, tasks, "task")
        look("analysis.tradeoff.retention", tradeoff.retention, tasks, "task")
    if (paper := study.paper) and any(cell.recipe.model == paper.model for cell in cells):
        look("paper.figures", (figure.config for figure in paper.figures), [*configs, "base"], "configuration")
    counts = {sampling.n for sampling in (cell.recipe.sampling for cell in cells)}
    if counts and analysis.k > min(counts):
        found.append(f"analysis.k: pass@{analysis.k} needs as many completions; sampling.n is {min(counts)}")
    return found
