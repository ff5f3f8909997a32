"""A search whose trials are a formula, in place of hours of training."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flexlora.recipe import from_dict
from flexlora.studies.search.plan import Search, SearchPlan
from flexlora.studies.search.pruning import Signals, after_training, in_training
from flexlora.studies.search.signals import Side
from flexlora.studies.search.space import Range
from flexlora.studies.search.trial import Outcome

PLAN = SearchPlan(
    recipe=from_dict(
        {
            "name": "small",
            "model": "tiny",
            "data": [{"dataset": "tiny/B1/py"}],
            "tasks": ["tiny/B1/py", "tiny/B1/java"],
            "penalty": {"lam": 0.02},
        }
    ),
    search=Search.model_validate(
        {
            "space": {
                "penalty.lam": Range(low=1e-3, high=1.0, log=True, zero=0.1),
                "lora.rank": (2, 4, 8, 16),
                "optimizer.learning_rate": Range(low=1e-4, high=1e-2, log=True),
            },
            "gain": [{"name": "tiny/B1/py", "split": "validation"}],
            "retention": [{"name": "tiny/B1/java", "split": "validation"}],
            "likelihood": [{"dataset": "tiny/B1/java", "split": "validation"}],
            "startup": 4,
        }
    ),
)


def side(estimate: float, half: float = 0.02) -> Side:
    return {"estimate": estimate, "low": estimate - half, "high": estimate + half, "unit": "share", "tasks": {}}


class Clock:
    """Stands still but for what is spent on it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Formula:
    """Gain grows with the learning rate and shrinks with lambda; retention the other way about. Rank does nothing."""

    def __init__(
        self, clock: Clock | None = None, seconds: float = 60.0, meanwhile: Callable[[int], None] | None = None
    ) -> None:
        self.clock = clock
        self.seconds = seconds
        self.meanwhile = meanwhile or (lambda count: None)
        self.bases = 0
        self.done: list[tuple[Path, dict[str, Any]]] = []
        self.lock = threading.Lock()

    def base(self) -> None:
        self.bases += 1

    def trial(
        self, values: Mapping[str, Any], folder: Path, finished: Sequence[Signals], note: Callable[..., None]
    ) -> Outcome:
        with self.lock:
            self.done.append((folder, dict(values)))
            count = len(self.done)
        folder.mkdir(parents=True, exist_ok=True)
        self.meanwhile(count)
        if self.clock:
            self.clock.now += self.seconds
        gain, retention = outcome(values)
        losses, likelihood = {10: 1 - gain}, side(retention)
        in_training(10, losses[10], finished, PLAN.search.startup)
        note(losses={str(step): loss for step, loss in losses.items()}, likelihood=likelihood)
        after_training(Signals(losses, -retention), finished, PLAN.search.startup)
        return Outcome(side(gain), side(retention))


def outcome(values: Mapping[str, Any]) -> tuple[float, float]:
    rate = math.log10(values["optimizer.learning_rate"]) + 4  # 0 to 2
    kept = math.log10(values["penalty.lam"] + 1e-3) / 3 + 1  # 0 to 1
    return 0.1 * rate * (1 - 0.5 * kept), 0.05 * (kept - rate)
