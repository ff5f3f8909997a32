"""Frequencies of the real FFT and how often each bin counts.

A vector of length N has K = N // 2 + 1 bins.
"""

from __future__ import annotations

import torch


def frequencies(n: int) -> torch.Tensor:
    """Normalised frequencies f_k = k / (N / 2) of the RFFT bins, from 0 to 1 (Nyquist): (K,) float64.

    float64, because in float32 bins at the edge of a mask fall on either side.

    Raises:
        ValueError: `n` is less than 1.
    """
    if n < 1:
        raise ValueError(f"a transform needs at least one value, got length {n}")
    return torch.arange(n // 2 + 1, dtype=torch.float64) * 2 / n


def multiplicity(n: int) -> torch.Tensor:
    """How often each RFFT bin stands in the full spectrum: (K,) float64; 1 for DC and an even N's Nyquist bin, else 2.

    With it, sum_k c_k |what_k|^2 = ||w||^2 exactly for the orthonormal transform.
    """
    c = torch.full((n // 2 + 1,), 2.0, dtype=torch.float64)
    c[0] = 1
    if n % 2 == 0:
        c[-1] = 1
    return c
