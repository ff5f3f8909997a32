"""Factors of equal shape, transformed together: what `FourierPenalty` is made of.

A group is worked through in chunks that stay in the processor's cache (on a GPU, in one), in float32 whatever the
dtype of the factors (RFFT refuses half precision on CPU). On a CPU the vectors' buffers are kept from step to step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from flexlora.fourier.controls import Control, bin_weights, delta_weights, permutation
from flexlora.fourier.parameters import add_gradients, add_values, whole
from flexlora.fourier.views import Buffers, delta_penalty, delta_value, vectors_penalty
from flexlora.fourier.weighting import Weighting

CHUNK_BYTES = {"cpu": 6 << 20}
"""Larger ones leave the cache, smaller ones cost more set-up per transform than they save (benchmarks/fourier.py)."""
CHUNK_BYTES_ELSEWHERE = 256 << 20


class Measure(NamedTuple):
    """What the penalty sees, as tensors on the parameters' device, so that nothing waits for the GPU."""

    value: torch.Tensor
    """R, a scalar: the penalty without lambda (paper.txt equation 4)."""
    energy: torch.Tensor
    """All of the view's energy, a scalar: ||w||^2 over the factors, or ||dW||^2 over the updates for `delta`."""
    high: torch.Tensor
    """The part of it above tau, a scalar."""

    @property
    def high_frequency_share(self) -> torch.Tensor:
        """The share of the energy above tau; 0 where all is zero."""
        return self.high / self.energy.clamp(min=torch.finfo(self.energy.dtype).tiny)


class Factor(NamedTuple):
    """A LoRA factor that is penalised, or, for `delta`, takes part."""

    name: str
    parameter: torch.nn.Parameter
    reference: torch.Tensor | None
    """What it is penalised for departing from: whole, float32, of the parameter's shape; None is zero."""
    penalised: bool
    """Whether it gets the gradient."""


class Group(Protocol):
    """Factors that are transformed together."""

    def add(self, factor: float, to_values: bool) -> torch.Tensor:
        """Add factor dR/dw to their gradients, or to their values (0 touches nothing); returns R."""

    def measure(self) -> Measure:
        """R, the energy, and the energy above tau."""


class VectorGroup:
    """Factors of one shape, dtype and device as vectors: `factors` and `rows`.

    Args:
        factors: all of them penalised.
        transposed: whether a vector runs along the factor's first dimension.
        length: of a vector; a factor holds one or several.
        weights: what is penalised.
        control: see `flexlora.fourier.controls`.
    """

    def __init__(
        self, factors: Sequence[Factor], *, transposed: bool, length: int, weights: Weighting, control: Control
    ) -> None:
        first = factors[0].parameter
        self._factors, self._transposed = factors, transposed
        self._shape = (first.numel() // length, length)
        self._device = first.device
        g_K, high_K = bin_weights(weights, length, control), _above(weights).g(length)
        self._same = control == "none" and torch.equal(g_K, high_K)
        self._g_K, self._high_K = (x_K.to(self._device, torch.float32) for x_K in (g_K, high_K))
        self._order_G1N = _orders([factor.name for factor in factors], length, control, self._device)
        self._kept: tuple[torch.Tensor, Buffers] | None = None

    def add(self, factor: float, to_values: bool) -> torch.Tensor:
        """As in `Group`."""
        value = torch.zeros((), device=self._device)
        for part in _chunks(len(self._factors), self._shape[0] * self._shape[1], self._device):
            w_GVN, buffers = self._stacked(part)
            part_value, gradient_GVN = vectors_penalty(self._reordered(w_GVN, part), self._g_K, buffers)
            value += part_value
            if not factor:
                continue
            if self._order_G1N is not None:
                gradient_GVN = _back(gradient_GVN, self._order_G1N[part])
            parameters = [item.parameter for item in self._factors[part]]
            (add_values if to_values else add_gradients)(parameters, self._as_factors(gradient_GVN), factor)
        return value

    def measure(self) -> Measure:
        """As in `Group`; the energy above tau is that of the natural order, whatever the control."""
        total = torch.zeros(3, device=self._device)
        for part in _chunks(len(self._factors), self._shape[0] * self._shape[1], self._device):
            w_GVN, buffers = self._stacked(part)
            value, _ = vectors_penalty(self._reordered(w_GVN, part), self._g_K, buffers)
            high = value if self._same else vectors_penalty(w_GVN, self._high_K, buffers)[0]
            total += torch.stack([value, w_GVN.square().sum(), high])
        return Measure(*total)

    def _stacked(self, part: slice) -> tuple[torch.Tensor, Buffers]:
        """(C, V, N) float32, the vectors of a chunk of factors, and buffers for as many."""
        factors = [_departure(factor) for factor in self._factors[part]]
        if self._transposed:
            factors = [factor.mT for factor in factors]
        count = len(factors)
        w_GVN, (spectrum, result) = self._kept or self._make_room(count)
        w_GVN = w_GVN[:count]
        torch.stack(factors, out=w_GVN.view(count, *factors[0].shape))
        return w_GVN, Buffers(spectrum[:count], result[:count])

    def _make_room(self, count: int) -> tuple[torch.Tensor, Buffers]:
        """For `count` factors; the first chunk is the largest."""
        w_GVN = torch.empty(count, *self._shape, device=self._device)
        room = w_GVN, Buffers.like(w_GVN)
        if self._device.type == "cpu":  # elsewhere the allocator keeps memory itself, and others may use it meanwhile
            self._kept = room
        return room

    def _reordered(self, w_GVN: torch.Tensor, part: slice) -> torch.Tensor:
        return w_GVN if self._order_G1N is None else w_GVN.gather(2, self._order_G1N[part].expand_as(w_GVN))

    def _as_factors(self, gradient_GVN: torch.Tensor) -> list[torch.Tensor]:
        """Gradients in the shape of their factors."""
        rows, columns = self._factors[0].parameter.shape
        if self._transposed:
            return list(gradient_GVN.view(-1, columns, rows).mT)
        return list(gradient_GVN.view(-1, rows, columns))


class PairGroup:
    """Pairs of equal shapes, dtype and device as updates s B A: `delta`.

    Args:
        pairs: (A, B) of each.
        scalings: s of each.
        weights: what is penalised.
        control: see `flexlora.fourier.controls`.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Factor, Factor]],
        scalings: Sequence[float],
        *,
        weights: Weighting,
        control: Control,
    ) -> None:
        a, b = (factor.parameter for factor in pairs[0])
        self._rank, n = a.shape
        m = b.shape[0]
        self._pairs, self._device = pairs, a.device
        self._s_G = torch.tensor(scalings, dtype=torch.float32, device=self._device)
        form = delta_weights(weights, n, m, control)
        self._h_n, self._h_m, self._high_n, self._high_m = (
            h.to(self._device, torch.float32) for h in (form.h_n, form.h_m, _above(weights).h(n), _above(weights).h(m))
        )
        self._floor, self._gain, self._inside = form.floor, form.gain, form.inside
        self._same = control == "none" and (weights.shape, form.floor, form.gain) == ("step", 0.0, 1.0)
        self._departs = any(b.reference is not None and bool(b.reference.any()) for _, b in pairs)
        self._order_A, self._order_B = (
            _orders([pair[side].name for pair in pairs], size, control, self._device)
            for side, size in enumerate((n, m))
        )

    def add(self, factor: float, to_values: bool) -> torch.Tensor:
        """As in `Group`."""
        value = torch.zeros((), device=self._device)
        for part in self._parts():
            A_GRN, B_GRM = self._stacked(part)
            found = delta_penalty(*self._arguments(A_GRN, B_GRM, part))
            value += found.value
            if not factor:
                continue
            grad_A, grad_B = found.grad_A[:, : self._rank], found.grad_B.mT[:, : self._rank]
            if self._departs:  # A stands in both halves of the product, see _stacked
                grad_A = grad_A + found.grad_A[:, self._rank :]
            if self._order_A is not None and self._order_B is not None:
                grad_A, grad_B = _back(grad_A, self._order_A[part]), _back(grad_B, self._order_B[part])
            for side, gradients in enumerate((grad_A, grad_B.mT)):
                chosen = [i for i, pair in enumerate(self._pairs[part]) if pair[side].penalised]
                if chosen:
                    parameters = [self._pairs[part][i][side].parameter for i in chosen]
                    (add_values if to_values else add_gradients)(parameters, [gradients[i] for i in chosen], factor)
        return value

    def measure(self) -> Measure:
        """As in `Group`; the energy above tau is that of the natural order, whatever the control."""
        total = torch.zeros(3, device=self._device)
        for part in self._parts():
            A_GRN, B_GRM = self._stacked(part)
            value, energy = delta_value(*self._arguments(A_GRN, B_GRM, part))
            high = value
            if not self._same:
                high, _ = delta_value(A_GRN, B_GRM.mT, self._s_G[part], self._high_n, self._high_m)
            total += torch.stack([value, energy, high])
        return Measure(*total)

    def _arguments(self, A_GRN: torch.Tensor, B_GRM: torch.Tensor, part: slice) -> tuple[Any, ...]:
        """Of `delta_penalty`, for a chunk."""
        if self._order_A is not None and self._order_B is not None:
            A_GRN = A_GRN.gather(2, self._order_A[part].expand_as(A_GRN))
            B_GRM = B_GRM.gather(2, self._order_B[part].expand_as(B_GRM))
        return (A_GRN, B_GRM.mT, self._s_G[part], self._h_n, self._h_m, self._floor, self._gain, self._inside)

    def _parts(self) -> Iterator[slice]:
        per_pair = sum(factor.parameter.numel() for factor in self._pairs[0])
        return _chunks(len(self._pairs), per_pair, self._device)

    def _stacked(self, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """A (C, r, n) and B transposed (C, r, m), float32.

        With references it is dW - dW_0 = s [B - B_0, B_0] [A; A - A_0], of rank 2 r, which keeps its digits however
        small the departure is; where B_0 = 0 it is dW.
        """
        A_GRN = torch.stack([whole(a.parameter) for a, _ in self._pairs[part]]).float()
        B_GRM = torch.stack([whole(b.parameter).mT for _, b in self._pairs[part]]).float()
        if not self._departs:
            return A_GRN, B_GRM
        starts = [(a.reference, b.reference) for a, b in self._pairs[part]]
        A_0 = torch.stack([a for a, _ in starts if a is not None])
        B_0 = torch.stack([b.mT for _, b in starts if b is not None])
        return torch.cat([A_GRN, A_GRN - A_0], dim=1), torch.cat([B_GRM - B_0, B_0], dim=1)


def _departure(factor: Factor) -> torch.Tensor:
    """What of a factor is penalised: all of it, or what it departs by from its reference; float32."""
    values = whole(factor.parameter)
    return values.float() if factor.reference is None else values.float() - factor.reference


def _above(weights: Weighting) -> Weighting:
    """What "high" means when measuring, whatever is penalised: above tau."""
    return Weighting(shape="step", tau=weights.tau)


def _orders(names: Sequence[str], length: int, control: Control, device: torch.device) -> torch.Tensor | None:
    """For the control `permuted`, a permutation a factor, shared by its vectors: (G, 1, N) int64."""
    if control != "permuted":
        return None
    return torch.stack([permutation(name, length) for name in names]).unsqueeze(1).to(device)


def _back(gradient_GVN: torch.Tensor, order_G1N: torch.Tensor) -> torch.Tensor:
    """Gradients of reordered vectors, in the natural order."""
    return torch.empty_like(gradient_GVN).scatter_(2, order_G1N.expand_as(gradient_GVN), gradient_GVN)


def _chunks(count: int, values_each: int, device: torch.device) -> Iterator[slice]:
    """Parts of a group of `count` items of so many float32 values each."""
    size = max(1, CHUNK_BYTES.get(device.type, CHUNK_BYTES_ELSEWHERE) // (4 * values_each))
    return (slice(start, min(count, start + size)) for start in range(0, count, size))
