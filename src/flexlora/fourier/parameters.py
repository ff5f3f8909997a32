"""Reading factors and changing them or their gradients, whole on one device or sharded over several (DTensor).

A sharded factor is gathered, since its spectrum needs all of it, and every rank works out the same gradient and
keeps its own shard. LoRA's factors are small: 46 MB for Code Llama 7B at rank 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

import torch

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(tensor: torch.Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor is a DTensor, as FSDP2 and tensor parallelism make them."""
    return hasattr(tensor, "device_mesh") and hasattr(tensor, "placements")


def whole(parameter: torch.Tensor) -> torch.Tensor:
    """All values of a parameter, detached: its own memory, or gathered from its shards (a collective call)."""
    detached = parameter.detach()
    return detached.full_tensor() if is_sharded(detached) else detached


def add_gradients(parameters: Sequence[torch.nn.Parameter], gradients: Sequence[torch.Tensor], factor: float) -> None:
    """Add factor * gradient to every parameter's `.grad`, which is made where there is none.

    Args:
        parameters: of one device and dtype.
        gradients: whole, in float32; multiplied by the factor before they are rounded to the parameter's dtype.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
    _add([parameter.grad for parameter in parameters if parameter.grad is not None], gradients, factor)


def add_values(parameters: Sequence[torch.nn.Parameter], values: Sequence[torch.Tensor], factor: float) -> None:
    """Add factor * value to every parameter itself, as an optimizer's step would."""
    _add([parameter.detach() for parameter in parameters], values, factor)


def _add(targets: Sequence[torch.Tensor], values: Sequence[torch.Tensor], factor: float) -> None:
    """One fused call for all tensors where they have the values' dtype."""
    local = [_shard_like(value, target) for value, target in zip(values, targets, strict=True)]
    targets = [target.to_local() if is_sharded(target) else target for target in targets]
    if targets[0].dtype != local[0].dtype:
        local, factor = [value.mul(factor).to(targets[0].dtype) for value in local], 1.0
    torch._foreach_add_(list(targets), local, alpha=factor)


def _shard_like(value: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """This rank's part of a value that all ranks have, laid out as the target's shard; nothing is sent."""
    if not is_sharded(target):
        return value
    from torch.distributed.tensor import DTensor, Replicate

    mesh = target.device_mesh
    replicated = DTensor.from_local(value, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return replicated.redistribute(placements=target.placements).to_local()
