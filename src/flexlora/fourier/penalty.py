"""`FourierPenalty`: the penalty on a model's LoRA adapter, usable in any training loop.

    penalty = FourierPenalty(model, lam=0.02)
    loss.backward()
    penalty.add_gradient()      # once per optimizer step, after the last backward, before clipping
    optimizer.step()

Factors of equal shape are transformed together, in float32 whatever their dtype (RFFT refuses half precision on
CPU). Lambda is not comparable across views: `delta` is quartic in the factors, carries the scaling squared, and at
tau = 0.5 penalises 75 % of the directions where the others penalise 50 %.

Limits: coupling to the loss; DeepSpeed steps inside `backward`, so there is no moment to add a gradient, and the
trainer refuses it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, get_args

import torch

from flexlora.fourier.views import DeltaPenalty, delta_penalty, vectors_penalty
from flexlora.fourier.weighting import Shape, Weighting

if TYPE_CHECKING:
    from flexlora.adapters.pairs import LoraPair

View = Literal["factors", "rows", "delta"]
Flatten = Literal["row", "column"]


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


class FourierPenalty:
    """Penalises the high frequencies of a model's LoRA adapter (paper.txt 3.3, equations 3 to 7; 8.3 for `delta`).

    Args:
        model: a model with LoRA layers; the factors of its active adapters are collected once, here, so build this
            after everything that replaces parameters (wrapping, casting).
        lam: strength lambda, at least 0; with 0 no gradient is touched and the penalty only measures.
        view: what is transformed. `factors`: each factor, flattened. `rows`: each row of A and each column of B.
            `delta`: the merged update s B A, in two dimensions.
        weighting: `step`, `ramp`, `sigmoid` or `uniform`, see `flexlora.fourier.weighting`.
        tau: threshold as a share of the Nyquist frequency, in [0, 1].
        order: exponent of `ramp`.
        width: width of `sigmoid`.
        floor: weight where the weighting is 0.
        gain: weight where it is 1.
        flatten: for `factors`, whether vec(B) runs fastest over the rank index (`row`, which is what flattening
            says in the paper: neighbours in rank, which have no natural order) or over the outputs (`column`).
        coupling: `loss`, the gradient joins the task's.

    Raises:
        ValueError: an option is out of range or means nothing here, or the model has no trainable LoRA factors.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        lam: float,
        view: View = "factors",
        weighting: Shape = "step",
        tau: float = 0.5,
        order: float = 1.0,
        width: float = 0.05,
        floor: float = 0.0,
        gain: float = 1.0,
        flatten: Flatten = "row",
        coupling: Literal["loss"] = "loss",
    ) -> None:
        for name, value, known in (
            ("view", view, get_args(View)),
            ("flatten", flatten, get_args(Flatten)),
            ("coupling", coupling, ("loss",)),
        ):
            if value not in known:
                raise ValueError(f"{name} {value!r} is not known; there is {', '.join(known)}")
        if not lam >= 0:
            raise ValueError(f"lam must be at least 0; got {lam}")
        if flatten != "row" and view != "factors":
            raise ValueError(f"flatten {flatten!r} is for view 'factors'; view {view!r} flattens nothing")
        weights = Weighting(shape=weighting, tau=tau, order=order, width=width, floor=floor, gain=gain)
        from flexlora.adapters.pairs import lora_pairs  # the tensors' mathematics does not need peft; this does

        self.lam = lam
        pairs = [pair for pair in lora_pairs(model) if pair.A.requires_grad or pair.B.requires_grad]
        if not pairs:
            raise ValueError(
                "the model has no trainable LoRA factors; add an adapter first (flexlora.adapters.add_lora)"
            )
        self._groups: list[_Group] = (
            list(_pair_groups(pairs, weights))
            if view == "delta"
            else list(_vector_groups(pairs, weights, view, flatten))
        )

    @torch.no_grad()
    def add_gradient(self, scale: float = 1.0) -> torch.Tensor:
        """Add lambda dR/dw to the gradient of every factor; call once per optimizer step, before clipping.

        Args:
            scale: the loss scale in force under fp16 (`GradScaler.get_scale()`), since the task's gradients carry
                it too.

        Returns:
            R before the step, a scalar.
        """
        return _total(group.add_gradient(self.lam * scale) for group in self._groups)

    @torch.no_grad()
    def measure(self) -> Measure:
        """The penalty, the energy and its part above tau, of the factors as they are; changes nothing."""
        values, energies, highs = zip(*(group.measure() for group in self._groups), strict=True)
        return Measure(_total(values), _total(energies), _total(highs))


class _Group(Protocol):
    """Factors that are transformed together."""

    def add_gradient(self, factor: float) -> torch.Tensor:
        """Add factor dR/dw to their gradients (0 touches none); returns R."""

    def measure(self) -> Measure:
        """R, the energy, and the energy above tau."""


class _Vectors:
    """Factors as vectors of equal length and number: `factors` and `rows`."""

    def __init__(self, parameters: list[torch.nn.Parameter], transposed: bool, length: int, weights: Weighting) -> None:
        self._parameters, self._transposed, self._length = parameters, transposed, length
        device = parameters[0].device
        self._g_K = weights.g(length).to(device, torch.float32)
        self._high_K = _above(weights).h(length).to(device, torch.float32)

    def add_gradient(self, factor: float) -> torch.Tensor:
        value, gradient_GVN = vectors_penalty(self._stacked(), self._g_K)
        if factor:
            for parameter, gradient_VN in zip(self._parameters, gradient_GVN, strict=True):
                shape = parameter.shape
                back = gradient_VN.reshape(shape[::-1]).mT if self._transposed else gradient_VN.reshape(shape)
                _accumulate(parameter, back, factor)
        return value

    def measure(self) -> Measure:
        w_GVN = self._stacked()
        value, high = (vectors_penalty(w_GVN, weights_K)[0] for weights_K in (self._g_K, self._high_K))
        return Measure(value, w_GVN.square().sum(), high)

    def _stacked(self) -> torch.Tensor:
        factors = (p.detach().mT if self._transposed else p.detach() for p in self._parameters)
        return torch.stack([factor.reshape(-1, self._length).float() for factor in factors])


class _Pairs:
    """Pairs of equal shapes: `delta`."""

    def __init__(self, pairs: list[LoraPair], weights: Weighting) -> None:
        self._pairs, self._weights = pairs, weights
        device = pairs[0].A.device
        self._s_G = torch.tensor([pair.scaling for pair in pairs], device=device)
        n, m = pairs[0].A.shape[1], pairs[0].B.shape[0]
        self._h_n, self._h_m = (weights.h(length).to(device, torch.float32) for length in (n, m))
        self._high_n, self._high_m = (_above(weights).h(length).to(device, torch.float32) for length in (n, m))

    def add_gradient(self, factor: float) -> torch.Tensor:
        found = self._penalty(*self._stacked())
        if factor:
            for pair, grad_A, grad_B in zip(self._pairs, found.grad_A, found.grad_B, strict=True):
                for parameter, gradient in ((pair.A, grad_A), (pair.B, grad_B)):
                    if parameter.requires_grad:
                        _accumulate(parameter, gradient, factor)
        return found.value

    def measure(self) -> Measure:
        stacked = self._stacked()
        found = self._penalty(*stacked)
        return Measure(found.value, found.energy, delta_penalty(*stacked, self._high_n, self._high_m).value)

    def _penalty(self, A_GRN: torch.Tensor, B_GMR: torch.Tensor, s_G: torch.Tensor) -> DeltaPenalty:
        return delta_penalty(A_GRN, B_GMR, s_G, self._h_n, self._h_m, self._weights.floor, self._weights.gain)

    def _stacked(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        A_GRN = torch.stack([pair.A.detach().float() for pair in self._pairs])
        return A_GRN, torch.stack([pair.B.detach().float() for pair in self._pairs]), self._s_G


def _vector_groups(pairs: Iterable[LoraPair], weights: Weighting, view: View, flatten: Flatten) -> Iterator[_Vectors]:
    grouped: dict[tuple[int, int, bool, torch.device], list[torch.nn.Parameter]] = defaultdict(list)
    for pair in pairs:
        for factor, is_b in ((pair.A, False), (pair.B, True)):
            if not factor.requires_grad:
                continue
            if view == "rows":  # along n for A, along m for B
                length, transposed = factor.shape[0 if is_b else 1], is_b
            else:
                length, transposed = factor.numel(), flatten == "column"
            grouped[factor.numel(), length, transposed, factor.device].append(factor)
    for (_, length, transposed, _), factors in grouped.items():
        yield _Vectors(factors, transposed, length, weights)


def _pair_groups(pairs: Iterable[LoraPair], weights: Weighting) -> Iterator[_Pairs]:
    grouped: dict[tuple[torch.Size, torch.Size, torch.device], list[LoraPair]] = defaultdict(list)
    for pair in pairs:
        grouped[pair.A.shape, pair.B.shape, pair.A.device].append(pair)
    for alike in grouped.values():
        yield _Pairs(alike, weights)


def _above(weights: Weighting) -> Weighting:
    """What "high" means when measuring, whatever is penalised: above tau."""
    return Weighting(shape="step", tau=weights.tau)


def _accumulate(parameter: torch.nn.Parameter, gradient: torch.Tensor, factor: float) -> None:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
    # Scaled before it is rounded to the parameter's dtype.
    added = gradient if gradient.dtype == parameter.dtype else gradient.mul(factor).to(parameter.dtype)
    parameter.grad.add_(added, alpha=factor if added is gradient else 1.0)


def _total(values: Iterable[torch.Tensor]) -> torch.Tensor:
    """Sum of scalars that may lie on several devices, on the first one."""
    scalars = list(values)
    return torch.stack([value.to(scalars[0].device) for value in scalars]).sum()
