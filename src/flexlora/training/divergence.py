"""`StopWhenDiverged`: a training whose loss or gradient is no number, or whose loss explodes, stops and says where.

Every optimizer step is looked at before the optimizer acts, so that neither weights nor checkpoints are spoilt; its
figures are read back from the device at once. The examples of a step are found again by their tokens, only when they
are to be named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from flexlora.errors import FlexError
from flexlora.fourier.parameters import whole
from flexlora.optim.batches import local
from flexlora.training.padding_free import LENGTHS

KEY = "key"
"""Column of a training dataset that names its examples."""
UNIFORM = 2.0
"""A loss above so many times that of guessing uniformly has exploded, if it is also above `FACTOR`."""
FACTOR = 3.0
"""Times the lowest loss logged so far."""
NAMED = 16
"""Examples that are listed."""

if TYPE_CHECKING:  # what it is mixed into
    from transformers import Trainer as _Base
else:
    _Base = object


class Diverged(FlexError):
    """Training cannot go on from here."""


class StopWhenDiverged(_Base):  # type: ignore[misc]  # transformers has no types
    """Put before a trainer's class, and before `FourierMixin` and `SophiaMixin`.

    Raises:
        Diverged: while training: what is wrong, the step, its examples (those of the micro-batch, where the loss tells
            which), the last checkpoint, and what to change.
    """

    _batches: Sequence[Any] = ()
    _losses: Sequence[torch.Tensor] = ()

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

    def _lowest(self) -> float:
        return min((line["loss"] for line in self.state.log_history if "loss" in line), default=math.inf)

    def _most(self) -> float:
        """The loss from which on it has exploded; without bound until a first loss is logged."""
        config = getattr(self.model, "config", None)
        vocabulary = getattr(config.get_text_config(), "vocab_size", 2) if config is not None else 2
        return max(FACTOR * self._lowest(), UNIFORM * math.log(vocabulary))

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        last = torch.as_tensor(whole(norm) if isinstance(norm, torch.Tensor) else norm)
        # One transfer for all, and as late as may be: a device works off the backward meanwhile.
        *losses, value = torch.stack([one.float() for one in (*self._losses, last.to(self.args.device))]).tolist()
        for loss, batch in zip(losses, self._batches, strict=False):
            if not math.isfinite(loss):
                raise self._diverged(f"the loss is {loss}", [batch])
        if sum(losses) > self._most():  # they sum to the step's mean loss
            raise self._diverged(f"the loss is {sum(losses):.3g}, after {self._lowest():.3g} before", self._batches)
        # Under fp16 the scaler skips steps whose gradients overflow, and lowers its scale.
        if self.accelerator.scaler is None and not math.isfinite(value):
            raise self._diverged(f"the gradient's norm is {value}", self._batches)
        return norm

    def _save_checkpoint(self, model: Any, *args: Any, **kwargs: Any) -> None:
        trained = [local(p.detach()) for p in model.parameters() if p.requires_grad]
        if not all(bool(p.isfinite().all()) for p in trained):
            raise self._diverged("weights of the adapter are no longer finite", self._batches, self.state.global_step)
        super()._save_checkpoint(model, *args, **kwargs)

    def _diverged(self, what: str, batches: Sequence[Any], step: int | None = None) -> Diverged:
        step = self.state.global_step + 1 if step is None else step
        keys = self._keys(batches)
        more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
        examples = f" (examples {', '.join(keys[:NAMED])}{more})" if keys else ""
        checkpoint = _last(Path(self.args.output_dir), step)
        kept = f"the last good checkpoint is {checkpoint}" if checkpoint else "there is no checkpoint yet"
        return Diverged(
            f"training: {what} at step {step}{examples}; {kept}. What is written stays, and running the same again "
            "would stop at the same step. Look at these examples; or change the recipe and start anew (another "
            f"--output, or --overwrite): a lower optimizer.learning_rate (now {self.args.learning_rate:g}), a longer "
            f"train.warmup_steps (now {self.args.warmup_steps:g}), a lower train.max_grad_norm (now "
            f"{self.args.max_grad_norm:g}), or a precision of bfloat16 or float32."
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


def _last(folder: Path, step: int) -> Path | None:
    """The newest checkpoint before a step."""
    found = {int(path.name.rsplit("-", 1)[1]): path for path in folder.glob("checkpoint-*")}
    before = [number for number in found if number < step]
    return found[max(before)] if before else None
