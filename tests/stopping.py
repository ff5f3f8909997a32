"""Trainings that are stopped after a step and gone on with."""

from pathlib import Path
from typing import Any

import pytest

from flexlora.recipe import Recipe
from flexlora.training import stage, train_adapter


def stop_after(step: int, recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until a step is done, as Ctrl-C ends it."""

    class Stopped(stage.LogLastStep):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == step:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stage, "LogLastStep", Stopped)
        with pytest.raises(KeyboardInterrupt):
            train_adapter(recipe, folder)
