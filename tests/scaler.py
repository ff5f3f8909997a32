"""float16's loss scaling on a CPU, where trainers do not offer it: a real scaler, and gradients rounded to float16."""

from typing import Any

import torch


def with_scaler(trainer: Any, scale: float) -> Any:
    """The trainer, before it trains, with a gradient scaler that begins at `scale`."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    accelerator = trainer.accelerator
    accelerator.scaler = scaler

    def unscale(optimizer: Any = None) -> None:
        for each in accelerator._optimizers:
            scaler.unscale_(each.optimizer)

    accelerator.unscale_gradients = unscale
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda gradient: gradient.half().float())
    return trainer
