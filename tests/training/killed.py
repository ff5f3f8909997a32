"""Trains a recipe again and again, killing itself at the moments it is told, and at last to the end.

    python killed.py RECIPE.json FOLDER [MOMENT:STEP ...]

`step:N` is after step N; `checkpoint:N` in the midst of writing one; `rotation:N` when it has its place, and the oldest
is to be removed. Every training runs in a fork of this process, which has imported everything and computed nothing.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from flexlora.recipe import Recipe, from_dict
from flexlora.training import checkpoints, stage
from flexlora.training.trainer import FourierTrainer


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment: str, at: int) -> None:
    """Let this process die at a moment."""
    if moment == "step":
        ordinary = stage.LogLastStep.on_step_end

        def after_step(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            ordinary(self, args, state, control, **kwargs)
            if state.global_step == at:
                die()

        stage.LogLastStep.on_step_end = after_step  # type: ignore[method-assign]
    elif moment == "checkpoint":
        writing = FourierTrainer._save_rng_state

        def amid_checkpoint(self: Any, folder: str) -> None:
            if self.state.global_step == at:
                die()
            writing(self, folder)

        FourierTrainer._save_rng_state = amid_checkpoint
    elif moment == "rotation":
        rotating = checkpoints.rotate_checkpoints

        def before_rotation(output_dir: str, **kwargs: Any) -> None:
            if (Path(output_dir) / f"checkpoint-{at}").exists():
                die()
            rotating(output_dir=output_dir, **kwargs)

        checkpoints.rotate_checkpoints = before_rotation
    else:
        raise ValueError(moment)


def train(recipe: Recipe, folder: Path, moment: str) -> None:
    """In a process of its own, which has to end as it is told."""
    child = os.fork()
    if not child:
        status = 1
        try:
            if moment:
                name, _, step = moment.partition(":")
                arm(name, int(step))
            stage.train_adapter(recipe, folder)
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    expected = -signal.SIGKILL if moment else 0
    if os.waitstatus_to_exitcode(ended) != expected:
        raise SystemExit(f"{moment or 'to the end'}: ended with {os.waitstatus_to_exitcode(ended)}")


if __name__ == "__main__":
    wanted = from_dict(json.loads(Path(sys.argv[1]).read_text()))
    for moment in [*sys.argv[3:], ""]:
        train(wanted, Path(sys.argv[2]), moment)
