"""The cells of a study: every arm at every point of the grid with every seed, each a recipe of an ordinary run.

The recipe is laid under the point, the point under the arm: where an arm sets a key of the grid itself, its own value
holds, and the key makes no further points of it. Cells whose recipes are equal are one.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flexlora.data.task_list import with_all_tasks
from flexlora.errors import UsageError
from flexlora.recipe import ARM_KEYS, Recipe, Section, dumped, examined, from_dict, merged
from flexlora.studies.names import configuration_name, folder_name, short_keys, value_name
from flexlora.studies.schema import Study
from flexlora.studies.sequence import after, goes_on_from

BASE = "base"
OF_THE_STUDY = {
    "seed": "`seeds` and `seeds_of` say with which seeds the cells are run",
    "variants": "all of them are evaluated of every cell; set them in the recipe (`set: {variants: [...]}`)",
    "baselines": "they are evaluated once for all cells; set them in the recipe (`set: {baselines: [...]}`)",
    "arms": "`arms` is a key of the study itself",
    "name": "cells are named after their arm, point and seed",
    "description": "a study has its own",
}
"""Keys of a recipe that a grid or an arm cannot change, and what does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """An arm at a grid point."""

    name: str
    arm: str
    point: dict[str, Any]
    """Dotted key of the grid -> its value, or the value's name."""
    values: dict[str, Any]
    """Dotted key of the grid -> its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A configuration with one seed: an ordinary run."""

    name: str
    """Of its folder."""
    config: str
    """Name of the configuration."""
    arm: str
    point: dict[str, Any]
    seed: int
    recipe: Recipe
    base: str
    """Name of the run with its base; see `bases_of`."""
    follows: str | None = None
    """Name of the cell whose adapter it goes on from; its recipe starts from the base, as that has no place yet."""


def cells_of(study: Study) -> list[Cell]:
    """All cells, a configuration's seeds side by side.

    Raises:
        UsageError: something is wrong with the grid, the arms or any cell's recipe; all problems are listed.
    """
    found, problems = _recipes_of(study)
    problems += [
        f"seeds_of.{arm}: there is no such arm; there are {', '.join(study.arms)}"
        for arm in study.seeds_of
        if arm not in study.arms
    ]
    cells = [
        Cell(
            name=(name := folder_name(f"{config.name} seed={seed}")),
            config=config.name,
            arm=config.arm,
            point=config.point,
            seed=seed,
            recipe=recipe.model_copy(update={"name": name, "seed": seed}),
            base=_base_name(study, config),
        )
        for config, recipe in found
        for seed in study.seeds_of.get(config.arm, study.seeds)
    ]
    names = [cell.name for cell in cells]
    problems += [f"two cells would share the folder {name}" for name in dict.fromkeys(names) if names.count(name) > 1]
    if not problems:
        cells, problems = _in_sequence(cells)
    refuse_all(study, problems)
    return cells


def _in_sequence(cells: Sequence[Cell]) -> tuple[list[Cell], list[str]]:
    """Cells that know which they go on from, and what is wrong with what they name."""
    found, problems = [], []
    for cell in cells:
        try:
            other = goes_on_from(cell, cells)
        except UsageError as error:
            problems.append(str(error))
            continue
        found.append(
            cell if other is None else replace(cell, recipe=after(cell.recipe, cell.arm, None), follows=other.name)
        )
    return found, problems


def bases_of(study: Study) -> dict[str, Recipe]:
    """Name -> recipe of a run with base and baselines: `base`, or one for each point at which the base is another.

    Raises:
        UsageError: as `cells_of`.
    """
    found, problems = _recipes_of(study)
    refuse_all(study, problems)
    written = recipe_values(study)
    bases: dict[str, Recipe] = {}
    for config, recipe in found:
        name = _base_name(study, config)
        if name not in bases:
            trained = {key: value for key, value in dumped(recipe).items() if key not in ARM_KEYS}
            own = {"name": name, "arms": {}, "variants": [BASE], "seed": written.get("seed", 0)}
            bases[name] = from_dict(trained | own | {"baselines": written.get("baselines", ())})
    return bases


def configurations_of(study: Study) -> tuple[list[Configuration], list[str]]:
    """Every arm at every point that makes another run of it, and what is wrong with arms and grid."""
    problems = [
        f"arms.{arm}.{key}: not an arm's to change: {OF_THE_STUDY[key]}"
        for arm, overrides in study.arms.items()
        for key in overrides
        if key in OF_THE_STUDY
    ]
    grid: dict[str, list[tuple[str, Any]]] = {}
    for key, values in study.grid.items():
        grid[key], wrong = _named_values(key, values)
        problems += wrong
    keys = short_keys(grid)
    found = []
    for arm, overrides in study.arms.items():
        own = {key: values for key, values in grid.items() if not _sets(overrides, key, values)}
        for chosen in itertools.product(*own.values()):
            names = {key: name for key, (name, _) in zip(own, chosen, strict=True)}
            values = {key: value for key, (_, value) in zip(own, chosen, strict=True)}
            plain = {key: names[key] if isinstance(study.grid[key], Mapping) else values[key] for key in own}
            found.append(Configuration(name=configuration_name(arm, names, keys), arm=arm, point=plain, values=values))
    return found, problems


def recipe_values(study: Study) -> dict[str, Any]:
    """The study's recipe with `set` laid over it.

    Raises:
        UsageError: it is still a name; `studies.files.load_study` reads it.
    """
    if isinstance(study.recipe, str):
        raise UsageError(f"study {study.name}: its recipe {study.recipe!r} has not been read; load_study reads both.")
    return merged(study.recipe, study.set)


def refuse_all(study: Study, problems: Sequence[str]) -> None:
    """Raise a UsageError with all problems, if there are any."""
    if problems:
        listed = "\n".join(f"- {problem}" for problem in dict.fromkeys(problems))
        raise UsageError(f"study {study.name} is not valid:\n{listed}")


def _recipes_of(study: Study) -> tuple[list[tuple[Configuration, Recipe]], list[str]]:
    """Every configuration with its recipe, the seed aside, those with equal ones once; and all problems."""
    configurations, problems = configurations_of(study)
    values = recipe_values(study)
    complaints: dict[str, list[str]] = {}
    found: dict[str, tuple[Configuration, Recipe]] = {}
    for config in configurations if not problems else ():
        recipe, wrong = examined(_values_of(values, study, config))
        for problem in wrong:
            complaints.setdefault(problem, []).append(config.name)
        if recipe is None or wrong:
            continue
        if recipe.engine.is_remote:
            problems.append(
                "engine: a study makes an adapter in every cell, and a server would have to be given each; use "
                "engine.name: transformers"
            )
        if not recipe.arm_names():
            problems.append("variants: a study evaluates what it trains; add adapter or merged")
            continue
        recipe = with_all_tasks(recipe)
        same = json.dumps([config.arm, dumped(recipe.arm(config.arm))], sort_keys=True)
        found.setdefault(same, (config, recipe))
    for problem, where in complaints.items():
        more = f" and {len(where) - 1} more" if len(where) > 1 else ""
        problems.append(f"{problem}, in {where[0]}{more}" if study.grid else problem)
    return list(found.values()), problems


def _values_of(values: Mapping[str, Any], study: Study, config: Configuration) -> dict[str, Any]:
    """The recipe of a configuration, as plain values."""
    at_point: dict[str, Any] = dict(values)
    for key, value in config.values.items():
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        at_point = merged(at_point, nested)
    variants = values.get("variants", Recipe.model_fields["variants"].default)
    return at_point | {
        "name": "",
        "description": "",
        "arms": {config.arm: study.arms[config.arm]},
        "variants": [variant for variant in variants if variant != BASE] or [BASE],
        "baselines": (),
        "seed": 0,
    }


def _named_values(key: str, values: Sequence[Any] | Mapping[str, Any]) -> tuple[list[tuple[str, Any]], list[str]]:
    """A grid key's (name, value) pairs, and what is wrong with them."""
    if (root := key.split(".", 1)[0]) in OF_THE_STUDY:
        return [], [f"grid.{key}: not a key of a grid: {OF_THE_STUDY[root]}"]
    if isinstance(values, Mapping):
        section = Recipe.model_fields[key].default if key in Recipe.model_fields else None
        if isinstance(section, Section) and set(values) <= set(type(section).model_fields):
            dotted = ", ".join(f"{key}.{name}" for name in values)
            return [], [f"grid.{key}: write keys with points ({dotted}); a mapping here names whole values of {key}"]
        pairs = [("-".join(str(name).split()), value) for name, value in values.items()]
    else:
        names = [value_name(value) for value in values]
        if None in names:
            which = values[names.index(None)]
            return [], [f"grid.{key}: {which!r} is too long for a name; write a mapping of names to values"]
        pairs = [(str(name), value) for name, value in zip(names, values, strict=True)]
    called = [name for name, _ in pairs]
    twice = [name for name in dict.fromkeys(called) if called.count(name) > 1]
    return pairs, [f"grid.{key}: two values are called {name}; give each once, or another name" for name in twice]


def _sets(overrides: Mapping[str, Any], key: str, values: Sequence[tuple[str, Any]]) -> bool:
    """Whether an arm has a value of its own for a key, rather than parts of a mapping."""
    inside: Any = overrides
    for part in key.split("."):
        if not isinstance(inside, Mapping) or part not in inside:
            return False
        inside = inside[part]
    return not (isinstance(inside, Mapping) and all(isinstance(value, Mapping) for _, value in values))


def _base_name(study: Study, config: Configuration) -> str:
    """`base`, with what of the point is about more than the adapter."""
    keys = short_keys(study.grid)
    names = {key: str(value_name(value)) for key, value in config.point.items() if key.split(".")[0] not in ARM_KEYS}
    return folder_name(configuration_name(BASE, names, keys))
