"""Four ways of rounding a merged weight to a smaller dtype; `SAVED` are those that models are
saved with.

`nearest` is what saving a model does. It has the smallest error, but where an update is smaller than half a step of the
dtype it rounds the update away, weight by weight, always in the same direction: back to the base.
`stochastic` goes up or down at random, so that the rounded weight is right on average and the update survives as the
mean of a noise (Gupta et al. 2015, Deep Learning with Limited Numerical Precision). The noise is larger than what it
mends: it is measured, to show so, and not offered.
`shaped` goes up or down so that the errors of a row cancel in the directions that the adapter reads, the rows of A; it
is the noise shaping of audio converters, with the adapter's input space in place of the audible band (the greedy path
following of Lybrand & Saab 2021, with A for data). Inputs lie elsewhere too: it is measured, not offered.
`calibrated` is the same along the directions in which a layer's inputs really lie, as some prompts show them.
"""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

import torch
from torch import Tensor

Rounding = Literal["nearest", "stochastic", "shaped", "calibrated"]
ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
SAVED: tuple[Rounding, ...] = ("nearest", "calibrated")

THRIFT = 1.0
"""How much `shaped` minds the error of a single weight; 0 lets the total error grow twofold for nothing."""


def neighbours(exact: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The nearest value of `dtype` and the next one on the other side of `exact`; equal where `exact` is a value.

    Args:
        exact: any shape, float64.
        dtype: bfloat16 or float16.

    Returns:
        Two float64 tensors of the shape of `exact`. The second may be infinite at the end of the range.
    """
    near = exact.to(dtype)
    bits = near.view(torch.int16)
    up = exact > near.double()
    # One step in bits is one step in value: away from zero up, towards it down. Zero has a neighbour on each side.
    stepped = torch.where(up == (near > 0), bits + 1, bits - 1)
    stepped = torch.where(near == 0, torch.where(up, 1, -0x7FFF).to(torch.int16), stepped)
    other = torch.where(exact == near.double(), bits, stepped).view(dtype)
    return near.double(), other.double()


def nearest(exact: Tensor, dtype: torch.dtype) -> Tensor:
    """`exact` (any shape, float64) in `dtype`."""
    return exact.to(dtype)


def stochastic(exact: Tensor, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """`exact` (any shape, float64) in `dtype`, up or down with the odds that make its expectation `exact`.

    The same seed gives the same values on the same kind of device.
    """
    if dtype is torch.float32:
        return nearest(exact, dtype)
    near, other = neighbours(exact, dtype)
    odds = torch.where(near == other, 0.0, (exact - near) / (other - near))
    generator = torch.Generator(exact.device).manual_seed(seed)
    draw = torch.rand(exact.shape, generator=generator, device=exact.device)
    return torch.where(draw < odds, other, near).to(dtype)


def shaped(exact: Tensor, dtype: torch.dtype, directions: Tensor, thrift: float = THRIFT) -> Tensor:
    """`exact` in `dtype`, with errors E such that E Q stays near zero for the columns of Q, the longer the nearer.

    Inputs are taken one after another. Of the two neighbours of a weight the one is chosen that keeps
    |s + e q_i|^2 + thrift (|Q|^2 / n) e^2 smaller, where s is the row's error so far as Q sees it, e the new error and
    q_i what Q has for that input; then s moves by e q_i.

    Args:
        exact: W* (m, n), float64.
        dtype: the dtype to round to.
        directions: Q (n, k), float32.
        thrift: 0 looks at these directions only; the larger, the closer to `nearest`.
    """
    if dtype is torch.float32:
        return nearest(exact, dtype)
    size = directions.square().sum(1)  # (n,)
    size = size + thrift * size.mean()
    near, other = neighbours(exact.T, dtype)  # (n, m): a step reads one contiguous row
    errors = torch.stack([near - exact.T, other - exact.T]).float()  # (2, n, m)
    bounded = near.isfinite() & other.isfinite()
    errors = errors.where(bounded, 0)  # at the end of the range there is nothing to choose
    seen = torch.zeros(exact.shape[0], directions.shape[1], device=exact.device)  # (m, k): s of every row
    flips = torch.empty(exact.T.shape, dtype=torch.bool, device=exact.device)  # (n, m)
    for i, q in enumerate(directions):
        e = errors[:, i]  # (2, m)
        cost = e * (2 * (seen @ q) + e * size[i])
        torch.lt(cost[1], cost[0], out=flips[i])
        seen.addr_(torch.where(flips[i], e[1], e[0]), q)
    return torch.where(flips & bounded, other, near).T.to(dtype)


def adapter_directions(reads: Tensor) -> Tensor:
    """An orthonormal basis (n, r) of what the rows of A (r, n) span."""
    basis: Tensor = torch.linalg.qr(reads.double().T).Q
    return basis.float()


def input_directions(inputs: Tensor, count: int = 64) -> Tensor:
    """The principal directions (n, count) of inputs (t, n), float32, each as long as the inputs are along it (RMS)."""
    _, values, rows = torch.linalg.svd(inputs / inputs.shape[0] ** 0.5, full_matrices=False)
    scaled: Tensor = rows[:count] * values[:count, None]
    return scaled.T.contiguous()


def round_to(
    exact: Tensor,
    dtype: torch.dtype,
    rounding: Rounding,
    name: str,
    reads: Tensor | None,
    inputs: Tensor | None = None,
) -> Tensor:
    """`exact` in `dtype`; the seed of `stochastic` is the parameter's name, so that a merge can be repeated.

    Args:
        exact: W*, float64; (m, n) where `reads` is given.
        reads: A (r, n), or None where an update has no input directions (embeddings, biases): `shaped` is then
            `nearest`.
        inputs: (t, n), float32, for `calibrated`, which is `nearest` without.
    """
    if rounding == "stochastic":
        return stochastic(exact, dtype, int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))
    if rounding == "shaped" and reads is not None:
        return shaped(exact, dtype, adapter_directions(reads))
    if rounding == "calibrated" and inputs is not None:
        return shaped(exact, dtype, input_directions(inputs))
    return nearest(exact, dtype)
