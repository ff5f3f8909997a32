"""How several processes share a training so that it stays the training of one process.

A step takes `train.batch_size` x `train.gradient_accumulation_steps` examples, whatever the number of processes: each
does its part of them, in fewer or smaller batches. Where the examples of an epoch do not fill its last step, examples
without tokens to learn from do, which add nothing to the loss, the gradient or the count of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from accelerate.data_loader import BatchSamplerShard, SeedableRandomSampler
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import RandomSampler
from transformers import TrainerCallback

from flexlora import processes
from flexlora.errors import UsageError
from flexlora.recipe import Train
from flexlora.training.sharded import is_all_sharded
from flexlora.training.tokens import IGNORED, Tokens

if TYPE_CHECKING:  # what it is mixed into
    from transformers import Trainer as _Base
else:
    _Base = object


def share(train: Train, processes: int) -> tuple[int, int]:
    """The batch size and the accumulation steps of each of several processes.

    Raises:
        UsageError: the examples of a step cannot be divided evenly; names a number that can.
    """
    step = train.batch_size * train.gradient_accumulation_steps
    if step % processes:
        more = -(-step // processes) * processes
        raise UsageError(
            f"train: the {step} examples of a step (batch_size {train.batch_size} x gradient_accumulation_steps "
            f"{train.gradient_accumulation_steps}) cannot be divided among {processes} processes. Start a number of "
            f"processes that divides {step}, or take {more} examples a step, e.g. train.batch_size={more // processes} "
            f"and train.gradient_accumulation_steps={processes}."
        )
    each = step // processes
    batch = max(size for size in range(1, train.batch_size + 1) if each % size == 0)
    return batch, each // batch


def empty_example(token: int) -> Tokens:
    """An example that adds nothing: one token, and no loss on it."""
    return Tokens(key="", input_ids=[token], labels=[IGNORED], cut=False)


class FilledUp(torch.utils.data.Sampler[int]):
    """The order that one process would see, then the empty example, until the last step is full.

    Args:
        examples: their number; the empty one stands behind them.
        step: examples of a step.
    """

    def __init__(self, examples: int, step: int) -> None:
        self._order: Any = SeedableRandomSampler(range(examples), data_seed=None)
        self._examples, self._more = examples, -examples % step

    def __len__(self) -> int:
        return self._examples + self._more

    def __iter__(self) -> Iterator[int]:
        yield from self._order
        yield from [self._examples] * self._more

    def set_epoch(self, epoch: int) -> None:
        """Of the order."""
        self._order.set_epoch(epoch)


class SharedSteps(_Base):  # type: ignore[misc]  # transformers has no types
    """Put before a trainer's class.

    With several processes and a random order the last example of the dataset is the empty one. Every process takes the
    whole of each validation, so that its loss is that of one.
    """

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        sampler = super()._get_train_sampler(*args, **kwargs)
        if processes.count() == 1 or not isinstance(sampler, RandomSampler):
            return sampler
        each = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        return FilledUp(len(self.train_dataset) - 1, each * processes.count())

    def get_train_dataloader(self, *args: Any, **kwargs: Any) -> Any:
        """The batches of an epoch."""
        loader = super().get_train_dataloader(*args, **kwargs)
        if processes.count() > 1 and isinstance(loader.batch_sampler, BatchSamplerShard):
            order = loader.batch_sampler.batch_sampler.sampler
            if isinstance(order, FilledUp):
                # Accelerate does so for its own samplers only; else an epoch that is resumed has the first one's order.
                loader.set_sampler(order)
        return loader

    def get_eval_dataloader(self, *args: Any, **kwargs: Any) -> Any:
        """The batches of a validation."""
        loader = super().get_eval_dataloader(*args, **kwargs)
        if processes.count() > 1:
            shard = loader.batch_sampler
            shard.num_processes, shard.process_index, shard.even_batches = 1, 0, False
        return loader

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """A validation, of which no process needs another's part."""
        if processes.count() > 1:
            self.gather_function = self._own
        return super().evaluation_loop(*args, **kwargs)

    def _own(self, values: torch.Tensor) -> torch.Tensor:
        """As the accelerator's `gather_for_metrics` in one process: the last batch may have fewer examples."""
        state = self.accelerator.gradient_state
        return values[: state.remainder] if state.end_of_dataloader and state.remainder > 0 else values


class RightEngine(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Refuses to train where the model is not wrapped as several processes need it, as another engine may step in."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer with the model in its place."""
        wrapped, size, sharded = self.trainer.model_wrapped, args.world_size, self.trainer.sharded
        right = is_all_sharded(wrapped) if sharded else size == 1 or type(wrapped) is DistributedDataParallel
        if size != processes.count() or not right:
            raise UsageError(
                f"training: {processes.count()} processes were started, and the trainer sees {size} and wraps the "
                f"model as {type(wrapped).__name__}, not {'sharded' if sharded else 'in DistributedDataParallel'}; "
                "start them with torchrun."
            )


class OwnRandomness(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Gives every process dropout of its own.

    Also where training goes on from a checkpoint of another number of processes, which holds no generator for it.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer before it restores the generators that a checkpoint holds."""
        if processes.count() > 1 or state.global_step:
            torch.manual_seed(args.seed + processes.rank() + 1_000_003 * state.global_step)
