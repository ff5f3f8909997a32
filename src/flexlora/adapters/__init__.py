"""LoRA adapters: target presets, adding one to a model, iterating the A/B pairs of a model or of a saved adapter."""

from flexlora.adapters.lora import add_lora, load_adapter, trainable_parameters
from flexlora.adapters.pairs import LoraPair, lora_pairs
from flexlora.adapters.saved import SavedPair, saved_pairs
from flexlora.adapters.targets import Targets, resolve_targets

__all__ = [
    "LoraPair",
    "SavedPair",
    "Targets",
    "add_lora",
    "load_adapter",
    "lora_pairs",
    "resolve_targets",
    "saved_pairs",
    "trainable_parameters",
]
