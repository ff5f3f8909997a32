"""The Fourier penalty: pure functions on tensors, and `FourierPenalty`, which applies them to a model's adapter."""

from flexlora.fourier.penalty import FourierPenalty, Measure
from flexlora.fourier.transform import frequencies, multiplicity
from flexlora.fourier.views import DeltaPenalty, delta_penalty, vectors_penalty
from flexlora.fourier.weighting import Weighting

__all__ = [
    "DeltaPenalty",
    "FourierPenalty",
    "Measure",
    "Weighting",
    "delta_penalty",
    "frequencies",
    "multiplicity",
    "vectors_penalty",
]
