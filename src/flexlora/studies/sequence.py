"""Arms that go on from another arm's adapter: `lora.init_adapter: cell:ARM`, the paper's Round 2 after its Round 1.

The adapter is that of ARM's cell with the same seed, at the same point of the grid as far as ARM has it, so that a
sequence of trainings is repeated as a whole with every seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from flexlora.errors import UsageError
from flexlora.recipe import Lora, Recipe

CELL = "cell:"


class Trained(Protocol):
    """What is known of a cell here (`studies.cells.Cell`)."""

    @property
    def name(self) -> str: ...
    @property
    def arm(self) -> str: ...
    @property
    def point(self) -> dict[str, Any]: ...
    @property
    def seed(self) -> int: ...
    @property
    def recipe(self) -> Recipe: ...


C = TypeVar("C", bound=Trained)


def goes_on_from(cell: C, cells: Sequence[C]) -> C | None:
    """The cell whose adapter a cell starts from; None where it starts from the base or a saved adapter.

    Raises:
        UsageError: there is none with this seed and point, that one goes on from another itself, or it trains an
            adapter of another shape or kind.
    """
    arm = _named(cell.recipe.arm(cell.arm))
    if arm is None:
        return None
    found = [
        other
        for other in cells
        if other.arm == arm
        and other.seed == cell.seed
        and all(cell.point.get(key, value) == value for key, value in other.point.items())
    ]
    where = f"arms.{cell.arm}.lora.init_adapter: {CELL}{arm}"
    if len(found) != 1:
        arms = ", ".join(dict.fromkeys(other.arm for other in cells if other.arm != cell.arm))
        raise UsageError(
            f"{where} is {len(found) or 'no'} cell{'s' * (len(found) != 1)} with seed {cell.seed} at the point of "
            f"{cell.name}; name an arm with that seed ({arms}), whose grid keys this arm has too."
        )
    if _named(found[0].recipe.arm(arm)) is not None:
        raise UsageError(f"{where} goes on from another cell itself; a sequence of two is what a study can have.")
    if differing := _differing(found[0].recipe.arm(arm).lora, cell.recipe.arm(cell.arm).lora):
        raise UsageError(
            f"{where}: {cell.name} would go on from {found[0].name}, whose adapter is another: "
            f"{'; '.join(differing)}. Give both arms the same."
        )
    return found[0]


def _differing(first: Lora, second: Lora) -> list[str]:
    """What of an adapter cannot change while it is trained on; targets are compared as they are written."""
    found = []
    for key in ("rank", "alpha", "use_rslora", "use_dora", "targets"):
        there, here = getattr(first, key), getattr(second, key)
        if key == "targets" and isinstance(there, tuple) and isinstance(here, tuple):
            there, here = sorted(there), sorted(here)
        elif key == "targets" and type(there) is not type(here):
            continue  # a preset and names may mean the same modules; preflight of the run knows the model's
        if there != here:
            found.append(f"lora.{key} is {there!r} there and {here!r} here")
    return found


def after(recipe: Recipe, arm: str, adapter: Path | None) -> Recipe:
    """The recipe of a cell that starts from a folder with an adapter; None starts from the base, for what checks it."""
    overrides = recipe.arms[arm]
    lora = {**overrides.get("lora", {}), "init_adapter": None if adapter is None else str(adapter)}
    return recipe.model_copy(update={"arms": {**recipe.arms, arm: {**overrides, "lora": lora}}})


def _named(recipe: Recipe) -> str | None:
    name = recipe.lora.init_adapter
    return name.removeprefix(CELL) if name is not None and name.startswith(CELL) else None
