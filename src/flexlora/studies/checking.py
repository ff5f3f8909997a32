"""A study is checked as a whole before anything runs: its configurations as the arms of a few runs, one for each model.

The check is `flexlora run --dry-run` in a process of its own, so that the study's process needs no memory of a GPU.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flexlora.errors import FlexError, UsageError
from flexlora.recipe import ARM_KEYS, Recipe, dumped, from_dict
from flexlora.studies import processes
from flexlora.studies.cells import Cell, bases_of, cells_of
from flexlora.studies.schema import Study
from flexlora.studies.workers import cores, visible_gpus

NOT_CHECKED = ("arms", "name", "description", "variants", "baselines", "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a study comes to, as preflight found it."""

    arms: dict[str, dict[str, Any]]
    """Configuration -> its `plan.ArmPlan`."""
    plans: dict[str, dict[str, Any]]
    """Configuration -> the `plan.Plan` that it is part of."""

    @property
    def parameters(self) -> int | None:
        """Of the largest model."""
        known = [plan["parameters"] for plan in self.plans.values() if plan["parameters"] is not None]
        return max(known, default=None)


def check_study(study: Study, sandbox: str = "bubblewrap") -> Checked:
    """Check data, models, adapters, toolchains and sizes of every configuration.

    Raises:
        UsageError: something is missing or wrong; all problems of the configurations that share a model are listed.
    """
    checked = Checked(arms={}, plans={})
    problems = []
    for recipe, configs in preflights(study):
        try:
            plan = _planned(recipe, sandbox)
        except UsageError as error:
            problems.append(str(error))
            continue
        for arm in plan["arms"]:
            checked.arms[configs[arm["arm"]]] = arm
            checked.plans[configs[arm["arm"]]] = plan
    if problems:
        raise UsageError("\n".join(dict.fromkeys(problems)))
    return checked


def preflights(study: Study) -> list[tuple[Recipe, dict[str, str]]]:
    """Recipes whose arms are the study's configurations, with arm -> configuration: what is alike is checked once."""
    baselines = {name: recipe.baselines for name, recipe in bases_of(study).items()}
    groups: dict[str, list[Cell]] = {}
    first: dict[str, Cell] = {}
    for cell in cells_of(study):
        first.setdefault(cell.config, cell)
    for cell in first.values():
        shared = {key: value for key, value in dumped(cell.recipe).items() if key not in (*ARM_KEYS, *NOT_CHECKED)}
        groups.setdefault(json.dumps(shared, sort_keys=True), []).append(cell)
    found = []
    for cells in groups.values():
        arms, configs = {}, {}
        for at, cell in enumerate(cells):
            arm = re.sub(r"[^A-Za-z0-9._-]+", "-", cell.config)
            arm = f"{arm}-{at}" if arm in arms else arm
            own = dumped(cell.recipe.arm(cell.arm))
            arms[arm] = {key: own[key] for key in ARM_KEYS if key != "seed"}
            configs[arm] = cell.config
        variants = ["base", *cells[0].recipe.variants]
        values = dumped(cells[0].recipe) | {"arms": arms, "variants": variants, "name": study.name, "description": ""}
        found.append((from_dict(values | {"baselines": baselines[cells[0].base]}), configs))
    return found


def _planned(recipe: Recipe, sandbox: str) -> dict[str, Any]:
    """The plan of a run, as `flexlora run --dry-run` finds it."""
    with tempfile.TemporaryDirectory(prefix="flexlora-study-") as folder:
        file = Path(folder) / f"{re.sub('[^A-Za-z0-9._-]+', '-', recipe.name) or 'study'}.yaml"
        file.write_text(yaml.safe_dump(dumped(recipe), sort_keys=False, allow_unicode=True), encoding="utf-8")
        command = ["run", str(file), "--output", str(Path(folder) / "run"), "--dry-run", "--json", "--sandbox", sandbox]
        plan: dict[str, Any] = parsed(command)
    return plan


def parsed(command: Sequence[str]) -> Any:
    """What a command of `flexlora` with `--json` prints, of one that works with this machine's first GPU.

    Raises:
        FlexError: it failed; its own words, and its own kind of error.
    """
    first = next(iter(visible_gpus()), None)
    done = subprocess.run(
        [*processes.flexlora(), *command],
        capture_output=True,
        text=True,
        env={**os.environ, **processes.environment(threads=cores(), gpu=first)},
        check=False,
    )
    if done.returncode:
        said = done.stderr.rpartition("\nflexlora: ")[2].removeprefix("flexlora: ").strip() or done.stdout
        kind = UsageError if done.returncode == UsageError.exit_code else FlexError
        raise kind(said or f"{' '.join(command)}: exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])
