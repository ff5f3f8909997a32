"""An adapter at another strength: the base plus a part of the trained update, W0 + a scaling B A.

The straight line from the base's weights to the fine-tuned ones: WiSE-FT (Wortsman et al., "Robust fine-tuning of
zero-shot models", arXiv 2109.01903), which needs no training of its own. A method that merely trains less is one of its
points, so that a method has to do better than this line.
"""

from __future__ import annotations

from typing import Any

from peft import PeftModel
from peft.tuners.lora import LoraLayer

from flexlora.errors import UsageError


def set_strength(model: PeftModel, name: str, strength: float) -> None:
    """Let an adapter's update count so many times, from now on; 1 is the adapter as it was trained.

    Args:
        model: a base with adapters on top, none of them merged.
        name: of the adapter.
        strength: what multiplies its update.

    Raises:
        UsageError: its update is not proportional to LoRA's scaling, and the strength is not 1.
    """
    if strength != 1 and (other := _not_proportional(model.peft_config[name])):
        raise UsageError(
            f"adapter@{strength:g}: {other}, which does not grow in proportion to the strength; leave this variant "
            "out, or train LoRA or rsLoRA without it."
        )
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.set_scale(name, strength)  # of the trained scaling, whatever was set before


def _not_proportional(config: Any) -> str | None:
    """What of an adapter is trained and is not multiplied by LoRA's scaling, in words."""
    if config.use_dora:
        return "DoRA (lora.use_dora) trains magnitudes"
    if config.bias != "none":
        return f"it holds biases of the base (bias: {config.bias})"
    if whole := list(config.modules_to_save or ()):
        return f"it holds whole modules ({', '.join(whole)})"
    if getattr(config, "trainable_token_indices", None):
        return "it holds new embeddings (trainable_token_indices)"
    return None
