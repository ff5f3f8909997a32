"""The power spectrum of LoRA factors and of their update, by frequency band (paper.txt 5.3 and its Figure 5).

What a band holds is energy: by Parseval the bands of a vector sum to ||w||^2, whatever its length. Bands are
(edge_i, edge_{i+1}] of the normalised frequency f in [0, 1] (1 is Nyquist), the first with 0: an edge at tau then
separates what the penalty's `step` separates, 1[f > tau].

Three views, the penalty's own: `factors` (each factor flattened), `rows` (each row of A, each column of B) and `delta`
(the 2-D spectrum of dW = s B A). `delta` never forms dW: with P_i the projection on a band along an axis, the Gram
matrices GB_i = B^T P_i B and GA_j = A P_j A^T, both (r, r), give the energy of the cell (output band i, input band j)
as s^2 tr(GB_i GA_j). Its one frequency is max(f_u, f_v), which is what the penalty's weight 1 - l(f_u) l(f_v) looks at.

White noise is the reference: i.i.d. values spread their energy evenly over all directions, so that a band's share is
its share of the directions. For `delta` that is the product of both axes' shares, in expectation also what B A has
where A and B are i.i.d.

Notation: K = N // 2 + 1 bins of the RFFT, I bands, V vectors; A is (r, n), B is (m, r).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, get_args

import torch

from flexlora.fourier.factors import Flatten, View
from flexlora.fourier.transform import frequencies, multiplicity

Cells = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectrumOptions:
    """What is transformed, and how its frequencies are told apart.

    Args:
        view: `factors`, `rows` or `delta`, see the module.
        tau: threshold of "high" as a share of the Nyquist frequency, in [0, 1].
        flatten: for `factors`, whether vec(B) runs fastest over the rank (`row`, the paper's) or the outputs.
        bands: number of equal bands, from 1 to 1024.

    Raises:
        ValueError: a value is out of range or means nothing here.
    """

    view: View = "factors"
    tau: float = 0.5
    flatten: Flatten = "row"
    bands: int = 16

    def __post_init__(self) -> None:
        for name, value, known in (("view", self.view, get_args(View)), ("flatten", self.flatten, get_args(Flatten))):
            if value not in known:
                raise ValueError(f"{name} {value!r} is not known; there is {', '.join(known)}")
        if self.flatten != "row" and self.view != "factors":
            raise ValueError(f"flatten {self.flatten!r} is for view 'factors'; view {self.view!r} flattens nothing")
        if not 0 <= self.tau <= 1:
            raise ValueError(f"tau is a share of the Nyquist frequency, between 0 and 1; got {self.tau}")
        if not 1 <= self.bands <= 1024:
            raise ValueError(f"bands must be between 1 and 1024; got {self.bands}")

    @property
    def edges(self) -> tuple[float, ...]:
        """Where the bands begin and end, from 0 to 1: one more than there are bands."""
        return tuple(i / self.bands for i in range(self.bands + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """Energy by frequency of one tensor, or of several: spectra of equal options add up with `+`."""

    bands: tuple[float, ...]
    """Energy of each band, (I,)."""
    high: float
    """Energy above tau, counted by bins and not by bands."""
    moment: float
    """sum of f times energy over all bins."""
    directions: tuple[float, ...]
    """Number of directions in each band, (I,): what the energy of white noise of variance 1 would be."""
    directions_high: float
    """Number of directions above tau."""
    directions_moment: float
    """sum of f over all directions."""
    cells: Cells = ()
    """For `delta`: energy of each cell, (output band, input band); else empty."""
    cell_directions: Cells = ()
    """For `delta`: number of directions in each cell."""

    def __add__(self, other: Spectrum) -> Spectrum:
        return Spectrum(**{f.name: _added(getattr(self, f.name), getattr(other, f.name)) for f in fields(Spectrum)})

    @property
    def energy(self) -> float:
        """||w||^2, or ||dW||^2 for `delta`."""
        return sum(self.bands)

    @property
    def noise(self) -> tuple[float, ...]:
        """The share of its energy that white noise has in each band, (I,)."""
        return tuple(count / sum(self.directions) for count in self.directions)

    @property
    def relative(self) -> tuple[float | None, ...]:
        """Each band's share over that of white noise, (I,): 1 is white; None where no bin falls, or all is zero."""
        return tuple(_ratio(band, share * self.energy) for band, share in zip(self.bands, self.noise, strict=True))

    @property
    def relative_cells(self) -> tuple[tuple[float | None, ...], ...]:
        """`relative` of each cell of `delta`, (output band, input band)."""
        white = self.energy / sum(self.directions)
        return tuple(
            tuple(_ratio(cell, count * white) for cell, count in zip(row, counts, strict=True))
            for row, counts in zip(self.cells, self.cell_directions, strict=True)
        )

    @property
    def high_share(self) -> float:
        """The share of the energy above tau; 0 where all is zero."""
        return _ratio(self.high, self.energy) or 0.0

    @property
    def noise_high_share(self) -> float:
        """What `high_share` is for white noise."""
        return self.directions_high / sum(self.directions)

    @property
    def centroid(self) -> float | None:
        """The mean frequency, weighted by energy, in [0, 1]; None where all is zero."""
        return _ratio(self.moment, self.energy)

    @property
    def noise_centroid(self) -> float:
        """What `centroid` is for white noise."""
        return self.directions_moment / sum(self.directions)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "energy": self.energy,
            "high_share": self.high_share,
            "noise_high_share": self.noise_high_share,
            "centroid": self.centroid,
            "noise_centroid": self.noise_centroid,
            "bands": list(self.bands),
            "noise": list(self.noise),
            **({"cells": [list(row) for row in self.cells]} if self.cells else {}),
        }


def vectors_spectrum(w_VN: torch.Tensor, options: SpectrumOptions) -> Spectrum:
    """The spectrum of vectors of equal length, summed over them.

    Args:
        w_VN: (V, N), float64.
        options: threshold and bands.
    """
    count, n = w_VN.shape
    f_K, c_K = frequencies(n), multiplicity(n)
    power_K = c_K * torch.fft.rfft(w_VN, norm="ortho").abs().square().sum(dim=0)
    high_K = f_K > options.tau

    def by_band(x_K: torch.Tensor) -> tuple[float, ...]:
        return tuple(x_K[bins].sum().item() for bins in _bins(f_K, options.edges))

    directions_K = count * c_K
    return Spectrum(
        bands=by_band(power_K),
        high=power_K[high_K].sum().item(),
        moment=(f_K * power_K).sum().item(),
        directions=by_band(directions_K),
        directions_high=directions_K[high_K].sum().item(),
        directions_moment=(f_K * directions_K).sum().item(),
    )


def delta_spectrum(A: torch.Tensor, B: torch.Tensor, scaling: float, options: SpectrumOptions) -> Spectrum:
    """The 2-D spectrum of dW = s B A without forming it, at O(r (m + n) log + r^2 (m + n)) instead of O(m n log).

    Args:
        A: (r, n), float64.
        B: (m, r), float64.
        scaling: s.
        options: threshold and bands.
    """
    n, m = A.shape[1], B.shape[0]
    f_n, f_m = frequencies(n), frequencies(m)
    a_RK = multiplicity(n).sqrt() * torch.fft.rfft(scaling * A, norm="ortho")
    b_RK = multiplicity(m).sqrt() * torch.fft.rfft(B.mT, norm="ortho")
    # White noise counts directions: one "row" of ones has in each bin the energy c_k.
    ones_n, ones_m = (multiplicity(size).sqrt().to(a_RK.dtype)[None] for size in (n, m))

    def cells(a: torch.Tensor, b: torch.Tensor, edges: tuple[float, ...]) -> torch.Tensor:
        grams_A, grams_B = (_grams(x, _bins(f, edges)) for x, f in ((a, f_n), (b, f_m)))
        # tr(X Y) of symmetric X and Y is the sum of their products by element.
        return torch.einsum("irs,jrs->ij", grams_B, grams_A)

    def above_tau(a: torch.Tensor, b: torch.Tensor) -> float:
        (_, below_above), (above_below, above_above) = cells(a, b, (0.0, options.tau, 1.0)).tolist()
        return float(below_above + above_below + above_above)

    energy_II = cells(a_RK, b_RK, options.edges).clamp(min=0)
    directions_II = cells(ones_n, ones_m, options.edges)
    return Spectrum(
        bands=_by_larger(energy_II),
        high=above_tau(a_RK, b_RK),
        moment=_moment_of_larger(a_RK, f_n, b_RK, f_m),
        directions=_by_larger(directions_II),
        directions_high=above_tau(ones_n, ones_m),
        directions_moment=_moment_of_larger(ones_n, f_n, ones_m, f_m),
        cells=_as_cells(energy_II),
        cell_directions=_as_cells(directions_II),
    )


def _bins(f_K: torch.Tensor, edges: tuple[float, ...]) -> list[slice]:
    """The bins of each band; frequencies rise, so that each is a slice."""
    ends = torch.searchsorted(f_K, torch.tensor(edges, dtype=torch.float64), right=True).tolist()
    ends[0] = 0
    return [slice(low, high) for low, high in pairwise(ends)]


def _grams(x_RK: torch.Tensor, bands: list[slice]) -> torch.Tensor:
    """Gram matrix of each band, (I, r, r), from spectra that carry the root of their multiplicity."""
    parts_RKP = torch.view_as_real(x_RK)
    return torch.stack([torch.einsum("rkp,skp->rs", parts_RKP[:, bins], parts_RKP[:, bins]) for bins in bands])


def _by_larger(cells_II: torch.Tensor) -> tuple[float, ...]:
    """Sum over the cells whose larger band is i, for each i."""
    i = torch.arange(len(cells_II))
    larger = torch.maximum(i[:, None], i)
    return tuple(torch.zeros(len(i), dtype=cells_II.dtype).index_add_(0, larger.flatten(), cells_II.flatten()).tolist())


def _moment_of_larger(a_RK: torch.Tensor, f_n: torch.Tensor, b_RK: torch.Tensor, f_m: torch.Tensor) -> float:
    """sum over all bins (u, v) of max(f_u, f_v) times their energy, exactly.

    The energy with both frequencies at most t is the product of two cumulative Gram matrices; the moment sums t times
    its steps. Chunks of frequencies bound the memory at high rank.
    """
    f_T = torch.unique(torch.cat([f_n, f_m]))
    rank = len(a_RK)
    padded = []
    for x_RK, f_K in ((a_RK, f_n), (b_RK, f_m)):
        x_RT = torch.zeros(rank, len(f_T), dtype=x_RK.dtype)
        x_RT[:, torch.searchsorted(f_T, f_K)] = x_RK
        padded.append(x_RT)
    low = [torch.zeros(rank, rank, 1, dtype=torch.float64) for _ in padded]
    moment = below = 0.0
    chunk = max(1, (1 << 21) // rank**2)
    for start in range(0, len(f_T), chunk):
        parts = [(x_RT[:, start : start + chunk].real, x_RT[:, start : start + chunk].imag) for x_RT in padded]
        grams = [re[:, None] * re + im[:, None] * im for re, im in parts]
        cumulative = [gram_RRT.cumsum(dim=-1) + before for gram_RRT, before in zip(grams, low, strict=True)]
        energy_T = (cumulative[0] * cumulative[1]).sum(dim=(0, 1))
        steps_T = torch.diff(energy_T, prepend=energy_T.new_tensor([below]))
        moment += (f_T[start : start + chunk] * steps_T).sum().item()
        low = [gram_RRT[..., -1:] for gram_RRT in cumulative]
        below = energy_T[-1].item()
    return moment


def _as_cells(cells_II: torch.Tensor) -> Cells:
    return tuple(map(tuple, cells_II.tolist()))


def _added(a: Any, b: Any) -> Any:
    return tuple(map(_added, a, b)) if isinstance(a, tuple) else a + b


def _ratio(value: float, of: float) -> float | None:
    return value / of if of else None
