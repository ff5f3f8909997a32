"""LoRA adapters: target presets, adding one to a model, iterating the A/B pairs of a model or of a saved adapter."""

from flexlora.adapters.lora import add_lora, load_adapter, trainable_parameters
from flexlora.adapters.pairs import LoraPair, lora_pairs
from flexlora.adapters.saved import SavedPair, find_adapters, saved_pairs, saved_spectra
from flexlora.adapters.targets import Targets, resolve_targets

__all__ = [
    "LoraPair",
    "SavedPair",
    "Targets",
    "add_lora",
    "find_adapters",
    "load_adapter",
    "lora_pairs",
    "resolve_targets",
    "saved_pairs",
    "saved_spectra",
    "trainable_parameters",
]
