"""The command: everything checked first, workers started and watched, what they found written.

A worker is a process of its own, so that one that is killed (out of memory, say) takes no more with it than its hold on
a trial, which another goes on with. On a machine with several GPUs each worker has one.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import threading
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
from flexlora.studies.search import storage
from flexlora.studies.search.best import write_best
from flexlora.studies.search.budget import Budget
from flexlora.studies.search.findings import KEPT, SearchFindings, TrialRecord, gather, records_of
from flexlora.studies.search.guard import Guard
from flexlora.studies.search.plan import SearchPlan, read_plan, write_plan
from flexlora.studies.search.space import Drawing, draw, own_values
from flexlora.studies.search.trial import Trials
from flexlora.studies.search.work import refusal, work

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
    """Carry out trials until the budget is spent, and write what they show.

    Args:
        plan: what is searched.
        folder: of the search; one that holds trials of an equal plan is gone on with, also by several commands at once.
        budget: of this command.
        workers: processes.
        url: of a database for the trials, in place of the folder's journal.
        choose: the rule for `best.yaml`, or the number of a trial.
        how: how programs are run, as in `flexlora.execution.execute`.

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
    failure = None if spent else _watch(folder, budget, workers, url, study, how)
    findings = write_findings(plan, folder, study, choose)
    if failure:
        raise FlexError(failure)
    return findings


def write_findings(plan: SearchPlan, folder: Path, study: optuna.Study, choose: str = KEPT) -> SearchFindings:
    """Write `search.json`, `best.yaml` and `report.html` of the trials so far."""
    findings = gather(plan, study, choose)
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
    """Start workers, say what comes of trials, start others for those that are killed. Returns what went wrong."""
    start = partial(_start, folder=folder, budget=budget, workers=workers, url=url, how=how)
    running = {number: start(number) for number in range(workers)}
    told = {one["number"] for one in records_of(study) if one["state"] not in ("running", "waiting")}
    crashes, failure = 0, None
    while running:
        time.sleep(LOOK_S)
        ended = {number: process for number, process in running.items() if process.exitcode is not None}
        _tell(records_of(study), told)
        for number, process in ended.items():
            del running[number]
            code = process.exitcode or 0
            if code < 0:
                crashes += 1
                say(f"worker {number} was ended by {signal.Signals(-code).name}; see {_log(folder, number)}")
                if crashes < CRASHES:
                    running[number] = start(number)
                else:
                    failure = f"search: {crashes} workers were killed; {_log(folder, number)} says what they did."
            elif code:
                failure = f"search: worker {number} gave up: {_last_line(_log(folder, number))}"
    return failure


def _start(
    number: int, folder: Path, budget: Budget, workers: int, url: str | None, how: Mapping[str, Any]
) -> SpawnProcess:
    process = multiprocessing.get_context("spawn").Process(
        target=_worker, args=(folder, _log(folder, number), budget, url, dict(how)), daemon=False
    )
    threads = str(max(1, len(os.sched_getaffinity(0)) // workers))
    given = {"CUDA_VISIBLE_DEVICES": _gpu(number), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}
    before = {name: os.environ.get(name) for name in given}
    try:  # a process takes its environment, libraries read it as they are imported
        os.environ.update({name: value for name, value in given.items() if value})
        process.start()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return process


def _gpu(number: int) -> str | None:
    """Of the GPUs that may be used, one for each worker in turn; None where there is none."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())] if named is None else []
    return gpus[number % len(gpus)] if gpus else None


def _log(folder: Path, number: int) -> Path:
    return folder / "logs" / f"{os.uname().nodename}-{number}.log"


def _worker(folder: Path, log: Path, budget: Budget, url: str | None, how: dict[str, Any]) -> None:
    """A worker's process: everything that it says goes to its log, and it ends with the command that started it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    models.quiet()
    try:
        plan = read_plan(folder)
        ended = work(plan, folder, Trials(plan, folder, **how), budget, study=storage.open_trials(folder, url))
        say(f"no further trial: {ended}")
    except FlexError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    return next((line for line in reversed(lines) if line.strip()), "it said nothing") + f" ({log})"


def _tell(records: list[TrialRecord], told: set[int]) -> None:
    for one in records:
        if one["number"] not in told and one["state"] not in ("running", "waiting"):
            told.add(one["number"])
            say(trial_line(one))
