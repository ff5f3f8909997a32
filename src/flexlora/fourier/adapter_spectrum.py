"""The spectra of a whole adapter: by module and factor, and summed over kinds of modules or over all.

Takes anything with a module's name, its factors and their scaling: the pairs of a model in training
(`flexlora.adapters.lora_pairs`) or of a saved adapter (`flexlora.adapters.saved_pairs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch

from flexlora.fourier.parameters import whole
from flexlora.fourier.spectrum import Spectrum, SpectrumOptions, delta_spectrum, vectors_spectrum


class Pair(Protocol):
    """The factors of one adapted module, as `flexlora.adapters` finds them in a model or in a file."""

    @property
    def module(self) -> str:
        """The module's name."""

    @property
    def A(self) -> torch.Tensor:
        """(r, n)"""

    @property
    def B(self) -> torch.Tensor:
        """(m, r)"""

    @property
    def scaling(self) -> float:
        """s of the update s B A."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSpectrum:
    """The spectra of an adapter: by module, and for each by factor (`A` and `B`, or `dW` for `delta`)."""

    options: SpectrumOptions
    modules: Mapping[str, Mapping[str, Spectrum]]

    def total(self) -> dict[str, Spectrum]:
        """Factor -> the sum over all modules."""
        return _summed(self.modules.values())

    def kinds(self) -> dict[str, dict[str, Spectrum]]:
        """Kind of module (the last part of the name, such as `down_proj`) -> factor -> the sum over its modules."""
        kinds = dict.fromkeys(name.rsplit(".", 1)[-1] for name in self.modules)
        return {
            kind: _summed(parts for name, parts in self.modules.items() if name.rsplit(".", 1)[-1] == kind)
            for kind in kinds
        }

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        options = {field.name: getattr(self.options, field.name) for field in fields(self.options)}
        by_module = {"kinds": self.kinds(), "modules": self.modules}
        return {
            **options,
            "edges": list(self.options.edges),
            "total": _plain(self.total()),
            **{key: {name: _plain(parts) for name, parts in value.items()} for key, value in by_module.items()},
        }


def adapter_spectrum(pairs: Iterable[Pair], options: SpectrumOptions) -> AdapterSpectrum:
    """The spectra of an adapter's pairs, computed on the CPU in float64 whatever their device and dtype.

    Raises:
        ValueError: there is no pair, or a module has two of them (several adapters are active).
    """
    modules: dict[str, dict[str, Spectrum]] = {}
    for pair in pairs:
        if pair.module in modules:
            raise ValueError(f"{pair.module}: several adapters are active; analyse one at a time")
        modules[pair.module] = pair_spectrum(pair.A, pair.B, pair.scaling, options)
    if not modules:
        raise ValueError("there are no LoRA factors to analyse")
    return AdapterSpectrum(options=options, modules=modules)


def pair_spectrum(A: torch.Tensor, B: torch.Tensor, scaling: float, options: SpectrumOptions) -> dict[str, Spectrum]:
    """Factor -> spectrum of one pair: `A` and `B`, or `dW` for `delta`.

    Args:
        A: (r, n), any dtype and device.
        B: (m, r).
        scaling: s of the update s B A; only `delta` looks at it.
        options: view, threshold and bands.
    """
    A, B = (whole(factor).to("cpu", torch.float64) for factor in (A, B))
    if options.view == "delta":
        return {"dW": delta_spectrum(A, B, scaling, options)}
    if options.view == "rows":
        vectors = {"A": A, "B": B.mT}
    elif options.flatten == "row":
        vectors = {"A": A.reshape(1, -1), "B": B.reshape(1, -1)}
    else:
        vectors = {"A": A.mT.reshape(1, -1), "B": B.mT.reshape(1, -1)}
    return {factor: vectors_spectrum(w_VN, options) for factor, w_VN in vectors.items()}


def _summed(parts: Iterable[Mapping[str, Spectrum]]) -> dict[str, Spectrum]:
    total: dict[str, Spectrum] = {}
    for by_factor in parts:
        for factor, spectrum in by_factor.items():
            total[factor] = total[factor] + spectrum if factor in total else spectrum
    return total


def _plain(parts: Mapping[str, Spectrum]) -> dict[str, Any]:
    return {factor: spectrum.as_dict() for factor, spectrum in parts.items()}
