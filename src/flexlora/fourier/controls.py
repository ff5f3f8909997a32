"""Controls: penalties that cost the same and know nothing of frequency, or favour the opposite end of it.

A result that one of them matches is no evidence for frequency.

- `permuted`: the penalty itself, behind a fixed random permutation: of the vector's indices for `factors`; of input
  and of output indices, shared over the rank, for `rows` and `delta`. As many directions are penalised.
- `low_band`: the same shape mirrored, with an equal number of directions (for `delta`, of equal weight: the inside
  of a rectangle in place of the outside).
- `uniform`: plain L2, with the root mean square of the weights over all directions.

A direction is one of the N dimensions of a vector's spectrum (a bin counts with its multiplicity), or one of the
m n of an update's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import torch

from flexlora.fourier.transform import frequencies, multiplicity
from flexlora.fourier.weighting import Weighting

Control = Literal["none", "permuted", "low_band", "uniform"]


def permutation(name: str, n: int) -> torch.Tensor:
    """A fixed random permutation of n indices, seeded by a parameter's name: (n,) int64, the same everywhere."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def bin_weights(weights: Weighting, n: int, control: Control = "none") -> torch.Tensor:
    """The weight of each RFFT bin of a vector of length n under a control: (K,) float64."""
    g_K, c_K = weights.g(n), multiplicity(n)
    if control == "uniform":
        return torch.full_like(g_K, float((c_K * g_K.square()).sum() / n) ** 0.5)
    if control == "low_band":
        return _mirrored(g_K, c_K)
    return g_K


def _mirrored(g_K: torch.Tensor, c_K: torch.Tensor) -> torch.Tensor:
    """The weights of all directions in the opposite order of frequency.

    The two directions of a bin share its weight; for odd n, where they come from two bins, that is their mean, so
    that the sum over all directions is unchanged.
    """
    counts = c_K.long()
    turned_N = g_K.repeat_interleave(counts).flip(0)
    bins_N = torch.arange(len(g_K)).repeat_interleave(counts)
    return torch.zeros_like(g_K).index_add_(0, bins_N, turned_N) / c_K


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaWeights:
    """The weights of an update's 2-D spectrum: floor + (gain - floor) (1 - l_u l_v), or, `inside`, (...) p_u p_v."""

    h_n: torch.Tensor
    """(n // 2 + 1,) float64 along the inputs: h = 1 - l, or 1 - p."""
    h_m: torch.Tensor
    """(m // 2 + 1,) float64 along the outputs."""
    floor: float
    gain: float
    inside: bool = False


def delta_weights(weights: Weighting, n: int, m: int, control: Control = "none") -> DeltaWeights:
    """The weights of the 2-D spectrum of an update of shape (m, n) under a control."""
    h_n, h_m = weights.h(n), weights.h(m)
    floor, gain = weights.floor, weights.gain
    if control == "uniform":
        span = gain - floor
        first = _mean(1 - h_n, n) * _mean(1 - h_m, m)
        second = _mean((1 - h_n) ** 2, n) * _mean((1 - h_m) ** 2, m)
        rms = (gain**2 - 2 * gain * span * first + span**2 * second) ** 0.5
        return DeltaWeights(h_n=torch.ones_like(h_n), h_m=torch.ones_like(h_m), floor=rms, gain=rms)
    if control == "low_band":
        tau = _tau_of_equal_weight(weights, n, m)
        h_n, h_m = (weights.rise(frequencies(size), tau) for size in (n, m))
        return DeltaWeights(h_n=h_n, h_m=h_m, floor=floor, gain=gain, inside=True)
    return DeltaWeights(h_n=h_n, h_m=h_m, floor=floor, gain=gain)


def _tau_of_equal_weight(weights: Weighting, n: int, m: int) -> float:
    """The threshold at which the inside, mean p_n * mean p_m, weighs what the outside weighs at tau, by bisection.

    For `step` the inside grows by whole bins; the nearest is taken (at tau = 0.5 of long transforms, sqrt(0.75)).
    """
    wanted = 1 - _mean(1 - weights.h(n), n) * _mean(1 - weights.h(m), m)

    def weight(tau: float) -> float:
        return _mean(1 - weights.rise(frequencies(n), tau), n) * _mean(1 - weights.rise(frequencies(m), tau), m)

    low, high = -1e3, 1e3
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if weight(middle) < wanted else (low, middle)
    return min((low, high), key=lambda tau: abs(weight(tau) - wanted))


def _mean(x_K: torch.Tensor, n: int) -> float:
    """Mean over the n directions of a spectrum given by its bins."""
    return float((multiplicity(n) * x_K).sum() / n)
