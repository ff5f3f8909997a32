"""A study's directory: the only state of a study, and what of it is finished.

    STUDY/study.yaml                the study, its recipe written out
    STUDY/recipes/NAME.yaml         the recipe of each run, as `flexlora run` is given it
    STUDY/bases/NAME/               ordinary runs: base and baselines
    STUDY/cells/NAME/               ordinary runs: the cells
    STUDY/logs/NAME.log             what each printed
    STUDY/events.jsonl              when each was started, finished or failed
    STUDY/study.json  results.jsonl  report.html  figures/  tables/     what it shows

Running again continues. A study that grew (more seeds, arms, values of the grid) is continued; any other difference is
refused, because the cells would not belong together.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flexlora.errors import FlexError, UsageError
from flexlora.files import write_whole
from flexlora.folder import LOCK, RunFolder
from flexlora.locks import held, is_held
from flexlora.recipe import Recipe, differences, dumped, from_dict, read_yaml
from flexlora.studies.cells import Cell, bases_of, cells_of, recipe_values
from flexlora.studies.files import find_study, read_study
from flexlora.studies.names import value_name
from flexlora.studies.schema import Study
from flexlora.studies.sequence import after

FILES = ("study.yaml", "events.jsonl", "study.json", "results.jsonl", "report.html")
FOLDERS = ("recipes", "bases", "cells", "logs", "figures", "tables")
OVERWRITING = ".overwriting"
"""Stands in a study's directory while what was there is deleted."""
HANDED_OVER = ("report.html",)
"""What a run writes last."""
PLACE_OF_ADAPTER = len(("cells", "NAME", "ARM", "train", "adapter"))
"""Parts of an adapter's path inside a study."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One of a study's ordinary runs: a cell, or one with a base."""

    name: str
    config: str
    """Of a cell; `base` of the others."""
    recipe: Recipe
    path: Path
    file: Path
    """Its recipe."""
    log: Path
    first: bool
    """Whether it is the first of its configuration: it takes probe steps for all of them."""
    follows: str | None = None
    """Name of the run that is to be finished before, as this one goes on from its adapter."""

    def is_finished(self) -> bool:
        """Whether its directory holds the whole run of this very recipe."""
        return self._is_begun() and all((self.path / name).is_file() for name in ("summary.json", *HANDED_OVER))

    def _is_begun(self) -> bool:
        """Whether its directory holds a run of this very recipe, wherever the study was then."""
        try:
            there = dumped(from_dict(read_yaml(self.path / "recipe.yaml")))  # also of an older FLeX, with fewer keys
        except UsageError:
            return False
        return _same(self._anywhere(there), self._anywhere(dumped(self.recipe)))

    def _anywhere(self, values: dict[str, Any]) -> dict[str, Any]:
        """A dumped recipe that names another cell's adapter by its place in the study, which may have been moved."""
        if self.follows is None:
            return values
        arms = {}
        for arm, overrides in values["arms"].items():
            lora = overrides.get("lora", {})
            inside = Path(lora.get("init_adapter") or "").parts[-PLACE_OF_ADAPTER:]
            arms[arm] = {**overrides, "lora": {**lora, "init_adapter": "/".join(inside)}}
        return {**values, "arms": arms}

    def is_held(self) -> bool:
        """Whether a process works in its directory."""
        return is_held(self.path / LOCK)

    def prepare(self) -> None:
        """Write its recipe where `flexlora run` is to read it, and take away what would say that it is finished.

        A run of a study that has been moved since gets the new place of the adapter that it goes on from.
        """
        content = yaml.safe_dump(dumped(self.recipe), sort_keys=False, allow_unicode=True, width=100)
        if self.follows is not None and self._is_begun():
            write_whole(self.path / "recipe.yaml", content)
        write_whole(self.file, content)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        for name in HANDED_OVER:
            (self.path / name).unlink(missing_ok=True)


def runs_of(study: Study, folder: Path) -> list[Run]:
    """All runs of a study in the order in which they are started: the bases, then cells seed by seed.

    So a study that is stopped half-way has as many seeds of every configuration, rather than all of some.
    """
    cells = cells_of(study)
    position = {(arm, seed): at for arm in study.arms for at, seed in enumerate(study.seeds_of.get(arm, study.seeds))}
    cells.sort(key=lambda cell: position[cell.arm, cell.seed])  # is stable
    first = {cell.config: cell.name for cell in reversed(cells)}
    arms = {cell.name: cell.arm for cell in cells}

    def started(cell: Cell) -> Recipe:
        if cell.follows is None:
            return cell.recipe
        earlier = RunFolder(recipe=cell.recipe, path=folder.resolve() / "cells" / cell.follows)
        return after(cell.recipe, cell.arm, earlier.adapter(arms[cell.follows]))

    found: list[tuple[str, str, str, Recipe, str | None]]
    found = [("bases", name, "base", recipe, None) for name, recipe in bases_of(study).items()]
    found += [("cells", cell.name, cell.config, started(cell), cell.follows) for cell in cells]
    return [
        Run(
            name=name,
            config=config,
            recipe=recipe,
            path=folder / kind / name,
            file=folder / "recipes" / f"{name}.yaml",
            log=folder / "logs" / f"{name}.log",
            first=first.get(config) == name,
            follows=follows,
        )
        for kind, name, config, recipe, follows in found
    ]


def _same(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether two dumped recipes lead to the same files; how many programs run at a time is this machine's."""
    plain = {key: dict(value) if isinstance(value, Mapping) else value for key, value in there.items()}
    other = {key: dict(value) if isinstance(value, Mapping) else value for key, value in wanted.items()}
    for values in (plain, other):
        values.get("execution", {}).pop("workers", None)
    return plain == other


def open_study(study: Study, folder: Path, overwrite: bool = False) -> None:
    """Check that a directory is new, or holds this study or a smaller one. Writes nothing.

    Args:
        overwrite: accept another study; `begin_study` will delete it.

    Raises:
        UsageError: it holds another study, or other files.
    """
    if (folder / OVERWRITING).exists() or (_is_study(folder) and overwrite):
        return
    if _is_study(folder):
        there = read_study(folder / "study.yaml")
        if changed := differing(there, study):
            listed = "\n".join(f"- {key}: {old!r} there, {new!r} now" for key, (old, new) in changed.items())
            remedy = (
                f"What is compared was fixed when the study began. To look at its results in another way, edit "
                f"`analysis` in {folder / 'study.yaml'}, run `flexlora study report {folder}`, and say so."
                if all(key.startswith("analysis") for key in changed)
                else "Use another --output, or --overwrite to delete it and start anew."
            )
            raise UsageError(f"{folder}: holds a different study:\n{listed}\n{remedy}")
    elif folder.exists() and (
        not folder.is_dir() or any(item.name not in (LOCK, ".study.yaml.partial") for item in folder.iterdir())
    ):
        raise UsageError(f"{folder}: not empty, and not a study's directory. Use another --output.")


def differing(there: Study, now: Study) -> dict[str, tuple[Any, Any]]:
    """Dotted keys in which a study is another, rather than a larger one: key -> (there, now)."""
    old, new = there.model_dump(mode="json"), now.model_dump(mode="json")
    recipes = [dumped(from_dict(recipe_values(study) | {"arms": study.arms})) | {"arms": {}} for study in (there, now)]
    found = {f"recipe.{key}": pair for key, pair in differences(recipes[0], recipes[1]).items()}
    for ours in ("recipe", "name", "description", "paper"):
        old.pop(ours), new.pop(ours)
    for values, study in ((old, there), (new, now)):
        values["grid"] = {key: _named(choices) for key, choices in study.grid.items()}
        values["seeds_of"] = {arm: list(study.seeds_of.get(arm, study.seeds)) for arm in study.arms}
        del values["seeds"]
        if not study.analysis.against:  # then what is compared with hangs on the order
            values["analysis"]["against"] = f"the first arm, {next(iter(study.arms))}"
    for arm, seeds in old["seeds_of"].items():
        if arm in new["seeds_of"] and not set(seeds) <= set(new["seeds_of"][arm]):
            found[f"seeds of {arm}"] = seeds, new["seeds_of"][arm]
    del old["seeds_of"], new["seeds_of"]
    if set(old["grid"]) == set(new["grid"]):
        for key in old["grid"]:
            new["grid"][key] = {name: new["grid"][key].get(name) for name in old["grid"][key]}
    new["arms"] = {arm: new["arms"].get(arm) for arm in old["arms"]}
    return found | differences(old, new)


def _named(choices: Any) -> dict[str, Any]:
    return dict(choices) if isinstance(choices, Mapping) else {str(value_name(value)): value for value in choices}


def begin_study(study: Study, folder: Path, overwrite: bool = False) -> None:
    """Make the directory this study's by writing `study.yaml`.

    Args:
        overwrite: delete what an earlier study left there, and nothing else.

    Raises:
        FlexError: something of it cannot be deleted; what is left must not be taken for this study's.
    """
    mark = folder / OVERWRITING
    if overwrite or mark.exists():
        mark.touch()
        try:
            for name in FOLDERS:
                if (folder / name).exists():
                    shutil.rmtree(folder / name)
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise FlexError(
                f"{error.filename or folder}: cannot be deleted ({error.strerror or error}). Delete it by hand, and "
                "run the study again; it goes on with the deleting."
            ) from error
        mark.unlink()
    content = yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)
    write_whole(folder / "study.yaml", content)


def existing_study(folder: Path) -> Study:
    """The study in a directory.

    Raises:
        UsageError: it is not a study's directory.
    """
    if not _is_study(folder) or (folder / OVERWRITING).exists():
        raise UsageError(f"{folder}: not a study's directory. `flexlora study run STUDY` makes one.")
    return read_study(folder / "study.yaml")


def folder_of(study: str) -> Path | None:
    """The study's directory that the command line named instead of a file; None where it named none."""
    folder = Path(study)
    return folder if _is_study(folder) and find_study(study) == folder / "study.yaml" else None


def _is_study(folder: Path) -> bool:
    """A folder that merely holds somebody's study.yaml is none."""
    ours = (LOCK, "events.jsonl")  # the first is lost where a copy leaves hidden files out
    return (folder / "study.yaml").is_file() and any((folder / name).exists() for name in ours)


def locked_study(folder: Path) -> AbstractContextManager[None]:
    """Hold a study's directory, so that two processes never run the same cells; see `locks.held`."""
    return held(folder / LOCK, "running this study", folder)
