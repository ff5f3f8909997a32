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


class Buffers(NamedTuple):
    """Room for a filter's spectrum and result, which a caller may keep: memory that is new costs page faults."""

    spectrum: torch.Tensor
    """(..., K) complex."""
    result: torch.Tensor
    """(..., N)."""

    @classmethod
    def like(cls, x_N: torch.Tensor) -> Buffers:
        """Buffers for filtering tensors of the shape, dtype and device of `x_N`."""
        n = x_N.shape[-1]
        spectrum = torch.empty(*x_N.shape[:-1], n // 2 + 1, dtype=x_N.dtype.to_complex(), device=x_N.device)
        return cls(spectrum, torch.empty_like(x_N))


def filtered(x_N: torch.Tensor, h_K: torch.Tensor, buffers: Buffers | None = None) -> torch.Tensor:
    """C_h x along the last axis: one RFFT and its inverse.

    Args:
        x_N: (..., N), float32 or float64.
        h_K: (K,), K = N // 2 + 1, in the dtype of `x_N`.
        buffers: where the work is done and the result lies; for tensors of the shape of `x_N`.
    """
    spectrum, result = buffers or (None, None)
    spectrum = torch.fft.rfft(x_N, norm="ortho", out=spectrum)
    # As real numbers: a product of complex by real would first make complex numbers of h.
    torch.view_as_real(spectrum).flatten(-2).mul_(h_K.repeat_interleave(2))
    done: torch.Tensor = torch.fft.irfft(spectrum, n=x_N.shape[-1], norm="ortho", out=result)
    return done


def vectors_penalty(
    w_GN: torch.Tensor, g_K: torch.Tensor, buffers: Buffers | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """R = sum <w, C_g w> and dR/dw = 2 C_g w; R is the dot product of the vectors with half their gradient.

    Args:
        w_GN: (..., N), vectors of equal length, float32 or float64.
        g_K: (K,), weight of each bin, in the dtype of `w_GN`.
        buffers: see `filtered`.

    Returns:
        R summed over the vectors, a scalar, and dR/dw, of the shape of `w_GN`.
    """
    gradient_GN = filtered(w_GN, 2 * g_K, buffers)
    return torch.dot(w_GN.reshape(-1), gradient_GN.reshape(-1)) / 2, gradient_GN


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


class _Products(NamedTuple):
    """What value and gradient of `delta` are made of: filtered factors, and (G, r, r) products of them."""

    B_GRM: torch.Tensor
    high_A: torch.Tensor
    high_B: torch.Tensor
    G_A: torch.Tensor
    H_A: torch.Tensor
    G_B: torch.Tensor
    H_B: torch.Tensor
    L_B: torch.Tensor

    @classmethod
    def of(cls, A_GRN: torch.Tensor, B_GMR: torch.Tensor, h_n: torch.Tensor, h_m: torch.Tensor) -> _Products:
        B_GRM = B_GMR.mT.contiguous()
        high_A, high_B = filtered(A_GRN, h_n), filtered(B_GRM, h_m)
        return cls(
            B_GRM=B_GRM,
            high_A=high_A,
            high_B=high_B,
            G_A=A_GRN @ A_GRN.mT,
            H_A=high_A @ A_GRN.mT,
            G_B=B_GRM @ B_GMR,
            H_B=high_B @ B_GMR,
            L_B=(B_GRM - high_B) @ B_GMR,
        )

    def value_and_energy(
        self, A_GRN: torch.Tensor, s_G: torch.Tensor, floor: float, gain: float, inside: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """tr(X Y) of symmetric X, Y is the sum of their products by element."""
        s2_G = s_G.square()
        if inside:
            shaped_G = (self.L_B * ((A_GRN - self.high_A) @ A_GRN.mT)).sum(dim=(1, 2))
        else:
            shaped_G = (self.H_B * self.G_A).sum(dim=(1, 2)) + (self.L_B * self.H_A).sum(dim=(1, 2))
        energy_G = s2_G * (self.G_B * self.G_A).sum(dim=(1, 2))
        return ((gain - floor) * s2_G * shaped_G + floor * energy_G).sum(), energy_G.sum()


def delta_value(
    A_GRN: torch.Tensor,
    B_GMR: torch.Tensor,
    s_G: torch.Tensor,
    h_n: torch.Tensor,
    h_m: torch.Tensor,
    floor: float = 0.0,
    gain: float = 1.0,
    inside: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and energy of `delta_penalty`, without its gradients."""
    return _Products.of(A_GRN, B_GMR, h_n, h_m).value_and_energy(A_GRN, s_G, floor, gain, inside)


def delta_penalty(
    A_GRN: torch.Tensor,
    B_GMR: torch.Tensor,
    s_G: torch.Tensor,
    h_n: torch.Tensor,
    h_m: torch.Tensor,
    floor: float = 0.0,
    gain: float = 1.0,
    inside: bool = False,
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
        floor: weight where the product form is 0.
        gain: weight where it is 1.
        inside: the weight is l(f_u) l(f_v) in place of 1 - l(f_u) l(f_v), and the value s^2 tr(L_B L_A).
    """
    p = _Products.of(A_GRN, B_GMR, h_n, h_m)
    value, energy = p.value_and_energy(A_GRN, s_G, floor, gain, inside)
    span, twice_G11 = gain - floor, 2 * s_G.square()[:, None, None]
    # dR/dA = 2 s^2 [left_A A + left_high_A C_h A], and dR/dB^T = 2 s^2 [left_B B^T + left_high_B C_h B^T].
    if inside:
        left_A, left_high_A = p.L_B, -p.L_B
        left_B = (A_GRN - p.high_A) @ A_GRN.mT
        left_high_B = -left_B
    else:
        left_A, left_high_A = p.H_B, p.L_B
        left_B, left_high_B = p.H_A, p.G_A - p.H_A
    grad_A = (twice_G11 * (span * left_A + floor * p.G_B)) @ A_GRN
    grad_A.baddbmm_(twice_G11 * span * left_high_A, p.high_A)
    grad_B = (twice_G11 * (span * left_B + floor * p.G_A)) @ p.B_GRM
    grad_B.baddbmm_(twice_G11 * span * left_high_B, p.high_B)
    return DeltaPenalty(value=value, energy=energy, grad_A=grad_A, grad_B=grad_B.mT)
