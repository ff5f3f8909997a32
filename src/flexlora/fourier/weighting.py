"""How strongly each frequency is penalised: g(f) = floor + (gain - floor) h(f), with a shape h(f) in [0, 1].

The paper (paper.txt 3.3) fixes that weights are larger at high frequency and that there is a threshold of 0.5; its
formulas are lost. Decided here: the threshold `tau` is a share of the Nyquist frequency, and h is one of

- `step`: 1 where f > tau, else 0;
- `ramp`: max(0, (f - tau) / (1 - tau)) ** order, 0 everywhere at tau = 1;
- `sigmoid`: 1 / (1 + exp(-(f - tau) / width));
- `uniform`: 1, which makes the penalty plain L2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from flexlora.fourier.transform import frequencies

Shape = Literal["step", "ramp", "sigmoid", "uniform"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighting:
    """A weighting of frequencies.

    Args:
        shape: h, see the module.
        tau: threshold as a share of the Nyquist frequency, in [0, 1].
        order: exponent of `ramp`, greater than 0.
        width: width of `sigmoid`'s transition as a share of the Nyquist frequency, greater than 0.
        floor: g where h is 0, at least 0.
        gain: g where h is 1, at least `floor`.

    Raises:
        ValueError: a value is out of range.
    """

    shape: Shape = "step"
    tau: float = 0.5
    order: float = 1.0
    width: float = 0.05
    floor: float = 0.0
    gain: float = 1.0

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise ValueError(f"weighting {self.shape!r} is not known; there are {', '.join(get_args(Shape))}")
        if not 0 <= self.tau <= 1:
            raise ValueError(f"tau is a share of the Nyquist frequency, between 0 and 1; got {self.tau}")
        for name in ("order", "width"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0; got {getattr(self, name)}")
        if not 0 <= self.floor <= self.gain < math.inf:
            raise ValueError(f"floor must be at least 0 and gain at least floor; got {self.floor} and {self.gain}")
        for name, shape, default in (("order", "ramp", 1.0), ("width", "sigmoid", 0.05)):
            if self.shape != shape and getattr(self, name) != default:
                raise ValueError(f"{name} {getattr(self, name)} is for weighting {shape!r}; this one is {self.shape!r}")

    def h(self, n: int) -> torch.Tensor:
        """The shape h over the RFFT bins of a vector of length n: (K,) float64, in [0, 1]."""
        return self.rise(frequencies(n), self.tau)

    def rise(self, f: torch.Tensor, tau: float) -> torch.Tensor:
        """The shape h at the frequencies `f` (float64), with another threshold, which may lie outside [0, 1]."""
        if self.shape == "step":
            return (f > tau).to(torch.float64)
        if self.shape == "ramp":
            above = (f - tau).clamp(min=0)
            return torch.zeros_like(f) if tau >= 1 else (above / (1 - tau)) ** self.order
        if self.shape == "sigmoid":
            return torch.sigmoid((f - tau) / self.width)
        return torch.ones_like(f)

    def g(self, n: int) -> torch.Tensor:
        """The weight of each RFFT bin of a vector of length n: (K,) float64."""
        return self.floor + (self.gain - self.floor) * self.h(n)
