"""The Fourier penalty: pure functions on tensors, and `FourierPenalty`, which applies them to a model's adapter."""

from flexlora.fourier.groups import Measure
from flexlora.fourier.penalty import FourierPenalty
from flexlora.fourier.schedule import Schedule
from flexlora.fourier.transform import frequencies, multiplicity
from flexlora.fourier.views import DeltaPenalty, delta_penalty, vectors_penalty
from flexlora.fourier.weighting import Weighting

__all__ = [
    "DeltaPenalty",
    "FourierPenalty",
    "Measure",
    "Schedule",
    "Weighting",
    "delta_penalty",
    "frequencies",
    "multiplicity",
    "vectors_penalty",
]
