"""`SupervisedLogits`: the loss of a row without padding from logits at its supervised positions only.

TRL's own head works in tiles: off a GPU it scores every position, it makes each tile again in the backward, and reads
its figures back from the device at every micro-batch. Where the supervised logits fit easily, as at the usual batch
sizes, they are made once here, and figures are read when they are logged. Of TRL's figures, `entropy` and `num_tokens`
are not.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from flexlora.training.padding_free import KEEP
from flexlora.training.tokens import IGNORED

LARGEST = 1 << 26
"""Logits that are made at once; more are left to TRL's tiles. In float32 256 MiB, and as much each for
their log-softmax and their gradient."""

if TYPE_CHECKING:  # what it is mixed into
    from trl import SFTTrainer as _Base
else:
    _Base = object


class SupervisedLogits(_Base):  # type: ignore[misc]  # TRL has no types
    """Put before `SFTTrainer`'s class, with batches from `DocumentCollator`. The loss is that of TRL, to rounding."""

    _flops_per_token: int | None = None

    def compute_loss(
        self, model: Any, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The summed loss over the number of supervised tokens: of the batch, or `num_items_in_batch`."""
        rest = dict(inputs)
        keep = rest.pop(KEEP)  # (supervised,)
        if return_outputs or self.aux_loss_enabled or not self._at_once(len(keep)):
            return super().compute_loss(model, rest, return_outputs, num_items_in_batch)
        targets = rest.pop("labels")[0, keep + 1]
        logits = model(**rest, **{KEEP: keep}, use_cache=False).logits[0].float()  # (supervised, vocabulary)
        loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        if len(keep):
            right = (logits.detach().argmax(-1) == targets).float().mean()
            self._metrics["train" if self.model.training else "eval"]["mean_token_accuracy"].append(right)
        if num_items_in_batch is None:
            return loss / len(keep)
        # The gradient is averaged over processes, and the number of tokens is that of all.
        shares = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        return loss * shares / num_items_in_batch

    def _at_once(self, supervised: int) -> bool:
        if self.accelerator.num_processes > 1:
            # The same in every process, as TRL's way gathers figures, which all have to take part in.
            supervised = self._most_supervised
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        takes = KEEP in inspect.signature(type(base).forward).parameters
        return takes and supervised * base.config.get_text_config().vocab_size <= LARGEST

    def floating_point_ops(self, inputs: Mapping[str, Any]) -> int:
        """As transformers counts them, which would walk over all modules at every micro-batch."""
        if self._flops_per_token is None:
            self._flops_per_token = super().floating_point_ops(inputs) // inputs["input_ids"].numel()
        return self._flops_per_token * int(inputs["input_ids"].numel())

    @cached_property
    def _most_supervised(self) -> int:
        """Tokens that the loss is taken on in a batch, at most."""
        counts = sorted(
            sum(label != IGNORED for label in labels)
            for dataset in (self.train_dataset, self.eval_dataset)
            for labels in (dataset["labels"] if dataset is not None else ())
        )
        return sum(counts[-max(self.args.per_device_train_batch_size, self.args.per_device_eval_batch_size) :])

    def estimate_curvature(self, samples: list[Any]) -> None:
        """Sophia's estimate, which asks for the logits that it needs itself."""
        super().estimate_curvature([{k: value for k, value in batch.items() if k != KEEP} for batch in samples])

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Read the figures since the last line back from the device."""
        for figures in self._metrics.values():
            figures.update({name: [float(value) for value in values] for name, values in figures.items()})
        super().log(logs, start_time)
