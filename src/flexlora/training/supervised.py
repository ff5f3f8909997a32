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

from flexlora.progress import say
from flexlora.training.graphs import Recorded, recordable, shape_of
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
    _recorded: Recorded | None = None

    def __init__(self, *args: Any, cuda_graphs: bool = False, **kwargs: Any) -> None:
        """Everything of the trainer's.

        Args:
            *args: of the trainer.
            cuda_graphs: record steps on one GPU, where the model allows it.
            **kwargs: of the trainer.
        """
        self._may_record = cuda_graphs
        super().__init__(*args, **kwargs)

    def compute_loss(
        self, model: Any, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The summed loss over the number of supervised tokens: of the batch, or `num_items_in_batch`."""
        rest = dict(inputs)
        keep = rest.pop(KEEP)  # (supervised,)
        if return_outputs or self.aux_loss_enabled or not self._at_once(len(keep)):
            return super().compute_loss(model, rest, return_outputs, num_items_in_batch)
        targets = rest.pop("labels")[0, keep + 1]
        loss, right = self._by_graph(rest, keep, targets) or self._by_launches(model, rest, keep, targets)
        if len(keep):
            figures = self._metrics["train" if self.model.training else "eval"]
            figures["mean_token_accuracy"].append(right / len(keep))
        if num_items_in_batch is None:
            return loss / len(keep)
        # The gradient is averaged over processes, and the number of tokens is that of all.
        shares = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        return loss * shares / num_items_in_batch

    def _by_launches(
        self, model: Any, row: dict[str, Any], keep: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logits = model(**row, **{KEEP: keep}, use_cache=False).logits[0].float()  # (supervised, vocabulary)
        loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        return loss, (logits.detach().argmax(-1) == targets).sum()

    def _by_graph(
        self, row: dict[str, Any], keep: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The same from a graph; None for the first row, which warms up, and where there are no graphs."""
        if not self._may_record or not self.model.training:
            return None
        if self._recorded is None:
            alone = self.accelerator.num_processes == 1 and not self.args.gradient_checkpointing
            self._may_record = alone and recordable(self.model)
            self._recorded = Recorded(self.model, self.args.per_device_train_batch_size, self.args.max_length)
            return None
        if not self._at_once(shape_of(row["input_ids"].shape[1], len(keep))[1]):
            return None
        if self.args.gradient_accumulation_steps > 1:
            self._gradients_of_their_own()
        try:
            return self._recorded(row, keep, targets)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._may_record = False
            what = type(self.model.get_base_model()).__name__
            say(f"train: no CUDA graphs for a {what} ({str(error).partition(chr(10))[0]}); goes on without")
            return None

    def _gradients_of_their_own(self) -> None:
        """Let autograd add to gradients: the first of a step would be the graph's memory, which it writes again."""
        for p in self.model.parameters():
            if p.requires_grad and p.grad is None:
                p.grad = torch.zeros_like(p)

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
