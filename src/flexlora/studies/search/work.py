"""What a worker does: draw a trial, carry it out, record what came of it, until the budget is spent.

A trial that fails is recorded with its error, and the search goes on; one after the other that fails at once is no
search, so that a worker gives up after some in a row.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexlora.errors import FlexError
from flexlora.studies.search import storage
from flexlora.studies.search.budget import Budget
from flexlora.studies.search.plan import SearchPlan
from flexlora.studies.search.pruning import Signals, Stopped
from flexlora.studies.search.space import draw, own_values, parameters
from flexlora.studies.search.trial import Evaluate

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

IN_A_ROW = 5
"""Failures one after the other after which a worker gives up."""


def work(
    plan: SearchPlan,
    folder: Path,
    trials: Evaluate,
    budget: Budget,
    *,
    study: optuna.Study,
    clock: Callable[[], float] = time.time,
) -> str:
    """Carry out trials until the budget is spent.

    Returns:
        Why no further one was begun.

    Raises:
        FlexError: several trials failed in a row; the last error is named.
    """
    from optuna.trial import TrialState

    with storage.once(folder, "base"):
        trials.base()
    failures = 0
    with storage.worker(folder) as name:
        while True:
            with storage.claiming(folder):
                storage.take_over(study, folder)
                done = study.get_trials(deepcopy=False)
                if ended := refusal(done, budget):
                    return ended
                trial, values = _claim(study, plan, done)
                attempt = storage.attempt_of(trial)
                where = storage.folder_of(trial)
                _note(trial, worker=name, folder=where, attempt=attempt, values=values)
            started = clock()
            note = partial(_note, trial)
            try:
                outcome = trials.trial(values, folder / where, finished(study), note)
            except Stopped as stopped:
                note(seconds=clock() - started, stage=stopped.stage, reason=stopped.reason)
                study.tell(trial, state=TrialState.PRUNED)
            except Exception as error:
                told = str(error) if isinstance(error, FlexError) else traceback.format_exc()
                note(seconds=clock() - started, error=told)
                study.tell(trial, state=TrialState.FAIL)
                failures += 1
                if failures >= IN_A_ROW:
                    raise FlexError(f"search: {failures} trials failed in a row; the last one: {told}") from error
                continue
            else:
                note(seconds=clock() - started, gain=outcome.gain, retention=outcome.retention)
                study.tell(trial, [outcome.gain["estimate"], outcome.retention["estimate"]])
            failures = 0


def _note(trial: optuna.Trial, **values: Any) -> None:
    """Record plain values of a trial."""
    for key, value in values.items():
        trial.set_user_attr(key, value)


def _claim(study: optuna.Study, plan: SearchPlan, done: list[FrozenTrial]) -> tuple[optuna.Trial, dict[str, Any]]:
    """The next trial and its values: what was enqueued, or what the sampler thinks promising."""
    if not done:
        _enqueue_first(study, plan)
    study.sampler = storage.sampler(plan.recipe.seed, len(done))
    trial = study.ask()
    return trial, draw(plan.search.space, trial)


def _enqueue_first(study: optuna.Study, plan: SearchPlan) -> None:
    """The recipe's own values, and those without a penalty, are tried first, as far as the space has them."""
    space = plan.search.space
    own = own_values(plan.recipe, space)
    for values in (own, own | ({"penalty.lam": 0.0} if "penalty.lam" in space else {})):
        study.enqueue_trial(parameters(space, values), skip_if_exists=True)


def refusal(trials: list[FrozenTrial], budget: Budget) -> str | None:
    """Why no further trial is begun; None where one is."""
    return budget.refuses(_begun(trials), _durations(trials))


def _begun(trials: list[FrozenTrial]) -> int:
    """Trials that are running or done; one that lost its process and waits to be gone on with is not."""
    from optuna.trial import TrialState

    waiting = {storage.folder_of(trial) for trial in trials if trial.state is TrialState.WAITING}
    return len({storage.folder_of(trial) for trial in trials} - waiting)


def _durations(trials: list[FrozenTrial]) -> list[float]:
    """Seconds of the trials that were carried out to the end."""
    from optuna.trial import TrialState

    return [trial.user_attrs["seconds"] for trial in trials if trial.state is TrialState.COMPLETE]


def finished(study: optuna.Study) -> list[Signals]:
    """The cheap signals of all trials that were carried out to the end."""
    from optuna.trial import TrialState

    return [
        Signals(
            {int(step): loss for step, loss in trial.user_attrs.get("losses", {}).items()},
            -changed["estimate"] if (changed := trial.user_attrs.get("likelihood")) else None,
        )
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ]
