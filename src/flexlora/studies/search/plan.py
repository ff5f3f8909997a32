"""What a search is: the recipe, the values to draw, and the validation problems and texts that trials are judged by.

All of it is written to `search.yaml`; a folder holds the trials of one plan, and every worker's must be equal to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, field_validator

from flexlora.data import codesearchnet
from flexlora.data.task_list import with_all_tasks
from flexlora.data.tasks import family_of, known, load_problems
from flexlora.data.texts import load_texts
from flexlora.errors import UsageError
from flexlora.files import write_whole
from flexlora.recipe import (
    Recipe,
    Section,
    Task,
    Texts,
    checked,
    differences,
    dumped,
    from_dict,
    load,
    merged,
    read_yaml,
)
from flexlora.recipe.evaluating import task_from_name
from flexlora.studies.search.space import SECTIONS, Space, default_space, nested

FILE = "search.yaml"
VALIDATION = "validation"
TEXTS = 100
"""Of each target language, where the plan is left to itself."""
NAME_RETENTION = (
    "name tasks of your own in a file for --space, e.g. retention: [java.jsonl], or texts to measure likelihoods of: "
    "likelihood: [{dataset: codesearchnet/java, split: validation, limit: 200}]. Test problems are never used for "
    "choosing."
)

Tasks = tuple[Annotated[Task, BeforeValidator(task_from_name)], ...]


class Search(Section):
    """What `--space FILE` holds; whatever it leaves out follows from the recipe."""

    space: Space = Field({}, description="Dotted key of the recipe -> its values: a list, or a range.")
    gain: Tasks = Field((), description="Validation tasks of the source language: what training is to improve.")
    retention: Tasks = Field((), description="Validation tasks of the target languages: what it may cost.")
    likelihood: tuple[Texts, ...] = Field(
        (),
        description="Validation texts in the target languages: the cheap signal, and the measure of retention where "
        "there are no tasks.",
    )
    startup: int = Field(5, ge=1, description="Finished trials before one is stopped early.")

    @field_validator("space")
    @classmethod
    def _of_training(cls, space: Space) -> Space:
        if wrong := [key for key in space if key.partition(".")[0] not in SECTIONS or not key.partition(".")[2]]:
            raise ValueError(
                f"{', '.join(wrong)}: a search varies keys of {', '.join(SECTIONS)}, e.g. lora.rank; what is trained "
                "on and evaluated stays the recipe's"
            )
        if single := [key for key, values in space.items() if isinstance(values, tuple) and len(values) < 2]:
            raise ValueError(f"{', '.join(single)}: one value is no choice; set it in the recipe (--set)")
        return space


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """A recipe, and everything about its search said."""

    recipe: Recipe
    """The user's own, with the test tasks that are never run here."""
    search: Search

    def of_trial(self, values: dict[str, Any]) -> Recipe:
        """The recipe of a trial: the user's without arms, judged by validation tasks and texts only.

        Raises:
            UsageError: these values do not go together.
        """
        return from_dict(merged(self._judged() | {"variants": ["adapter"]}, nested(values)))

    def of_base(self) -> Recipe:
        """The recipe by which the base is measured, once for all trials."""
        return from_dict(self._judged() | {"variants": ["base"]})

    def _judged(self) -> dict[str, Any]:
        search = self.search.model_dump(mode="json")
        likelihood = dumped(self.recipe)["likelihood"] | {"texts": search["likelihood"]}
        return dumped(self.recipe) | {
            "arms": {},
            "baselines": [],
            "tasks": [*search["gain"], *search["retention"]],
            "likelihood": likelihood,
            "selection": {},
            "repair": {},
        }

    def dumped(self) -> dict[str, Any]:
        """Plain values: what `search.yaml` holds."""
        return {"recipe": dumped(self.recipe), "search": self.search.model_dump(mode="json")}


def plan_search(recipe: Recipe | str | Path, overrides: Sequence[str] = (), space: Path | None = None) -> SearchPlan:
    """A search over a recipe, with what its file does not say filled in from the recipe.

    Args:
        recipe: one, a packaged one's name, or a path.
        overrides: `dotted.key=value` strings, for a recipe from a file.
        space: a YAML file of `Search`.

    Raises:
        UsageError: anything is wrong, or the recipe does not say what trials could be judged by.
    """
    resolved = with_all_tasks(recipe if isinstance(recipe, Recipe) else load(recipe, overrides))
    if resolved.engine.is_remote:
        raise UsageError("search: trials are generated here; leave out engine, which is a server's.")
    if not resolved.data:
        raise UsageError("search: the recipe trains nothing; name a dataset under data.")
    given = checked(Search, read_yaml(space), f"{space}: ") if space else Search()
    space_of = given.space or default_space(resolved)
    return SearchPlan(recipe=resolved, search=_find_sides(resolved, given).model_copy(update={"space": space_of}))


def _find_sides(recipe: Recipe, given: Search) -> Search:
    """The tasks and texts of both sides; those that are not named are the recipe's own, on their validation splits.

    Where no target language has any, published functions of these languages stand in.
    """
    gain, retention, texts = given.gain, given.retention, given.likelihood
    if not gain or not (retention or texts):
        sources = {language_of(source.dataset) for source in recipe.data}
        found = _validation_tasks(recipe)
        if None in sources:
            raise UsageError(
                "search: the language of the training data is not known, so that gain and retention cannot be told "
                "apart; name both, in a file for --space: gain: [TASK], retention: [TASK]."
            )
        gain = gain or tuple(task for task in found if _language(task, recipe) in sources)
        retention = retention or (() if texts else tuple(t for t in found if _language(t, recipe) not in sources))
        if gain and not (retention or texts):
            texts = _published_texts(recipe, sources)
    if not gain:
        raise UsageError(
            f"search: no task of the recipe in the language that it trains on has a {VALIDATION} split; name one of "
            "your own in a file for --space, e.g. gain: [problems.jsonl]. Test problems are never used for choosing."
        )
    if not (retention or texts):
        raise UsageError(
            f"search: no task of the recipe in another language has a {VALIDATION} split; {NAME_RETENTION}"
        )
    texts = texts or tuple(
        Texts(dataset=task.name, split=VALIDATION, limit=TEXTS) for task in retention if task.name.startswith("tiny/")
    )
    if shared := {task.name for task in gain} & {task.name for task in retention}:
        raise UsageError(f"search: {min(shared)} stands under gain and under retention; it can be one of them.")
    return given.model_copy(update={"gain": gain, "retention": retention, "likelihood": texts})


def _validation_tasks(recipe: Recipe) -> list[Task]:
    """The recipe's tasks and training data as tasks on their validation split, those that have one."""
    trained = [Task(name=source.dataset) for source in recipe.data if source.dataset in known()]
    named = {task.name: task for task in (*trained, *recipe.tasks)}
    return [
        task.model_copy(update={"split": VALIDATION})
        for task in named.values()
        if VALIDATION in family_of(task.name).splits and family_of(task.name).load
    ]


def _published_texts(recipe: Recipe, sources: set[str | None]) -> tuple[Texts, ...]:
    """Functions of `codesearchnet` in the languages of the recipe's tasks that it does not train on, as far as it has
    them.

    Raises:
        UsageError: they cannot be loaded; says what to name in their place.
    """
    languages = dict.fromkeys(_language(task, recipe) for task in recipe.tasks)
    names = [f"codesearchnet/{language}" for language in languages if language not in sources]
    found = tuple(Texts(dataset=name, split=VALIDATION, limit=TEXTS) for name in names if name in codesearchnet.known())
    for texts in found:
        try:
            load_texts(texts, recipe.data_dir)
        except UsageError as error:
            raise UsageError(
                f"search: no task of the recipe in another language has a {VALIDATION} split, and the texts of "
                f"{texts.dataset}, which would stand in, cannot be loaded: {error}\nEither put them there, or "
                f"{NAME_RETENTION}"
            ) from error
    return found


def language_of(dataset: str) -> str | None:
    """Of training data; None where its name does not say it."""
    if dataset in ("mbpp", "apps"):
        return "py"
    first, *_, last = dataset.split("/")
    return last if first in ("tiny", "codesearchnet") else None


def _language(task: Task, recipe: Recipe) -> str:
    return load_problems(task, recipe.data_dir)[0][0].language


def write_plan(plan: SearchPlan, folder: Path) -> None:
    """Write `search.yaml`, where it is not there yet.

    Raises:
        UsageError: the folder holds a search of another plan, or other files.
    """
    path = folder / FILE
    if path.is_file():
        changed = differences(read_plan(folder).dumped(), plan.dumped())
        if changed:
            listed = "\n".join(f"- {key}: {old!r} there, {new!r} now" for key, (old, new) in changed.items())
            raise UsageError(f"{folder}: holds another search:\n{listed}\nUse another --output.")
        return
    if folder.exists() and (not folder.is_dir() or any(item.name[0] != "." for item in folder.iterdir())):
        raise UsageError(f"{folder}: not empty, and not the folder of a search. Use another --output.")
    write_whole(path, yaml.safe_dump(plan.dumped(), sort_keys=False, allow_unicode=True, width=100))


def read_plan(folder: Path) -> SearchPlan:
    """The plan of a folder.

    Raises:
        UsageError: it is not a search's.
    """
    if not (folder / FILE).is_file():
        raise UsageError(f"{folder}: not the folder of a search; `flexlora search RECIPE` makes one.")
    values = read_yaml(folder / FILE)
    return SearchPlan(recipe=from_dict(values["recipe"]), search=checked(Search, values["search"], f"{FILE}: "))
