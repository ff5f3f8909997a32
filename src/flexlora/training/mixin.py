"""`FourierMixin`: the penalty in any trainer built on `transformers.Trainer`.

    class FourierDPOTrainer(FourierMixin, DPOTrainer): ...

    trainer = FourierDPOTrainer(model=model, ..., penalty={"lam": 0.02, "view": "delta"})

The gradient joins after the last backward of an optimizer step and before clipping. `on_pre_optimizer_step` would
be too late (it fires after clipping) and the loss too early (it would be added once per micro-batch); `training_step`
with `accelerator.sync_gradients` is right, also for a short last accumulation group. The decoupled penalty acts in
`on_optimizer_step`, before the learning rate moves on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from flexlora.errors import UsageError
from flexlora.fourier import FourierPenalty

STATE_FILE = "fourier_penalty.pt"


class FourierMixin:
    """Put before a trainer's class; takes `penalty` and logs `penalty` (lambda R), `high_frequency_share` and `lam`.

    Args:
        penalty: the keyword arguments of `flexlora.fourier.FourierPenalty`, apart from the model; for the schedule
            `cosine`, `total_steps` is by default that of the training. With `lam` 0 the weights are those of the
            trainer alone, to the last bit.
        *args, **kwargs: as for the trainer.

    Checkpoints also hold the penalty's state (`fourier_penalty.pt`), so that a resumed training goes on exactly.

    Raises:
        UsageError: under DeepSpeed or FSDP1, before a model is loaded; or a checkpoint lacks the state it needs.
        ValueError: as for `FourierPenalty`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        if Trainer in order and order.index(Trainer) < order.index(FourierMixin):
            raise TypeError(f"{cls.__name__}: FourierMixin comes first, before the trainer that it extends")

    def __init__(self, *args: Any, penalty: Mapping[str, Any], **kwargs: Any) -> None:
        for given in (*args, *kwargs.values()):
            if isinstance(given, TrainingArguments):
                refuse_engines(given)
        refuse_engines()
        super().__init__(*args, **kwargs)
        self.fourier = FourierPenalty(self.model, **penalty)  # type: ignore[attr-defined]  # the trainer's
        self.add_callback(_Follow(self))  # type: ignore[attr-defined]

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One micro-batch; on the last of an optimizer step the penalty's gradient joins the task's."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)  # type: ignore[misc]
        accelerator = self.accelerator  # type: ignore[attr-defined]
        if self.fourier.coupling == "loss" and self.fourier.schedule.lam and accelerator.sync_gradients:
            self.fourier.add_gradient(scale=1.0 if accelerator.scaler is None else accelerator.scaler.get_scale())
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the penalty's figures to the training log."""
        if "loss" in logs:
            measure = self.fourier.measure()
            logs["penalty"] = self.fourier.lam * measure.value.item()
            logs["high_frequency_share"] = measure.high_frequency_share.item()
            logs["lam"] = self.fourier.lam
        super().log(logs, start_time)  # type: ignore[misc]

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)  # type: ignore[misc]
        if self.args.should_save:  # type: ignore[attr-defined]
            step = self.state.global_step  # type: ignore[attr-defined]
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{step}"  # type: ignore[attr-defined]
            torch.save(self.fourier.state_dict(), folder / STATE_FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
        file = Path(resume_from_checkpoint) / STATE_FILE
        if not file.is_file():
            raise UsageError(
                f"{file}: there is no such file, so the penalty cannot go on where it was. Was the checkpoint written "
                "by a trainer without the penalty? Start anew, or load its adapter as the model's."
            )
        self.fourier.load_state_dict(torch.load(file, map_location="cpu", weights_only=True), self.model)  # type: ignore[attr-defined]


class _Follow(TrainerCallback):  # type: ignore[misc]
    """Does what has its moment outside `training_step`."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called once the model is wrapped, sharded and restored, with the number of steps known."""
        fourier = self.trainer.fourier
        if fourier.schedule.total_steps is None:
            fourier.schedule.total_steps = state.max_steps
        fourier.bind(self.trainer.model)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called after the optimizer's step, also after one that the gradient scaler skipped."""
        fourier = self.trainer.fourier
        if fourier.coupling == "decoupled" and not self.trainer.accelerator.optimizer_step_was_skipped:
            group = self.trainer.optimizer.param_groups[0]
            peak = group.get("initial_lr", group["lr"])  # set by the learning-rate scheduler
            fourier.decay(group["lr"] / peak if peak else 0.0)


def refuse_engines(arguments: TrainingArguments | None = None) -> None:
    """Refuse DeepSpeed and FSDP1, which leave the penalty nothing to work on.

    Args:
        arguments: of a trainer; None looks only at what a launcher has set for this process.

    Raises:
        UsageError: one of them is asked for; says what to use.
    """
    launched = {name: os.environ.get(name, "").lower() for name in ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP")}
    if getattr(arguments, "deepspeed", None) or launched["ACCELERATE_USE_DEEPSPEED"] == "true":
        raise UsageError(
            "DeepSpeed: it steps inside `backward`, which leaves no moment to add the Fourier penalty's gradient. Use "
            "DDP (torchrun), or FSDP2 to shard the model (fsdp=True, or `fsdp_version: 2` in Accelerate's config)."
        )
    plugin = getattr(arguments, "fsdp_plugin_args", None)
    version = str(plugin["fsdp_version"]) if plugin else os.environ.get("FSDP_VERSION", "1")
    if (plugin or launched["ACCELERATE_USE_FSDP"] == "true") and version != "2":
        raise UsageError(
            "FSDP1: it flattens LoRA's factors into one parameter with others. Use FSDP2 (fsdp_config={'version': 2}, "
            "or `fsdp_version: 2` in Accelerate's config) or DDP."
        )
