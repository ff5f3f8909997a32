"""`FourierMixin`: the penalty in any trainer built on `transformers.Trainer`.

    class FourierDPOTrainer(FourierMixin, DPOTrainer): ...

    trainer = FourierDPOTrainer(model=model, ..., penalty={"lam": 0.02, "view": "delta"})

The gradient joins after the last backward of an optimizer step and before clipping. `on_pre_optimizer_step` would
be too late (it fires after clipping) and the loss too early (it would be added once per micro-batch); `training_step`
with `accelerator.sync_gradients` is right, also for a short last accumulation group. The decoupled penalty acts in
`on_optimizer_step`, before the learning rate moves on.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments

from flexlora.errors import UsageError
from flexlora.fourier import FourierPenalty
from flexlora.training.engines import refuse_engines
from flexlora.training.scaling import SkippedSteps

STATE_FILE = "fourier_penalty.pt"

if TYPE_CHECKING:  # what it is mixed into
    from transformers import Trainer as _Base
else:
    _Base = object


class FourierMixin(_Base):  # type: ignore[misc]  # transformers has no types
    """Put before a trainer's class; takes `penalty` and logs `penalty` (lambda R), `high_frequency_share` and `lam`.

    Args:
        penalty: the keyword arguments of `flexlora.fourier.FourierPenalty`, apart from the model; for the schedule
            `cosine`, `total_steps` is by default that of the training. With `lam` 0 the weights are those of the
            trainer alone, to the last bit.
        *args, **kwargs: as for the trainer.

    Every `train()` begins the penalty anew, with the adapter's values at that time for reference `init`; checkpoints
    hold the penalty's state (`fourier_penalty.pt`), from which a resumed training goes on exactly.

    Raises:
        UsageError: under DeepSpeed or FSDP1, or for wrong options, before a model is loaded; later, where options do
            not fit the model, or a checkpoint lacks the state that it needs.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        if Trainer in order and order.index(Trainer) < order.index(FourierMixin):
            raise TypeError(f"{cls.__name__}: FourierMixin comes first, before the trainer that it extends")

    def __init__(self, *args: Any, penalty: Mapping[str, Any], **kwargs: Any) -> None:
        refuse_engines(next((one for one in (*args, *kwargs.values()) if isinstance(one, TrainingArguments)), None))
        _check_options(penalty)
        super().__init__(*args, **kwargs)
        try:
            self.fourier = FourierPenalty(self.model, **penalty)
        except ValueError as error:
            raise UsageError(f"penalty: {error}.") from error
        self._given_total_steps = penalty.get("total_steps")
        self._schedule_before: dict[str, Any] = {}
        self.add_callback(_Follow(self))

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One micro-batch; on the last of an optimizer step the penalty's gradient joins the task's."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        if self.fourier.coupling == "loss" and self.fourier.schedule.lam and self.accelerator.sync_gradients:
            scaler = self.accelerator.scaler
            self._schedule_before = self.fourier.schedule.state_dict()
            self.fourier.add_gradient(scale=1.0 if scaler is None else scaler.get_scale())
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the penalty's figures to the training log: R and the share as they are now, and the lambda applied."""
        if "loss" in logs:
            measure = self.fourier.measure()
            logs["lam"] = self.fourier.lam if self.fourier.applied is None else self.fourier.applied
            logs["penalty"] = logs["lam"] * measure.value.item()
            logs["high_frequency_share"] = measure.high_frequency_share.item()
        super().log(logs, start_time)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the adapter, and with it, in a checkpoint, the penalty's state."""
        super().save_model(output_dir, _internal_call=_internal_call)
        if _internal_call and output_dir is not None and self.args.should_save:
            torch.save(self.fourier.state_dict(), Path(output_dir) / STATE_FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        file = Path(resume_from_checkpoint) / STATE_FILE
        if not file.is_file():
            raise UsageError(
                f"{file}: there is no such file, so the penalty cannot go on where it was. Was the checkpoint written "
                "by a trainer without the penalty? Start anew, or load its adapter as the model's."
            )
        try:
            self.fourier.load_state_dict(torch.load(file, map_location="cpu", weights_only=True), self.model)
        except ValueError as error:
            raise UsageError(f"{file}: {error}.") from error


class _Follow(SkippedSteps):
    """Does what has its moment outside `training_step`."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called once the model is wrapped, the same on all ranks, and restored, with the number of steps known."""
        fourier = self.trainer.fourier
        if fourier.schedule.name == "cosine":
            fourier.schedule.total_steps = self.trainer._given_total_steps or state.max_steps
        if state.global_step == 0:
            fourier.start(self.trainer.model)
        else:
            fourier.bind(self.trainer.model)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called after the optimizer's step, also after one that the gradient scaler skipped."""
        fourier, skipped = self.trainer.fourier, self.skipped
        if fourier.coupling == "decoupled" and not skipped:
            fourier.decay(_ratio(self.trainer.optimizer, fourier.parameters))
        elif skipped and self.trainer._schedule_before:
            fourier.schedule.load_state_dict(self.trainer._schedule_before)


def _ratio(optimizer: Any, factors: list[torch.nn.Parameter]) -> float:
    """The learning rate over its peak, of the groups that hold the factors.

    Raises:
        UsageError: they have several.
    """
    wanted = set(map(id, factors))
    ratios = {
        group["lr"] / group["initial_lr"] if group.get("initial_lr") else 1.0  # set by learning-rate schedulers
        for group in optimizer.param_groups
        if wanted & set(map(id, group["params"]))
    }
    if max(ratios) - min(ratios) > 1e-6:
        raise UsageError(
            f"coupling: decoupled follows the learning rate, and the factors have several schedules (now at "
            f"{', '.join(f'{ratio:.3g}' for ratio in sorted(ratios))} of their peaks); give them one, or use coupling: "
            "loss."
        )
    return float(min(ratios))


def _check_options(penalty: Mapping[str, Any]) -> None:
    """Try the options on a model of one layer, before the trainer loads its own.

    Raises:
        UsageError: there is no such option, or a value is wrong.
    """
    known = set(inspect.signature(FourierPenalty).parameters) - {"model"}
    if unknown := sorted(set(penalty) - known):
        raise UsageError(f"penalty: there is no option {unknown[0]!r}; there are {', '.join(sorted(known))}.")
    if "lam" not in penalty:
        raise UsageError("penalty: lam is missing, the strength lambda, e.g. 0.02.")
    smallest = get_peft_model(torch.nn.Sequential(torch.nn.Linear(2, 2)), LoraConfig(r=1, target_modules=["0"]))
    try:
        FourierPenalty(smallest, **{**penalty, "modules": None})
    except ValueError as error:
        raise UsageError(f"penalty: {error}.") from error
