"""The backward pass on labels sampled from the model's own distribution, with little memory for the vocabulary.

Logits are worked out at the positions asked for alone, where the model can (`logits_to_keep` of transformers' models
takes a mask), and the gradient of the cross entropy, softmax minus one at the label, is written block by block, over
the logits themselves where nothing needs them any more. So most of the memory is one number for each position asked
for and each word of the vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

IGNORED = -100
BLOCK = 1 << 21
"""Logits of a block, of which the work takes some seven copies in float32."""

WITHOUT_RESULT = frozenset(f"{name}Backward0" for name in ("Mm", "Addmm", "Add", "Mul", "Div", "ToCopy"))
"""Operations whose backward does not look at their result. Were one wrongly here, autograd would raise."""


def predicting(batch: Mapping[str, Any], shift: bool) -> torch.Tensor:
    """(batch, length) whether a position predicts a label that is supervised.

    Raises:
        ValueError: the batch has no labels.
    """
    labels = batch.get("labels")
    if labels is None:
        raise ValueError(
            f"a batch without labels (it has {', '.join(batch)}): they say where there is a loss, and so where "
            "labels are sampled"
        )
    supervised: torch.Tensor = labels != IGNORED
    return torch.nn.functional.pad(supervised[:, 1:], (0, 1)) if shift else supervised


def backward_on_samples(
    model: torch.nn.Module, batch: Mapping[str, Any], mask: torch.Tensor, uniform: torch.Tensor, factor: float
) -> None:
    """Add `factor` times the gradient of the cross entropy, summed over positions, on labels drawn for them.

    Args:
        model: called as `model(**batch)` without the labels; returns logits (batch, length, vocabulary), alone, in a
            tuple, or as `.logits`.
        mask: (batch, length) the N positions.
        uniform: (N,) in [0, 1), as for `sample_labels`.

    Raises:
        ValueError: there are not logits for every position.
    """
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    if _takes_mask(model):
        logits = _logits(model(**{**inputs, "logits_to_keep": mask}))
        positions = torch.arange(len(logits), device=logits.device)
    else:
        logits = _logits(model(**inputs))
        if logits.shape[:2] != mask.shape:
            raise ValueError(
                f"logits {tuple(logits.shape)} do not match labels {tuple(mask.shape)}: there must be logits for every "
                "position"
            )
        positions = mask.flatten().nonzero()[:, 0].to(logits.device)
    gradient = _gradient(logits, positions, uniform.to(logits.device), factor)
    torch.autograd.backward([logits], [gradient])


@torch.no_grad()
def sample_labels(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Labels from the softmax of logits, by inversion of its distribution function.

    Args:
        logits: (N, vocabulary).
        uniform: (N,) in [0, 1): one random number for each label, whatever the vocabulary and the device.

    Returns:
        (N,) labels, int64.
    """
    size = _rows_of_a_block(logits)
    blocks = zip(torch.split(logits, size), torch.split(uniform, size), strict=True)
    labels = [_drawn(part.float().softmax(-1), share) for part, share in blocks]
    return torch.cat(labels) if labels else logits.new_zeros(0, dtype=torch.int64)


def _drawn(probabilities: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    cumulative = probabilities.cumsum(-1)
    total = cumulative[:, -1:]
    # Rounded up to the total, a share would lie beyond the last label of any probability.
    wanted = torch.minimum(uniform[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    found = torch.searchsorted(cumulative, wanted, right=True)[:, 0]
    return found.clamp_(max=probabilities.shape[1] - 1)  # for logits that are not numbers it is one beyond


@torch.no_grad()
def _gradient(logits: torch.Tensor, positions: torch.Tensor, uniform: torch.Tensor, factor: float) -> torch.Tensor:
    """Of the same shape as the logits, and in their memory where that is free; positions count their rows."""
    free = logits.ndim == 2 and type(logits.grad_fn).__name__ in WITHOUT_RESULT
    values = logits.detach()
    gradient = values if free else torch.zeros(values.shape, dtype=values.dtype, device=values.device)
    rows, into = values.flatten(0, -2), gradient.flatten(0, -2)
    size = _rows_of_a_block(rows)
    for where, share in zip(torch.split(positions, size), torch.split(uniform, size), strict=True):
        probabilities = rows[where].float().softmax(-1)
        labels = _drawn(probabilities, share)[:, None]
        probabilities.scatter_add_(1, labels, -torch.ones_like(labels, dtype=probabilities.dtype))
        into[where] = probabilities.mul_(factor).to(into.dtype)
    return gradient


def _rows_of_a_block(rows: torch.Tensor) -> int:
    return max(1, BLOCK // max(1, rows.shape[-1]))


def _takes_mask(model: torch.nn.Module) -> bool:
    """Whether it is a model of transformers, wrapped or not, that works out logits where a mask says."""
    inner: Any = model.module if isinstance(model, DistributedDataParallel) else model
    if getattr(getattr(inner, "active_peft_config", None), "is_prompt_learning", False):
        return False  # it has more positions than labels
    base = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    forward = inspect.unwrap(base.forward)
    # The argument alone does not tell: in its older form, and in code of others, it is a number or a list.
    slices = "slice_logits_to_keep" in getattr(forward, "__globals__", ())
    return slices and "logits_to_keep" in inspect.signature(forward).parameters


def _logits(output: Any) -> torch.Tensor:
    if isinstance(output, torch.Tensor):
        return output
    logits: torch.Tensor = output.logits if hasattr(output, "logits") else output[0]
    return logits
