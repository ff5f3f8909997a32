"""What to say where training does not fit into memory: the setting that needs the least of it changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from flexlora.errors import FlexError
from flexlora.recipe import Recipe, Train


@contextmanager
def explained_memory(recipe: Recipe) -> Iterator[None]:
    """Say in our words that memory does not suffice.

    Raises:
        FlexError: with the settings in force, and what to set instead.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
            if "DefaultCPUAllocator" not in str(error):
                raise
            where = "memory"
        else:
            where = "GPU memory" if isinstance(error, torch.OutOfMemoryError) else "memory"
        train = recipe.train
        raise FlexError(
            f"out of {where} while training with train.batch_size={train.batch_size} and "
            f"train.max_length={train.max_length}. {instead(train)}"
        ) from error


def instead(train: Train) -> str:
    """The next thing to try: a smaller batch with the same examples a step, checkpointing, shorter examples."""
    size, groups = train.batch_size, train.gradient_accumulation_steps
    if size > 1:
        smaller = size // 2 if size % 2 == 0 else 1
        return (
            f"Set train.batch_size={smaller} and train.gradient_accumulation_steps={groups * size // smaller}, which "
            "trains on as many examples a step"
            f"{'' if train.gradient_checkpointing else '; or train.gradient_checkpointing=true'}."
        )
    if not train.gradient_checkpointing:
        return "Set train.gradient_checkpointing=true."
    if train.sharding == "none":
        return "Set a smaller train.max_length, or share the model out over several GPUs (train.sharding=fsdp2)."
    return "Set a smaller train.max_length, start more processes, or train a smaller model."
