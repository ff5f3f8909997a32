"""`StopWhenDiverged`: a training whose loss or gradient is no number, or whose loss explodes, stops and says where.

Every optimizer step is looked at before the optimizer acts, so that neither weights nor checkpoints are spoilt; its
figures are read back from the device at once. The examples of a step are found again by their tokens, only when they
are to be named.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from flexlora import processes
from flexlora.errors import FlexError
from flexlora.files import write_json
from flexlora.fourier.parameters import whole
from flexlora.optim.batches import local
from flexlora.training.checkpoints import last_checkpoint
from flexlora.training.padding_free import LENGTHS

STATE_FILE = "loss_watch.json"
KEY = "key"
"""Column of a training dataset that names its examples."""
DECAY = 0.9
"""Of the running mean of the steps' losses."""
FACTOR = 3.0
"""The loss has exploded where its running mean is above so many times the lowest one, and above that of guessing."""
NAMED = 16
"""Examples that are listed."""

if TYPE_CHECKING:  # what it is mixed into
    from transformers import Trainer as _Base
else:
    _Base = object


class Diverged(FlexError):
    """Training cannot go on from here.

    Args:
        what: what is wrong, at which step, in which examples.
        kept: what there is to go on from.
        remedy: what to look at and to change.
    """

    def __init__(self, what: str, kept: str, remedy: str) -> None:
        super().__init__(
            f"training: {what}; {kept}. What is written stays, and running the same again would stop at the same step. "
            f"{remedy[0].upper()}{remedy[1:]}; start anew with another --output, or --overwrite."
        )
        self.what, self.remedy = what, remedy


class StopWhenDiverged(_Base):  # type: ignore[misc]  # transformers has no types
    """Put before a trainer's class, and before `FourierMixin` and `SophiaMixin`.

    Raises:
        Diverged: while training: what is wrong, the step, its examples (those of the micro-batch, where the loss tells
            which), the last checkpoint, and what to change.
    """

    _batches: Sequence[Any] = ()
    _losses: Sequence[torch.Tensor] = ()
    _running: RunningMean | None = None

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """Keep the micro-batches of the next step, to name their examples."""
        samples, items = super().get_batch_samples(*args, **kwargs)
        self._batches, self._losses = samples, []
        return samples, items

    def estimate_curvature(self, samples: list[Any]) -> None:
        """Sophia's estimate, as `SophiaMixin` makes it."""
        try:
            super().estimate_curvature(samples)
        except FloatingPointError as error:
            raise self._diverged(str(error).partition(":")[0], samples) from error

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One micro-batch, whose loss is looked at before the optimizer's step."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        self._losses = [*self._losses, loss]
        return loss

    def _guessing(self) -> float:
        """The loss of guessing uniformly."""
        config = getattr(self.model, "config", None)
        return math.log(getattr(config.get_text_config(), "vocab_size", 1)) if config is not None else 0.0

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        norm = whole(norm) if isinstance(norm, torch.Tensor) else norm
        last = torch.as_tensor(norm)
        seen = torch.stack([one.float() for one in (*self._losses, last.to(self.args.device))])
        # One transfer for all, and as late as may be: a device works off the backward meanwhile. (processes, losses and
        # norm); of several processes each has its losses times their number, to take the mean.
        rows = self.accelerator.gather(seen).view(-1, len(seen)).tolist()
        self._look_at([row[:-1] for row in rows])
        value, scaler = rows[0][-1], self.accelerator.scaler
        # Under fp16 the scaler skips steps whose scaled gradients overflow, and halves its scale.
        if not math.isfinite(value) and (scaler is None or scaler.get_scale() <= 1):
            raise self._diverged(f"the gradient's norm is {value}", self._batches)
        return norm

    def _look_at(self, losses: list[list[float]]) -> None:
        """The losses of a step's micro-batches in every process; they sum to the step's mean loss."""
        wrong = [loss for of_process in losses for loss in of_process if not math.isfinite(loss)]
        if wrong:
            own = losses[self.accelerator.process_index]
            spoilt = [batch for batch, loss in zip(self._batches, own, strict=False) if not math.isfinite(loss)]
            raise self._diverged(f"the loss is {wrong[0]}", spoilt)
        if self._running is None or self.state.global_step == 0:
            self._running = RunningMean()
        before = self._running.lowest
        mean = self._running.add(sum(map(sum, losses)) / len(losses))
        if mean > max(FACTOR * before, self._guessing()):
            raise self._diverged(f"the loss has risen to {mean:.3g}, from {before:.3g}", self._batches)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self._running is not None and self.args.should_save:
            write_json(Path(output_dir) / STATE_FILE, self._running.state_dict())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and (file := Path(checkpoint) / STATE_FILE).is_file():
            self._running = RunningMean(**json.loads(file.read_bytes()))

    def _save_checkpoint(self, model: Any, *args: Any, **kwargs: Any) -> None:
        trained = [local(p.detach()) for p in model.parameters() if p.requires_grad]
        if not all(processes.gathered(all(bool(p.isfinite().all()) for p in trained))):  # of shards, each has its own
            raise self._diverged("weights of the adapter are no longer finite", self._batches, self.state.global_step)
        super()._save_checkpoint(model, *args, **kwargs)

    def _diverged(self, what: str, batches: Sequence[Any], step: int | None = None) -> FlexError:
        """What to raise, in every process at once; the first one says it."""
        step = self.state.global_step + 1 if step is None else step
        keys = [key for found in processes.gathered(self._keys(batches)) for key in found if key]
        if not processes.is_first():
            return processes.FailedElsewhere(what)
        more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
        examples = f" (examples {', '.join(keys[:NAMED])}{more})" if keys else ""
        norm = self.args.max_grad_norm
        clipping = f"a lower train.max_grad_norm (now {norm:g})" if norm else "a train.max_grad_norm above 0"
        checkpoint = last_checkpoint(Path(self.args.output_dir), before=step)
        return Diverged(
            f"{what} at step {step}{examples}",
            f"the last good checkpoint is {checkpoint}" if checkpoint else "there is no checkpoint yet",
            f"look at these examples; or change the recipe: a lower optimizer.learning_rate (now "
            f"{self.args.learning_rate:g}), a longer train.warmup_steps (now {self.args.warmup_steps:g}), "
            f"{clipping}, or a precision of bfloat16 or float32",
        )

    def _keys(self, batches: Sequence[Any]) -> list[str]:
        """The names of the examples in micro-batches; none where the dataset has no names."""
        if KEY not in (getattr(self.train_dataset, "column_names", None) or ()):
            return []
        wanted = {tokens for batch in batches for tokens in _rows(batch)}
        found = (row[KEY] for row in self.train_dataset if tuple(row["input_ids"]) in wanted)
        return list(dict.fromkeys(found))


def _rows(batch: Any) -> list[tuple[int, ...]]:
    """The tokens of each example of a micro-batch, without padding."""
    ids = batch["input_ids"].cpu()
    if LENGTHS in batch:
        return [tuple(tokens.tolist()) for tokens in ids[0].split(batch[LENGTHS])]
    mask = batch["attention_mask"].cpu().bool() if "attention_mask" in batch else torch.ones_like(ids).bool()
    return [tuple(row[keep].tolist()) for row, keep in zip(ids, mask, strict=True)]


class RunningMean:
    """Exponentially weighted mean of the losses of steps, corrected for its start, and the lowest it has been."""

    def __init__(self, lowest: float = math.inf, total: float = 0.0, weight: float = 0.0) -> None:
        self.lowest, self._sum, self._weight = lowest, total, weight

    def state_dict(self) -> dict[str, float]:
        """The arguments that make this again."""
        return {"lowest": self.lowest, "total": self._sum, "weight": self._weight}

    def add(self, value: float) -> float:
        """The mean with this step's value."""
        self._sum = DECAY * self._sum + (1 - DECAY) * value
        self._weight = DECAY * self._weight + (1 - DECAY)
        mean = self._sum / self._weight
        self.lowest = min(self.lowest, mean)
        return mean
