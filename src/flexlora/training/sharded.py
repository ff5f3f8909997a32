"""`ShardedTraining`: FSDP2 for a model with an adapter, by torch's `fully_shard`, with files as of one process.

The Trainer's own `fsdp` options run DDP on a CPU without a word, and their checkpoints load with the same number of
processes only. Here every decoder layer, then the rest, is sharded over all processes before the optimizer is made, and
the trainer is told what it is told of models that were sharded when loaded: to wrap them in nothing. Parameters keep
their dtype, so that the arithmetic is that of one process. What is saved is gathered first: LoRA's factors and their
optimizer state are small.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from peft import get_peft_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from flexlora import processes
from flexlora.errors import UsageError
from flexlora.fourier.parameters import is_sharded, whole
from flexlora.recipe import Train

if TYPE_CHECKING:  # what it is mixed into
    from transformers import Trainer as _Base
else:
    _Base = object


def shards(train: Train) -> bool:
    """Whether a training is to be sharded.

    Raises:
        UsageError: it is, and there is one process.
    """
    if train.sharding == "none":
        return False
    if processes.count() == 1:
        raise UsageError(
            "train.sharding: fsdp2 spreads the model over several processes, and one was started; start as many as "
            "there are GPUs (`torchrun --nproc_per_node 2 -m flexlora ...`), or use --set train.sharding=none."
        )
    return True


class ShardedTraining(_Base):  # type: ignore[misc]  # transformers has no types
    """Put before a trainer's class.

    Args:
        sharded: whether to shard; otherwise nothing changes. The model comes on the CPU, and each process moves one
            layer after the other to its GPU, to keep its part.
        *args, **kwargs: as for the trainer.
    """

    def __init__(self, *args: Any, sharded: bool = False, **kwargs: Any) -> None:
        self.sharded = sharded
        super().__init__(*args, **kwargs)
        # Only now, as the trainer believes that such a model's optimizer cannot be saved; here it can.
        self.is_distributed_loading_by_transformers = sharded

    def _move_model_to_device(self, *args: Any, **kwargs: Any) -> None:
        if not self.sharded:
            super()._move_model_to_device(*args, **kwargs)

    def shard(self) -> None:
        """Shard the model, where that is asked for and not done yet; every process calls it."""
        if self.sharded and not _is_managed(self.model):
            shard(self.model, self.args.device.type)

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        # A checkpoint's adapter is loaded by now, and there is no optimizer yet.
        self.shard()
        return super()._prepare_for_training(*args, **kwargs)

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        self.model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self.model.set_requires_gradient_sync(True)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, whole_adapter(self.model) if self.sharded else state_dict)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        with whole_state(self.optimizer):
            super()._save_optimizer_and_scheduler(output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        spread_state(self.optimizer)


def shard(model: Any, device: str) -> None:
    """Spread the parameters of a model with an adapter over all processes, and move them to their devices.

    Args:
        model: a PEFT model on the CPU; it stays the same object.
        device: its type.

    Raises:
        UsageError: the model does not say what its layers are.
    """
    base = model.get_base_model()
    kinds = set(getattr(base, "_no_split_modules", None) or ())
    layers = [module for module in base.modules() if type(module).__name__ in kinds]
    if not layers:
        raise UsageError(
            f"train.sharding: {type(base).__name__} does not name its layers (_no_split_modules), so it cannot be "
            "sharded layer by layer; use train.sharding=none, with the whole model on every GPU."
        )
    mesh = init_device_mesh(device, (processes.count(),), mesh_dim_names=("fsdp",))
    for module in (*layers, model):
        # Also the last one, which FSDP2 would leave whole after a validation.
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    model._is_fsdp_managed_module = True  # how transformers marks it


def is_all_sharded(model: Any) -> bool:
    """Whether every parameter of a model is spread over all processes."""
    return all(
        is_sharded(p) and p.device_mesh.size() == processes.count() and all(part.is_shard() for part in p.placements)
        for p in model.parameters()
    )


def whole_adapter(model: Any) -> dict[str, torch.Tensor] | None:
    """What PEFT saves of a sharded model, gathered, as `save_pretrained` takes it; None of one that is not sharded.

    Every process calls it.
    """
    if not _is_managed(model):
        return None
    state = model.state_dict()
    saved = set(map(id, get_peft_model_state_dict(model, state_dict=state).values()))
    return {name: whole(value) for name, value in state.items() if id(value) in saved}


def _is_managed(model: object) -> bool:
    return isinstance(model, FSDPModule)


@contextmanager
def whole_state(optimizer: Any) -> Iterator[None]:
    """Within it the state of an optimizer is gathered, as of one process; every process calls it."""
    sharded = [(state, dict(state)) for state in optimizer.state.values()]
    for state, values in sharded:
        state.update({name: whole(value) for name, value in values.items() if isinstance(value, torch.Tensor)})
    try:
        yield
    finally:
        for state, values in sharded:
            state.update(values)


def spread_state(optimizer: Any) -> None:
    """Keep this process's part of a state that was loaded whole; nothing is sent."""
    from torch.distributed.tensor import distribute_tensor

    for p, state in optimizer.state.items():
        if not is_sharded(p):
            continue
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == p.shape and not is_sharded(value):
                state[name] = distribute_tensor(value, p.device_mesh, p.placements, src_data_rank=None)
