"""What `search.json` holds: the types below are the file, field by field.

Changes are from the base, on validation problems; shares are from 0 to 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from flexlora.errors import UsageError
from flexlora.studies.search.plan import SearchPlan
from flexlora.studies.search.signals import Side
from flexlora.studies.search.storage import ATTEMPTS, folder_of, is_gone_on_with

if TYPE_CHECKING:
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator
    from optuna.trial import FrozenTrial

SCHEMA = 1
KEPT = "kept"
"""The rule by which a trial is chosen, unless a number names one."""
LEAST = 10
"""Finished trials below which nothing is said of what mattered."""
BEST = 1 / 3
"""Share of the trials that count as the good ones on a side, when it is asked what mattered."""
State = Literal["finished", "stopped", "failed", "lost", "running", "waiting"]
"""`lost`: its process ended, and another trial goes on in its folder."""


class TrialRecord(TypedDict):
    """One trial; what is not known is None."""

    number: int
    folder: str
    """Its run directory, relative to the search's."""
    state: State
    values: dict[str, Any]
    seconds: float | None
    gain: Side | None
    retention: Side | None
    likelihood: Side | None
    validation_loss: float | None
    """The last one."""
    stage: str | None
    """At which it was stopped."""
    reason: str | None
    """Why it was stopped, or failed."""


class Choice(TypedDict):
    """The trial of `best.yaml`."""

    trial: int
    rule: str
    """In words."""


class SearchFindings(TypedDict):
    """Everything that a search found."""

    schema: int
    name: str
    model: str
    gain: list[str]
    retention: list[str]
    """Validation tasks; where there are none, names of texts."""
    trials: list[TrialRecord]
    front: list[int]
    """Finished trials that none is better than on both sides, by gain."""
    choice: Choice | None
    """None where no trial is finished."""
    importances: dict[Literal["gain", "retention"], dict[str, float]] | None
    """Side -> key -> its share in what told the best third of trials on that side from all (PED-ANOVA); None where
    trials are too few."""


def gather(plan: SearchPlan, study: optuna.Study, choose: str = KEPT) -> SearchFindings:
    """What the trials show so far.

    Args:
        choose: `kept`, or the number of a trial.

    Raises:
        UsageError: there is no such trial, or it is not finished.
    """
    records = records_of(study)
    search = plan.search
    judged = search.retention or search.likelihood
    return {
        "schema": SCHEMA,
        "name": plan.recipe.name,
        "model": plan.recipe.model,
        "gain": [task.name for task in search.gain],
        "retention": [one.name for one in judged],
        "trials": records,
        "front": front(records),
        "choice": choice(records, choose),
        "importances": importances(study),
    }


def records_of(study: optuna.Study) -> list[TrialRecord]:
    """All trials so far."""
    return [_record(trial) for trial in study.get_trials(deepcopy=False)]


def _record(trial: FrozenTrial) -> TrialRecord:
    from optuna.trial import TrialState

    known = trial.user_attrs
    states: dict[TrialState, State] = {
        TrialState.COMPLETE: "finished",
        TrialState.PRUNED: "stopped",
        TrialState.FAIL: "failed",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
    }
    state, lost = states[trial.state], None
    if state == "failed" and "error" not in known:
        if is_gone_on_with(trial):
            state, lost = "lost", "its process ended"
        elif trial.params:
            lost = f"its process ended {ATTEMPTS} times"
        else:
            lost = "its process ended before it had values"
    losses: dict[str, float] = known.get("losses", {})
    return {
        "number": trial.number,
        "folder": folder_of(trial),
        "state": state,
        "values": known.get("values", {}),
        "seconds": known.get("seconds"),
        "gain": known.get("gain"),
        "retention": known.get("retention"),
        "likelihood": known.get("likelihood"),
        "validation_loss": losses[max(losses, key=int)] if losses else None,
        "stage": known.get("stage"),
        "reason": known.get("reason") or known.get("error") or lost,
    }


def finished_of(records: Sequence[TrialRecord]) -> list[tuple[TrialRecord, Side, Side]]:
    """Finished trials with their gain and retention."""
    return [
        (one, one["gain"], one["retention"])
        for one in records
        if one["state"] == "finished" and one["gain"] is not None and one["retention"] is not None
    ]


def front(records: Sequence[TrialRecord]) -> list[int]:
    """Numbers of the finished trials that no other is at least as good as on both sides, and better on one."""
    points = [(one["number"], gain["estimate"], kept["estimate"]) for one, gain, kept in finished_of(records)]
    best = [
        (gain, -kept, number)
        for number, gain, kept in points
        if not any(g >= gain and k >= kept and (g, k) != (gain, kept) for _, g, k in points)
    ]
    return [number for _, _, number in sorted(best)]


def choice(records: Sequence[TrialRecord], choose: str = KEPT) -> Choice | None:
    """The trial to go on with.

    By the rule `kept`: of the front, the largest source gain whose retention is not below the base's as far as its
    interval can tell; where every one's is, the one that retains most.

    Raises:
        UsageError: `choose` names no finished trial.
    """
    done = {one["number"]: (gain, kept) for one, gain, kept in finished_of(records)}
    if choose != KEPT:
        if not choose.isdigit() or int(choose) not in done:
            raise UsageError(
                f"--choose {choose}: {KEPT}, or the number of a finished trial ({', '.join(map(str, done)) or 'none'})."
            )
        return {"trial": int(choose), "rule": "named by hand"}
    best = front(records)
    if not best:
        return None
    kept = [number for number in best if done[number][1]["high"] >= 0]
    if not kept:
        number = max(best, key=lambda one: done[one][1]["estimate"])
        return {"trial": number, "rule": "every trial of the front retains less than the base; this one retains most"}
    number = max(kept, key=lambda one: (done[one][0]["estimate"], done[one][1]["estimate"]))
    return {
        "trial": number,
        "rule": "of the front, the largest source gain whose retention is not below the base's within its interval",
    }


def importances(study: optuna.Study) -> dict[Literal["gain", "retention"], dict[str, float]] | None:
    """How much each key told the best trials of each side from all; None where they are too few.

    Of the front as a whole it cannot be said: as a rule most trials are on it or near it, wherever on it they are.
    """
    from optuna.importance import PedAnovaImportanceEvaluator
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < LEAST or any(len({trial.values[i] for trial in done}) == 1 for i in (0, 1)):
        return None
    evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST)
    return {
        "gain": _importances(study, lambda trial: -trial.values[0], evaluator),
        "retention": _importances(study, lambda trial: -trial.values[1], evaluator),
    }


def _importances(
    study: optuna.Study, worse: Callable[[FrozenTrial], float], evaluator: PedAnovaImportanceEvaluator
) -> dict[str, float]:
    from optuna.importance import get_param_importances

    with warnings.catch_warnings(action="ignore"):  # that less is taken for better, as it is here
        shares = get_param_importances(study, evaluator=evaluator, target=worse)
    return {key: float(shares[key]) for key in sorted(shares, key=lambda key: -shares[key])}
