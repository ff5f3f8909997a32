"""Which cell goes on from which, by hand-made cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flexlora.errors import UsageError
from flexlora.recipe import Recipe, dumped, from_dict
from flexlora.studies.sequence import after, goes_on_from


@dataclass
class Made:
    arm: str
    recipe: Recipe
    seed: int = 0
    point: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.arm},seed={self.seed}"


def made(arm: str, init: str | None = None, seed: int = 0, lora: dict[str, Any] | None = None, **point: Any) -> Made:
    values = {"model": "tiny", "data": [{"dataset": "tiny/B1/py"}], "tasks": ["tiny/A/py"]}
    overrides = {"lora": {"init_adapter": init, "rank": 4, **(lora or {})}}
    return Made(arm, from_dict({**values, "arms": {arm: overrides}}), seed, point)


def test_a_cell_goes_on_from_the_cell_with_its_seed_and_point() -> None:
    first = [made("first", seed=seed, targets=targets) for seed in (0, 1) for targets in ("mlp", "all")]
    second = made("second", "cell:first", seed=1, targets="all", lam=0.02)
    cells = [*first, second]
    assert goes_on_from(second, cells) is first[3]
    assert goes_on_from(first[0], cells) is None
    assert goes_on_from(made("third", "runs/some"), cells) is None


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"rank": 8}, "lora.rank is 8 there and 4 here"),
        ({"alpha": 4}, "lora.alpha is 4.0 there and 16.0 here"),
        ({"targets": "all"}, "lora.targets is 'all' there and 'mlp' here"),
        ({"use_rslora": True, "use_dora": True}, "lora.use_rslora is True.*lora.use_dora is True"),
    ],
)
def test_an_adapter_of_another_shape_is_refused_before_it_is_trained(lora: dict[str, Any], message: str) -> None:
    second = made("second", "cell:first")
    with pytest.raises(UsageError, match=r"init_adapter: cell:first: second,seed=0 .* first,seed=0.*" + message):
        goes_on_from(second, [made("first", lora=lora), second])


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ([], "cell:first is no cells with seed 0"),
        ([made("first", seed=1)], "no cells with seed 0"),
        ([made("first", lam=0.1), made("first", lam=0.2)], "is 2 cells"),
        ([made("first", "cell:zeroth")], "goes on from another cell itself"),
    ],
)
def test_a_reference_that_is_not_one_plain_cell_is_refused(first: list[Made], message: str) -> None:
    second = made("second", "cell:first")
    with pytest.raises(UsageError, match=r"arms\.second\.lora\.init_adapter: .*" + message):
        goes_on_from(second, [*first, second])


def test_the_recipe_of_a_cell_names_the_adapter_s_folder_and_is_else_the_same() -> None:
    recipe = made("second", "cell:first").recipe
    found = after(recipe, "second", Path("/study/cells/first/first/train/adapter"))
    assert found.arm("second").lora.init_adapter == "/study/cells/first/first/train/adapter"
    assert after(recipe, "second", None).arm("second").lora.init_adapter is None
    assert dumped(from_dict(dumped(found))) == dumped(found)
    assert dumped(found) | {"arms": {}} == dumped(recipe) | {"arms": {}}
    assert found.arm("second").lora.rank == 4
