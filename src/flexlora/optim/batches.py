"""Walking over parameters with their gradients and state, in lists for torch's `_foreach` operations.

On a GPU one list holds everything of a device and dtype, for the fewest kernels. On a CPU every tensor is a list of its
own, and larger ones are cut into pieces: an update is several passes over the same memory, and a piece that stays in
the cache is read from memory once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

CACHED = 1 << 17
"""The most values in a list on a CPU."""

PLAIN = (torch.Tensor, torch.nn.Parameter)

Row = tuple[torch.Tensor, ...]
"""A parameter and what belongs to it: tensors of one shape, on one device."""


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part of a tensor: of a DTensor its shard, in the same memory. To be used without gradients."""
    if type(tensor) in PLAIN or not hasattr(tensor, "to_local"):
        return tensor
    part: torch.Tensor = tensor.to_local()
    return part


def batches(rows: Iterable[Sequence[torch.Tensor]]) -> Iterator[tuple[list[torch.Tensor], ...]]:
    """Lists of the rows' first, second, ... tensors; each list of one device and dtype."""
    alike: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        here = tuple(local(tensor) for tensor in row)
        if here[0].device.type == "cpu":
            yield from _pieces(here)
        else:
            alike[here[0].device, *(tensor.dtype for tensor in here)].append(here)
    for members in alike.values():
        yield tuple(map(list, zip(*members, strict=True)))


def _pieces(row: Row) -> Iterator[tuple[list[torch.Tensor], ...]]:
    if row[0].numel() <= CACHED or not all(tensor.is_contiguous() for tensor in row):
        yield tuple([tensor] for tensor in row)
    else:
        for piece in zip(*(torch.split(tensor.view(-1), CACHED) for tensor in row), strict=True):
            yield tuple([tensor] for tensor in piece)
