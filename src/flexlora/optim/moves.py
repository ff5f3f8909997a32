"""The arithmetic of one step of Sophia-G, on lists of tensors that have one device and dtype.

    move = by_paper(group)      # a parameter group of SophiaG
    move(p, g, m, h)            # changes p and m

On a CPU tensors are taken one by one, in the same spare memory, so that what is in the cache stays there: lists would
take new memory for every intermediate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

Tensors = list[torch.Tensor]
Move = Callable[[Tensors, Tensors, Tensors, Tensors], None]
"""Takes weights, gradients, m and h."""

OFFICIAL_EPSILON = 1e-15
"""Added to the denominator by the official code."""


def threshold(group: Mapping[str, Any]) -> float:
    """What h is multiplied by in the denominator: rho, over what bias correction divides h by."""
    correction = 1 - group["betas"][1] ** group["estimates"] if group["bias_correction"] and group["estimates"] else 1.0
    return float(group["rho"] / correction)


def by_paper(group: Mapping[str, Any]) -> Move:
    """The rule of the paper (algorithm 3), with h as it is stored."""
    # With c = rho: clip(m / max(c h, eps), 1) = clip(m / max(h, eps / c), c) / c, which is a pass less.
    c, lr = threshold(group), float(group["lr"])
    least, kept, share = group["eps"] / c, 1 - lr * group["weight_decay"], 1 - group["betas"][0]
    spare: dict[Any, tuple[torch.Tensor, torch.Tensor]] = {}

    def on_cpu(p: Tensors, g: Tensors, m: Tensors, h: Tensors) -> None:
        for weight, gradient, average, curvature in zip(p, g, m, h, strict=True):
            like = curvature.shape, curvature.dtype
            if like not in spare:
                spare[like] = torch.empty_like(curvature), curvature.new_zeros(())
            ratio, zero = spare[like]
            average.lerp_(gradient, share)
            torch.clamp_min(curvature, least, out=ratio)
            torch.addcdiv(zero, average, ratio, value=-lr / c, out=ratio).clamp_(-lr, lr)
            torch.add(ratio, weight, alpha=kept, out=weight)  # so decay takes no pass of its own

    def elsewhere(p: Tensors, g: Tensors, m: Tensors, h: Tensors) -> None:
        torch._foreach_lerp_(m, g, share)
        ratio = list(torch._foreach_div(m, list(torch._foreach_clamp_min(h, least))))
        torch._foreach_clamp_max_(ratio, c)
        torch._foreach_clamp_min_(ratio, -c)
        if kept != 1:
            torch._foreach_mul_(p, kept)
        torch._foreach_add_(p, ratio, alpha=-lr / c)

    return lambda p, g, m, h: (on_cpu if p[0].device.type == "cpu" else elsewhere)(p, g, m, h)


def by_official_code(group: Mapping[str, Any]) -> Move:
    """In the order of the official operations, so that the same values come out to the last bit."""
    beta, lr = group["betas"][0], float(group["lr"])
    kept, curvature = 1 - lr * group["weight_decay"], group["rho"] * group["batch_size"]

    def move(p: Tensors, g: Tensors, m: Tensors, h: Tensors) -> None:
        torch._foreach_mul_(p, kept)
        torch._foreach_mul_(m, beta)
        torch._foreach_add_(m, g, alpha=1 - beta)
        denominator = torch._foreach_mul(h, curvature)
        torch._foreach_add_(denominator, OFFICIAL_EPSILON)
        ratio = torch._foreach_abs(m)
        torch._foreach_div_(ratio, denominator)
        torch._foreach_clamp_max_(ratio, 1)
        torch._foreach_addcmul_(p, torch._foreach_sign(m), ratio, value=-lr)

    return move
