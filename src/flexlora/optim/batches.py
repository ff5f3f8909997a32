"""Walking over parameters with their gradients and state, in lists for torch's `_foreach` operations.

On a GPU one list holds everything of a device and dtype, for the fewest kernels. On a CPU a list holds some hundred
thousand values, and larger tensors are cut into pieces: an update is several passes over the same memory, and a list
that stays in the cache is read from memory once. It halves the time of a step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

CACHED = 1 << 17
"""Values in a list on a CPU."""

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
        alike[here[0].device, *(tensor.dtype for tensor in here)].append(here)
    for (device, *_), members in alike.items():
        if device.type != "cpu":
            yield _columns(members)
            continue
        gathered: list[Row] = []
        size = 0
        for piece in _pieces(members):
            gathered.append(piece)
            size += piece[0].numel()
            if size >= CACHED:
                yield _columns(gathered)
                gathered, size = [], 0
        if gathered:
            yield _columns(gathered)


def _pieces(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        if row[0].numel() <= CACHED or not all(tensor.is_contiguous() for tensor in row):
            yield row
        else:
            yield from zip(*(torch.split(tensor.view(-1), CACHED) for tensor in row), strict=True)


def _columns(rows: list[Row]) -> tuple[list[torch.Tensor], ...]:
    return tuple(map(list, zip(*rows, strict=True)))
