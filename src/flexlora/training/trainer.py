"""`FourierTrainer`: TRL's `SFTTrainer` with the Fourier penalty's gradient added once per optimizer step.

The gradient joins after the last backward of an optimizer step and before clipping. `on_pre_optimizer_step` would
be too late (it fires after clipping) and the loss too early (it would be added once per micro-batch); `training_step`
with `accelerator.sync_gradients` is right, also for a short last accumulation group.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from trl import SFTTrainer

from flexlora.errors import FlexError, UsageError
from flexlora.fourier import FourierPenalty
from flexlora.recipe import Penalty


class FourierTrainer(SFTTrainer):  # type: ignore[misc]
    """`SFTTrainer` that takes a `penalty` and logs `penalty` (lambda R) and `high_frequency_share`.

    Args:
        penalty: the recipe's penalty; with `lam` 0 the weights are those of plain `SFTTrainer`, to the last bit.
        *args, **kwargs: as for `SFTTrainer`; `model` carries its adapter already.

    Raises:
        UsageError: under DeepSpeed, which steps inside `backward` and leaves no moment to add a gradient.
    """

    def __init__(self, *args: Any, penalty: Penalty, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.is_deepspeed_enabled:
            raise UsageError("the Fourier penalty does not work under DeepSpeed; train without it, on one process.")
        self.fourier = FourierPenalty(self.model, **penalty.model_dump())

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One micro-batch; on the last of an optimizer step the penalty's gradient joins the task's."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        if self.fourier.lam and self.accelerator.sync_gradients:
            scaler = self.accelerator.scaler
            self.fourier.add_gradient(scale=1.0 if scaler is None else scaler.get_scale())
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the penalty's figures to the training log, and stop when the loss is no longer a number."""
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise FlexError(
                    f"training: the loss is {logs['loss']} at step {self.state.global_step}. Lower the learning rate "
                    f"({self.args.learning_rate}) or use another precision; checkpoints up to here are kept."
                )
            measure = self.fourier.measure()
            logs["penalty"] = self.fourier.lam * measure.value.item()
            logs["high_frequency_share"] = measure.high_frequency_share.item()
        super().log(logs, start_time)
