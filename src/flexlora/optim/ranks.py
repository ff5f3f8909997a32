"""Gradients summed over ranks. DDP and FSDP2 average them, as if ranks had equally many labels; the estimate divides
by the number of all labels itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from flexlora.optim.batches import local


@contextmanager
def without_averaging(model: torch.nn.Module) -> Iterator[None]:
    """Within it a backward leaves this rank's gradients or, of what FSDP2 shards, their sum over ranks."""
    if isinstance(model, DistributedDataParallel):
        with model.no_sync():
            yield
        return
    groups = [group for module in _sharded(model) for group in module._get_fsdp_state()._fsdp_param_groups]
    before = [(group.gradient_divide_factor, group.force_sum_reduction_for_comms) for group in groups]
    try:
        for group in groups:
            # As `set_gradient_divide_factor` does, of which the value before cannot be asked. FSDP2 must divide by it
            # itself, as only NCCL can.
            group.gradient_divide_factor, group.force_sum_reduction_for_comms = 1.0, True
        yield
    finally:
        for group, settings in zip(groups, before, strict=True):
            group.gradient_divide_factor, group.force_sum_reduction_for_comms = settings


def sum_over_ranks(model: torch.nn.Module, parameters: Sequence[torch.Tensor], group: dist.ProcessGroup | None) -> None:
    """Add up the gradients that a backward `without_averaging` has left to each rank."""
    if not distributed(group):
        return
    summed = {id(p) for module in _sharded(model) for p in module.parameters() if hasattr(p, "placements")}
    if not (own := [p for p in parameters if id(p) not in summed]):
        return
    # A rank whose batch left a parameter unused has no gradient of it, and must still take part.
    used = torch.tensor([p.grad is not None for p in own], dtype=torch.int32, device=own[0].device)
    dist.all_reduce(used, op=dist.ReduceOp.MAX, group=group)
    for p, somewhere in zip(own, used.tolist(), strict=True):
        if somewhere:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            dist.all_reduce(local(p.grad), group=group)


def over_ranks(mine: int, device: torch.device, group: dist.ProcessGroup | None) -> tuple[list[int], int]:
    """A number of every rank, and this rank's place among them."""
    if not distributed(group):
        return [mine], 0
    numbers = torch.zeros(dist.get_world_size(group), dtype=torch.int64, device=device)
    rank = dist.get_rank(group)
    numbers[rank] = mine
    dist.all_reduce(numbers, group=group)
    return [int(number) for number in numbers], rank


def all_finite(parameters: Sequence[torch.Tensor], group: dist.ProcessGroup | None) -> bool:
    """Whether all gradients are, on all ranks."""
    finite = torch.ones((), dtype=torch.int32, device=parameters[0].device)
    for p in parameters:
        if p.grad is not None:
            finite *= local(p.grad).isfinite().all().to(finite.device)
    if distributed(group):
        dist.all_reduce(finite, op=dist.ReduceOp.MIN, group=group)
    return bool(finite)


def distributed(group: dist.ProcessGroup | None) -> bool:
    """Whether there are other ranks."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size(group) > 1


def _sharded(model: torch.nn.Module) -> list[Any]:
    """The modules that `fully_shard` was called on."""
    if not dist.is_available() or not dist.is_initialized():
        return []
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]
