"""What trials draw: ranges with a zero, keys that mean nothing together, a recipe's own values as parameters."""

import math
from pathlib import Path
from typing import Any

import pytest

from flexlora.errors import UsageError
from flexlora.recipe import checked, from_dict
from flexlora.studies.search.plan import Search
from flexlora.studies.search.space import Range, Space, default_space, draw, nested, own_values, parameters

RECIPE = from_dict(
    {"model": "tiny", "data": [{"dataset": "tiny/B1/py"}], "tasks": ["tiny/B1/py"], "penalty": {"lam": 0.02}}
)


class Given:
    """Draws what it is told, or the first and least."""

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.asked: list[str] = []

    def _value(self, name: str, otherwise: Any) -> Any:
        self.asked.append(name)
        return self.given.get(name.rpartition(".")[2], otherwise)

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self._value(name, low))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return int(self._value(name, low))

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        return self._value(name, choices[0])


def test_without_a_penalty_nothing_else_of_it_is_drawn() -> None:
    drawn = draw(default_space(RECIPE), Given(lam=1e-6))
    assert drawn["penalty.lam"] == 0.0
    assert not [key for key in drawn if key.startswith("penalty.") and key != "penalty.lam"]
    assert {"lora.rank", "lora.targets", "optimizer.learning_rate"} < drawn.keys()


def test_tau_is_not_drawn_where_all_frequencies_weigh_the_same() -> None:
    assert "penalty.tau" not in draw(default_space(RECIPE), Given(lam=0.1, weighting="uniform"))
    assert "penalty.tau" in draw(default_space(RECIPE), Given(lam=0.1, weighting="ramp"))


def test_the_share_of_a_range_that_stands_for_zero_is_the_one_asked_for() -> None:
    values = Range(low=1e-3, high=1.0, log=True, zero=0.25)
    whole = math.log(values.high / values.bottom)
    assert math.log(values.low / values.bottom) / whole == pytest.approx(0.25)


def test_a_recipes_own_values_come_back_from_their_parameters() -> None:
    space: Space = {**default_space(RECIPE), "lora.targets": ("mlp", ("q_proj", "v_proj"))}
    own = own_values(RECIPE, space)
    found = parameters(space, own)
    assert found["penalty.lam"] == 0.02
    assert found["lora.targets"] == "mlp"
    again = draw(space, Given(**{key.rpartition(".")[2]: value for key, value in found.items()}))
    assert again == own
    assert parameters(space, own | {"penalty.lam": 7.0}).get("penalty.lam") is None  # outside
    listed = parameters(space, {"lora.targets": ("q_proj", "v_proj")})
    assert draw({"lora.targets": space["lora.targets"]}, Given(targets=listed["lora.targets"])) == {
        "lora.targets": ("q_proj", "v_proj")
    }


def test_values_are_nested_as_a_recipe_has_them() -> None:
    assert nested({"lora.rank": 4, "lora.alpha": 8, "penalty.lam": 0.0}) == {
        "lora": {"rank": 4, "alpha": 8},
        "penalty": {"lam": 0.0},
    }


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"tasks": ["humaneval", "mbpp"]}, "varies keys of lora, penalty"),
        ({"data.split": ["train", "test"]}, "varies keys of lora, penalty"),
        ({"sampling.n": [1, 2]}, "varies keys of lora, penalty"),
        ({"lora.rank": [8]}, "one value is no choice"),
        ({"lora.rank": {"low": 8, "high": 4}}, "must be less"),
        ({"penalty.lam": {"low": 0.0, "high": 1.0, "log": True}}, "zero: 0.1"),
        ({"penalty.lam": {"low": 0.1, "high": 1.0, "zero": 0.1}}, "log: true"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(space: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        checked(Search, {"space": space}, "")
