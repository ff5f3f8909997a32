"""The Fourier penalty and the power spectrum: pure functions on tensors, and what applies them to an adapter."""

from flexlora.fourier.adapter_spectrum import AdapterSpectrum, adapter_spectrum
from flexlora.fourier.groups import Measure
from flexlora.fourier.penalty import FourierPenalty
from flexlora.fourier.schedule import Schedule
from flexlora.fourier.spectrum import Spectrum, SpectrumOptions, delta_spectrum, vectors_spectrum
from flexlora.fourier.transform import frequencies, multiplicity
from flexlora.fourier.views import DeltaPenalty, delta_penalty, vectors_penalty
from flexlora.fourier.weighting import Weighting

__all__ = [
    "AdapterSpectrum",
    "DeltaPenalty",
    "FourierPenalty",
    "Measure",
    "Schedule",
    "Spectrum",
    "SpectrumOptions",
    "Weighting",
    "adapter_spectrum",
    "delta_penalty",
    "delta_spectrum",
    "frequencies",
    "multiplicity",
    "vectors_penalty",
    "vectors_spectrum",
]
