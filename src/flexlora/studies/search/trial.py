"""One trial: an ordinary run of the drawn values, stopped early where cheap signals say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from transformers import TrainerCallback

from flexlora import models, pipeline
from flexlora.execution import How
from flexlora.folder import RunFolder, existing
from flexlora.studies.search.guard import Guard
from flexlora.studies.search.plan import SearchPlan
from flexlora.studies.search.pruning import Signals, after_training, in_training
from flexlora.studies.search.signals import Side, cheap_signals, likelihood_side, losses, side

BASE = "base"

Note = Callable[..., None]
"""Records plain values of a trial, given by name, as soon as they are known."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished trial came to."""

    gain: Side
    retention: Side


class Evaluate(Protocol):
    """Measures the base, and carries out trials: `Trials`, or a stand-in of tests."""

    def base(self) -> None:
        """Measure the base, where that is not done."""

    def trial(self, values: Mapping[str, Any], folder: Path, finished: Sequence[Signals], note: Note) -> Outcome:
        """Carry out a trial.

        Raises:
            Stopped: it is not worth going on with.
        """


class Trials:
    """Trials as runs of this package."""

    def __init__(self, plan: SearchPlan, folder: Path, **how: Any) -> None:
        """Args:
        plan: what is searched.
        folder: of the search.
        how: how programs are run, as in `flexlora.execution.execute`.
        """
        self._plan = plan
        self._folder = folder
        self._guard = Guard.of(plan.recipe)
        self._how: How = {**how}  # type: ignore[typeddict-item]  # checked where it is used

    def base(self) -> None:
        """Measure the base on the validation problems and texts, once for all trials."""
        if (self._folder / BASE / "summary.json").is_file():
            return
        recipe = self._plan.of_base()
        self._guard.check(recipe)
        pipeline.run_recipe(recipe, self._folder / BASE, **self._how)

    def trial(self, values: Mapping[str, Any], folder: Path, finished: Sequence[Signals], note: Note) -> Outcome:
        """Train with these values, measure the cheap signals, then run programs.

        Raises:
            Stopped: it is not worth going on with.
            UsageError: the values do not go together, or the recipe has problems that may not judge a trial.
            FlexError: under way.
        """
        search, seed = self._plan.search, self._plan.recipe.seed
        recipe = self._plan.of_trial(dict(values))
        self._guard.check(recipe)
        run, _ = pipeline.start(recipe, folder, **self._how)
        base = existing(self._folder / BASE)
        with pipeline.working(run, **self._how):
            try:
                pipeline.train(run, probe=False, callbacks=[StopEarly(finished, search.startup)])
            finally:  # also of a trial that they stop
                note(losses={str(step): loss for step, loss in losses(run).items()})
            pipeline.likelihood(run)
            changed = likelihood_side(run, base, self._guard, seed) if search.likelihood else None
            signals = cheap_signals(run, changed)
            note(likelihood=changed)
            after_training(signals, finished, search.startup)
            self._run_programs(run)
        gain = side(run, base, search.gain, self._guard, seed)
        if search.retention:
            return Outcome(gain, side(run, base, search.retention, self._guard, seed))
        assert changed is not None  # a plan has one or the other
        return Outcome(gain, changed)

    def _run_programs(self, run: RunFolder) -> None:
        pipeline.generate(run, self._how)
        pipeline.execute(run, **self._how)
        pipeline.score(run)
        pipeline.report(run)
        models.free_memory()


class StopEarly(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Stops a training whose validation loss is worse than that of every finished trial."""

    def __init__(self, finished: Sequence[Signals], startup: int) -> None:
        self._finished = finished
        self._startup = startup

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Called by the trainer with figures."""
        if "eval_loss" in logs:
            in_training(state.global_step, float(logs["eval_loss"]), self._finished, self._startup)
