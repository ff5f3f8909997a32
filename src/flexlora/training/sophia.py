"""`SophiaMixin`: Sophia-G in any trainer built on `transformers.Trainer`.

    class SophiaTrainer(SophiaMixin, Trainer): ...

    trainer = SophiaTrainer(model=model, args=args, ..., sophia={"rho": 0.04, "interval": 10})

The curvature is estimated on all micro-batches of the step to come, when the trainer has fetched them and no gradient
is there yet: so it does not depend on accumulation, and what joins the step's gradient, as the Fourier penalty does,
stays out of it. The model is called, not the trainer's loss, which would count the tokens twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import Trainer, TrainingArguments

from flexlora.capabilities import require
from flexlora.errors import FlexError, UsageError
from flexlora.optim import GaussNewtonBartlett, SophiaG
from flexlora.training.engines import refuse_engines

STATE_FILE = "sophia_curvature.pt"
OPTIONS = ("betas", "rho", "eps", "bias_correction")
"""Of `SophiaG`; learning rate and weight decay are the trainer's."""

if TYPE_CHECKING:  # what it is mixed into
    from transformers import Trainer as _Base
else:
    _Base = object


class SophiaMixin(_Base):  # type: ignore[misc]  # transformers has no types
    """Put before a trainer's class; takes `sophia` and logs `clipped_fraction` and figures of h (`SophiaG.statistics`).

    Args:
        sophia: options of `flexlora.optim.SophiaG` (`betas`, `rho`, `eps`, `bias_correction`) and `interval`, the steps
            from one estimate of the curvature to the next (10). Learning rate, its schedule, weight decay and clipping
            are those of the trainer's arguments. None leaves the trainer as it is.
        *args, **kwargs: as for the trainer.

    Checkpoints hold m and h with the optimizer, and the estimate's generator (`sophia_curvature.pt`), from which a
    resumed training goes on exactly.

    Raises:
        UsageError: under DeepSpeed, FSDP1 or context parallelism, or for wrong options, before a model is loaded;
            later, where batches have no labels, or a checkpoint lacks the state that it needs.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        if Trainer in order and order.index(Trainer) < order.index(SophiaMixin):
            raise TypeError(f"{cls.__name__}: SophiaMixin comes first, before the trainer that it extends")

    def __init__(self, *args: Any, sophia: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self.curvature: GaussNewtonBartlett | None = None
        self._sophia = None if sophia is None else dict(sophia)
        if sophia is not None:
            given = (one for one in (*args, *kwargs.values()) if isinstance(one, TrainingArguments))
            refuse_engines(next(given, None), optimizer="sophia")
            _check_options(sophia)
            if kwargs.get("optimizers", (None, None))[0] is not None:
                raise UsageError("sophia: an optimizer is given too; leave out one of `sophia` and `optimizers`.")
        super().__init__(*args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Sophia-G on the trainer's groups of parameters (with and without weight decay)."""
        if self._sophia is not None and self.curvature is None:
            if self.get_tp_size() > 1:  # what no recipe can ask for, this cannot do either
                require("recipe", "sophia", optimizer="sophia", parallelism="tensor")
            if self.get_cp_size() > 1:
                require("python", "sophia", optimizer="sophia", parallelism="context")
            options = {name: value for name, value in self._sophia.items() if name in OPTIONS}
            self.optimizer_cls_and_kwargs = (SophiaG, {"lr": self.args.learning_rate, **options})
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args, **kwargs)
        if self._sophia is not None and self.curvature is None:
            interval = self._sophia.get("interval", 10)
            self.curvature = GaussNewtonBartlett(optimizer, interval, seed=self.args.seed)
        return optimizer

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """The micro-batches of the next optimizer step; where it is due, the curvature is estimated on them."""
        samples, items = super().get_batch_samples(*args, **kwargs)
        if self.curvature is not None and samples:
            try:
                self.estimate_curvature(samples)
            except FloatingPointError as error:
                raise FlexError(f"training: after step {self.state.global_step}, {error}.") from error
            except ValueError as error:
                raise UsageError(f"sophia: {error}.") from error
        return samples, items

    def estimate_curvature(self, samples: list[Any]) -> None:
        """Estimate on the micro-batches of a step, where it is due.

        Raises:
            FloatingPointError: a gradient is not finite.
            ValueError: the batches have no labels.
        """
        assert self.curvature is not None
        self.model_wrapped.train()  # after an evaluation, and before the first step, it is not
        scaler = self.accelerator.scaler
        self.curvature.update(
            self.model_wrapped,
            *({**self._prepare_inputs(batch), **self._no_cache()} for batch in samples),
            scale=1.0 if scaler is None else scaler.get_scale(),
        )

    def _no_cache(self) -> dict[str, bool]:
        """A cache costs memory, and lets packed documents see each other."""
        return {"use_cache": False} if hasattr(getattr(self.model, "config", None), "use_cache") else {}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the figures of the last step to the training log."""
        if "loss" in logs and self.curvature is not None:
            logs.update(self.curvature.optimizer.statistics())
        super().log(logs, start_time)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.curvature is not None and self.args.should_save:
            torch.save(self.curvature.state_dict(), Path(output_dir) / STATE_FILE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        file = Path(checkpoint) / STATE_FILE if checkpoint is not None else None
        if file is not None and self.curvature is not None:
            if not file.is_file():
                raise UsageError(
                    f"{file}: there is no such file, so Sophia cannot go on where it was. Was the checkpoint written "
                    "with another optimizer? Start anew, or load its adapter as the model's."
                )
            self.curvature.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        super()._load_optimizer_and_scheduler(checkpoint)


def _check_options(sophia: Mapping[str, Any]) -> None:
    """Try the options on one parameter, before the trainer loads its model.

    Raises:
        UsageError: there is no such option, or a value is wrong.
    """
    known = (*OPTIONS, "interval")
    if unknown := sorted(set(sophia) - set(known)):
        raise UsageError(f"sophia: there is no option {unknown[0]!r}; there are {', '.join(known)}.")
    options = {name: value for name, value in sophia.items() if name in OPTIONS}
    try:
        optimizer = SophiaG([torch.nn.Parameter(torch.zeros(1))], lr=1.0, **options)
        GaussNewtonBartlett(optimizer, sophia.get("interval", 10))
    except ValueError as error:
        raise UsageError(f"sophia: {error}.") from error
