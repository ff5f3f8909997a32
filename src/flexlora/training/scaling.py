"""float16's loss scaling: which steps the gradient scaler has skipped."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback


class SkippedSteps(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Tells after every optimizer step whether the scaler skipped it, as its gradients overflowed.

    Accelerate sees whether the optimizer was called, and fused optimizers are: they leave the weights alone themselves.
    The scale, which falls after an overflow and at no other time, tells for all of them.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self._scale = 0.0

    @property
    def skipped(self) -> bool:
        """Whether the last step was; to be asked in `on_optimizer_step`."""
        accelerator = self.trainer.accelerator
        fallen = accelerator.scaler is not None and accelerator.scaler.get_scale() < self._scale
        return bool(fallen or accelerator.optimizer_step_was_skipped)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer before the optimizer's step."""
        scaler = self.trainer.accelerator.scaler
        self._scale = 0.0 if scaler is None else scaler.get_scale()
