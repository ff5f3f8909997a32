"""The penalty's value and gradient in closed form, without an autograd graph, for each view of a LoRA update.

- `vectors_penalty` is the mathematics of the views `factors` (vec(A) and vec(B)) and `rows` (each row of A along n,
  each column of B along m).
- `delta_penalty` penalises the 2-D spectrum of the merged update dW = s B A (paper.txt 8.3) without forming it: the
  bin (u, v) has weight 1 - l(f_u) l(f_v) with l = 1 - h, so that h acts outside the low-pass product.

Source: paper.txt 3.3, equations (3) to (6), whose formulas are lost; the weighting is in `weighting`. The transforms
are orthonormal and every bin counts with its multiplicity, so that by Parseval a penalty has the scale of an L2
penalty whatever the size.

Notation: G tensors of equal shape at once; A is (r, n), B is (m, r), s the adapter's scaling. C_h x is x filtered
by h along an axis, irfft(h * rfft(x)).
"""

from __future__ import annotations

from typing import NamedTuple

import torch


def filtered(x_N: torch.Tensor, h_K: torch.Tensor) -> torch.Tensor:
    """C_h x along the last axis: one RFFT and its inverse.

    Args:
        x_N: (..., N), float32 or float64.
        h_K: (K,), K = N // 2 + 1, in the dtype of `x_N`.
    """
    spectrum_K = torch.fft.rfft(x_N, norm="ortho").mul_(h_K)
    result: torch.Tensor = torch.fft.irfft(spectrum_K, n=x_N.shape[-1], norm="ortho")
    return result


def vectors_penalty(w_GN: torch.Tensor, g_K: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """R = sum <w, C_g w> and dR/dw = 2 C_g w; R is the dot product of the vectors with half their gradient.

    Args:
        w_GN: (..., N), vectors of equal length, float32 or float64.
        g_K: (K,), weight of each bin, in the dtype of `w_GN`.

    Returns:
        R summed over the vectors, a scalar, and dR/dw, of the shape of `w_GN`.
    """
    filtered_GN = filtered(w_GN, g_K)
    return torch.dot(w_GN.reshape(-1), filtered_GN.reshape(-1)), filtered_GN.mul_(2)


class DeltaPenalty(NamedTuple):
    """What `delta_penalty` returns."""

    value: torch.Tensor
    """R summed over the updates, a scalar."""
    energy: torch.Tensor
    """||dW||^2 summed over the updates, a scalar."""
    grad_A: torch.Tensor
    """dR/dA, (G, r, n)."""
    grad_B: torch.Tensor
    """dR/dB, (G, m, r)."""


def delta_penalty(
    A_GRN: torch.Tensor,
    B_GMR: torch.Tensor,
    s_G: torch.Tensor,
    h_n: torch.Tensor,
    h_m: torch.Tensor,
    floor: float = 0.0,
    gain: float = 1.0,
) -> DeltaPenalty:
    """The penalty on the 2-D spectrum of dW = s B A, at O(r (m + n) log) instead of O(m n log).

    With G_B = B^T B, H_B = B^T C_h B, L_B = B^T C_l B (and for A along n), the value is
    s^2 [tr(H_B G_A) + tr(L_B H_A)]. The shorter tr(G_B G_A) - tr(L_B L_A) is equal on paper and cancels in float32.

    Args:
        A_GRN: (G, r, n).
        B_GMR: (G, m, r).
        s_G: (G,), scalings.
        h_n: (n // 2 + 1,), the shape h along the inputs, in the dtype of the factors.
        h_m: (m // 2 + 1,), the same along the outputs.
        floor: weight where h's product form is 0.
        gain: weight where it is 1.
    """
    B_GRM = B_GMR.mT.contiguous()
    high_A, high_B = filtered(A_GRN, h_n), filtered(B_GRM, h_m)
    low_B = B_GRM - high_B
    G_A, H_A = A_GRN @ A_GRN.mT, high_A @ A_GRN.mT
    G_B, H_B, L_B = B_GRM @ B_GMR, high_B @ B_GMR, low_B @ B_GMR
    s2_G = s_G.square()
    s2_G11 = s2_G[:, None, None]
    energy_G = s2_G * (G_B * G_A).sum(dim=(1, 2))
    value_G = s2_G * ((H_B * G_A).sum(dim=(1, 2)) + (L_B * H_A).sum(dim=(1, 2)))
    # Each product below has one r x r side; tr(X Y) of symmetric X, Y is the sum of their products by element.
    span = gain - floor
    left_A = span * H_B + floor * G_B
    grad_A = 2 * s2_G11 * (left_A @ A_GRN + span * (L_B @ high_A))
    grad_B = 2 * s2_G11 * ((span * G_A) @ high_B + (span * H_A) @ low_B + (floor * G_A) @ B_GRM).mT
    return DeltaPenalty(
        value=(span * value_G + floor * energy_G).sum(), energy=energy_G.sum(), grad_A=grad_A, grad_B=grad_B
    )
