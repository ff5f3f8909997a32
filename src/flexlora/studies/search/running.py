"""The command: everything checked first, workers started and watched, what they found written.

A worker is a process of its own (`processes`), so that one that is killed (out of memory, say) takes no more with it
than its hold on a trial, which another goes on with.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from flexlora import models, preflight
from flexlora.adapters import resolve_targets
from flexlora.errors import FlexError, UsageError
from flexlora.execution import How
from flexlora.files import write_json
from flexlora.folder import RunFolder
from flexlora.progress import say
from flexlora.report.search_page import write_search_report
from flexlora.report.search_words import trial_line
from flexlora.studies.search import processes, storage
from flexlora.studies.search.best import write_best
from flexlora.studies.search.budget import Budget
from flexlora.studies.search.findings import KEPT, SearchFindings, TrialRecord, gather, records_of
from flexlora.studies.search.guard import Guard
from flexlora.studies.search.plan import SearchPlan, write_plan
from flexlora.studies.search.space import Drawing, draw, own_values
from flexlora.studies.search.work import refusal

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    import optuna

LOOK_S = 1.0
CRASHES = 5
"""Workers that end by a signal before no new one is started."""
DRAWS = 50
"""Points of the space that are checked before anything is begun."""


class Checked(TypedDict):
    """What a search will do: what `--dry-run` prints."""

    space: dict[str, Any]
    gain: dict[str, int]
    """Task -> problems."""
    retention: dict[str, int]
    likelihood: dict[str, int]
    """Name -> texts."""
    refused: int
    """Problems and texts that may judge no trial."""
    notes: list[str]


def check(plan: SearchPlan, folder: Path, **how: Any) -> Checked:
    """Check everything that trials need; writes nothing.

    Raises:
        UsageError: something is missing or wrong, or the plan names problems that may not judge a trial.
    """
    storage.require_optuna()
    guard = Guard.of(plan.recipe)
    guard.check(plan.of_base())
    given = cast(How, how)
    own = own_values(plan.recipe, plan.search.space)
    run = RunFolder(recipe=plan.of_trial(own), path=folder / "trials" / "new")
    planned = preflight.check(run, **given)
    _every_draw_is_a_recipe(plan)
    _every_target_is_there(plan)
    space = plan.search.model_dump(mode="json")["space"]
    gain, retention = ([task.name for task in side] for side in (plan.search.gain, plan.search.retention))
    notes = []
    if not retention:
        notes.append("retention is how much likelier these texts become, not programs that pass their tests")
    if not plan.recipe.validation:
        notes.append("no validation data: no trial is stopped early")
    elif not plan.search.likelihood:
        notes.append("no texts in target languages: trials are stopped early in training only")
    if plan.recipe.arms:
        notes.append(f"the recipe's arms ({', '.join(plan.recipe.arms)}) are left out: trials draw their own values")
    return {
        "space": space,
        "gain": {name: planned.tasks[name] for name in gain},
        "retention": {name: planned.tasks[name] for name in retention},
        "likelihood": planned.texts,
        "refused": len(guard.ids),
        "notes": notes,
    }


class _Random:
    """Draws at random, as a trial without an earlier one would."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number of the range."""
        return min(high, low * (high / low) ** self._random.random()) if log else self._random.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """A whole number of the range."""
        return self._random.randint(low, high)

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        """A choice."""
        return self._random.choice(choices)


def _every_draw_is_a_recipe(plan: SearchPlan) -> None:
    for seed in range(DRAWS):
        drawing: Drawing = _Random(seed)
        values = draw(plan.search.space, drawing)
        try:
            plan.of_trial(values)
        except UsageError as error:
            shown = ", ".join(f"{key}={value}" for key, value in values.items())
            raise UsageError(f"search: the space holds points that make no recipe, e.g. {shown}: {error}") from error


def _every_target_is_there(plan: SearchPlan) -> None:
    choices = plan.search.space.get("lora.targets", ())
    if not isinstance(choices, tuple):
        raise UsageError("search: lora.targets is drawn from a list, e.g. [mlp, attention].")
    skeleton = models.skeleton(plan.recipe.source(plan.recipe.model))
    for targets in choices:
        resolve_targets(skeleton, targets)


def run_search(
    plan: SearchPlan,
    folder: Path,
    budget: Budget,
    *,
    workers: int = 1,
    url: str | None = None,
    choose: str = KEPT,
    **how: Any,
) -> SearchFindings:
    """Carry out trials until the budget is spent, and write what they show, also where it is interrupted.

    Args:
        plan: what is searched.
        folder: of the search; one that holds trials of an equal plan is gone on with, also by several commands at once.
        budget: of this command.
        workers: processes.
        url: of a database for the trials, in place of the folder's journal.
        choose: the rule, or the number of a trial that is written beside `best.yaml`, which stays the rule's.
        how: how programs are run, as in `flexlora.execution.execute`.

    Returns:
        What is written, but with the trial that was named as the choice.

    Raises:
        UsageError: before the start, for anything wrong or missing.
        FlexError: workers gave up; what is finished is written.
    """
    storage.require_optuna()
    write_plan(plan, folder)
    study = storage.open_trials(folder, url)
    if choose != KEPT:
        gather(plan, study, choose)  # refuses one that is not there
    spent = refusal(study.get_trials(deepcopy=False), budget)
    if spent:
        say(f"no further trial: {spent}")
    if workers > 1 and not how.get("workers"):
        how["workers"] = plan.recipe.execution.workers or processes.share(workers)
    try:
        failure = None if spent else _watch(folder, budget, workers, url, study, how)
    finally:
        findings = write_findings(plan, folder, study)
    if choose != KEPT:
        findings = gather(plan, study, choose)
        write_best(plan, findings, folder, choose)
    if failure:
        raise FlexError(failure)
    return findings


def write_findings(plan: SearchPlan, folder: Path, study: optuna.Study) -> SearchFindings:
    """Write `search.json`, `best.yaml` and `report.html` of the trials so far."""
    findings = gather(plan, study)
    write_json(folder / "search.json", findings)
    write_best(plan, findings, folder)
    write_search_report(folder, findings)
    return findings


def _watch(
    folder: Path,
    budget: Budget,
    workers: int,
    url: str | None,
    study: optuna.Study,
    how: Mapping[str, Any],
) -> str | None:
    """Start workers, say what comes of trials, start others for those that are killed. Returns what went wrong.

    Whatever ends the watching ends the workers too.
    """
    start = partial(processes.start, folder=folder, budget=budget, workers=workers, url=url, how=how)
    told = {one["number"] for one in records_of(study) if one["state"] not in ("running", "waiting")}
    running: dict[int, SpawnProcess] = {}
    crashes, failure = 0, None
    try:
        for number in range(workers):
            running[number] = start(number)
        while running:
            time.sleep(LOOK_S)
            ended = {number: process for number, process in running.items() if process.exitcode is not None}
            _tell(records_of(study), told)
            for number, process in ended.items():
                del running[number]
                code, log = process.exitcode or 0, processes.log_of(folder, number)
                if code < 0:
                    crashes += 1
                    say(f"worker {number} was ended by {signal.Signals(-code).name}; see {log}")
                    if crashes < CRASHES:
                        running[number] = start(number)
                    else:
                        failure = f"search: {crashes} workers were killed; {log} says what they did."
                elif code:
                    failure = f"search: worker {number} gave up: {processes.last_line(log)}"
    finally:
        processes.end(running.values())
    return failure


def _tell(records: list[TrialRecord], told: set[int]) -> None:
    for one in records:
        if one["number"] not in told and one["state"] not in ("running", "waiting"):
            told.add(one["number"])
            say(trial_line(one))
