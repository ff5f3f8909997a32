"""What a recipe's arms are trained on, and what their tasks share with it."""

from __future__ import annotations

from typing import Any

from flexlora.adapters.initial import InitialAdapter, find_initial
from flexlora.data import Example, generated
from flexlora.data.mixture import load_examples
from flexlora.data.overlap import overlaps
from flexlora.data.tasks import family_of, load_problems
from flexlora.errors import UsageError
from flexlora.folder import existing
from flexlora.recipe import Recipe


def overlap_of(recipe: Recipe) -> list[dict[str, Any]]:
    """What the tasks share with the training data, for all arms that are trained on the same.

    The generated sets are left out: they are made of the same phrases on purpose, and no problem of one split is in
    another (`flexlora.tiny.sets`).

    Returns:
        Plain values: `arms`, their names, and `tasks`, an `Overlap` each.

    Raises:
        UsageError: data cannot be loaded.
    """
    written = [task for task in recipe.tasks if family_of(task.name) is not generated.FAMILY]
    if not written:
        return []
    arms: dict[tuple[Example, ...], list[str]] = {}
    for name in recipe.arm_names():
        of_arm = recipe.arm(name)
        initial = None if of_arm.lora.init_adapter is None else find_initial(of_arm.lora.init_adapter)
        examples, _ = load_examples(of_arm.data, of_arm.data_dir, of_arm.seed)
        distinct = dict.fromkeys([*examples, *trained_before(initial)])
        arms.setdefault(tuple(distinct), []).append(name)
    tasks = [load_problems(task, recipe.data_dir)[0] for task in written] if arms else []
    return [
        {"arms": names, "tasks": [found.as_dict() for found in overlaps(tasks, examples)]}
        for examples, names in arms.items()
    ]


def trained_before(initial: InitialAdapter | None) -> list[Example]:
    """What an adapter to start from was trained on, as far as its run says, and what that one started from.

    Raises:
        UsageError: its run's data cannot be loaded.
    """
    if initial is None or initial.run is None or initial.arm is None:
        return []
    try:
        earlier = existing(initial.run).recipe.arm(initial.arm)
        examples, _ = load_examples(earlier.data, earlier.data_dir, earlier.seed)
        before = earlier.lora.init_adapter
        return [*examples, *trained_before(None if before is None else find_initial(before))]
    except UsageError as error:
        raise UsageError(
            f"lora.init_adapter: what {str(initial.adapter.path)!r} was trained on cannot be looked up, so that it "
            f"could be a task's own problems: {error}"
        ) from error
