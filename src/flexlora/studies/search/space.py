"""The values that a trial draws: dotted keys of a recipe, each with a range or a list.

A search varies how an adapter is trained (`lora`, `penalty`, `optimizer`, `train`), and nothing of what it is trained
on or judged by.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Protocol, Self

from pydantic import Field, model_validator

from flexlora.recipe import Recipe, Section

SECTIONS = ("lora", "penalty", "optimizer", "train")
LAM, WEIGHTING = "penalty.lam", "penalty.weighting"
MEANT_FOR = {
    "penalty.tau": ("step", "ramp", "sigmoid"),
    "penalty.order": ("ramp",),
    "penalty.width": ("sigmoid",),
}
"""Keys that mean nothing with other weightings."""


class Range(Section):
    """Numbers from `low` to `high`; whole ones where both are written as whole ones."""

    low: int | float = Field(description="The least.")
    high: int | float = Field(description="The greatest.")
    log: bool = Field(False, description="Draw from their logarithms.")
    zero: float = Field(0.0, ge=0, lt=1, description="With `log`: the share of the range that stands for exactly 0.")

    @property
    def whole(self) -> bool:
        """Whether numbers are whole."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def bottom(self) -> float:
        """Where the range begins that is drawn from: below `low` by what stands for 0."""
        if not self.zero:
            return self.low
        return math.exp(math.log(self.low) - (math.log(self.high) - math.log(self.low)) * self.zero / (1 - self.zero))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be less than high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"low ({self.low}) must be more than 0 with log: true; zero: 0.1 lets 0 be drawn as well")
        if self.zero and (not self.log or self.whole):
            raise ValueError("zero goes with log: true and numbers that are not whole, e.g. low: 1.0e-4")
        return self


Choices = tuple[Any, ...]
Space = dict[str, Range | Choices]


class Drawing(Protocol):
    """What of `optuna.Trial` is needed."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any: ...


def default_space(recipe: Recipe) -> Space:
    """What is searched where nothing else is said: the penalty, the adapter's modules and rank, the learning rate.

    An adapter that training starts from has its modules and rank already.
    """
    rate = recipe.optimizer.peak_learning_rate
    space: Space = {
        LAM: Range(low=1e-4, high=1.0, log=True, zero=0.1),
        "penalty.view": ("factors", "rows", "delta"),
        WEIGHTING: ("step", "ramp", "sigmoid", "uniform"),
        "penalty.tau": Range(low=0.1, high=0.9),
        "lora.targets": ("mlp", "paper", "attention", "all"),
        "lora.rank": (4, 8, 16, 32),
        "optimizer.learning_rate": Range(low=rate / 5, high=rate * 5, log=True),
    }
    return {key: one for key, one in space.items() if recipe.lora.init_adapter is None or not key.startswith("lora.")}


def draw(space: Space, trial: Drawing) -> dict[str, Any]:
    """Dotted key -> value. Keys of a penalty of strength 0, or that its weighting has no use for, are not drawn."""
    drawn: dict[str, Any] = {}
    for key in sorted(space, key=lambda key: (key != LAM, key != WEIGHTING)):
        if drawn.get(LAM) == 0 and key.startswith("penalty."):
            continue
        if WEIGHTING in drawn and drawn[WEIGHTING] not in MEANT_FOR.get(key, (drawn[WEIGHTING],)):
            continue
        drawn[key] = _value(space[key], key, trial)
    return drawn


def _value(values: Range | Choices, key: str, trial: Drawing) -> Any:
    if not isinstance(values, Range):
        texts = {as_text(value): value for value in values}
        return texts[trial.suggest_categorical(key, list(texts))]
    if values.whole:
        return trial.suggest_int(key, int(values.low), int(values.high), log=values.log)
    number = trial.suggest_float(key, values.bottom, float(values.high), log=values.log)
    return 0.0 if values.zero and number < values.low else number


def parameters(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters by which `draw` comes to these values, as far as the space has them."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        allowed = space.get(key)
        if isinstance(allowed, Range):
            if value == 0 and allowed.zero:
                found[key] = allowed.bottom
            elif isinstance(value, int | float) and allowed.low <= value <= allowed.high:
                found[key] = value
        elif allowed is not None and as_text(value) in map(as_text, allowed):
            found[key] = as_text(value)
    return found


def as_text(value: Any) -> str:
    """A choice as the storage has it: plain text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted keys as a recipe has them."""
    result: dict[str, Any] = {}
    for dotted, value in values.items():
        *sections, key = dotted.split(".")
        inner = result
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = value
    return result


def own_values(recipe: Recipe, space: Space) -> dict[str, Any]:
    """The recipe's own values of the keys that are searched."""
    values = {}
    for dotted in space:
        section, _, key = dotted.partition(".")
        values[dotted] = getattr(getattr(recipe, section), key)
    if "optimizer.learning_rate" in values:
        values["optimizer.learning_rate"] = recipe.optimizer.peak_learning_rate
    return values
