"""Adding a LoRA adapter to a model, and loading a saved one, by PEFT (paper.txt 3.1, equation 1)."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from flexlora.adapters.targets import resolve_targets
from flexlora.recipe import Lora


def add_lora(model: torch.nn.Module, lora: Lora, seed: int | None = None, revision: str | None = None) -> PeftModel:
    """Wrap `model` with a fresh adapter that changes nothing yet, and freeze everything else.

    A is random and B zero; there is no bias, and DoRA's magnitudes are the lengths of the base's rows.

    Args:
        model: a causal language model; on the meta device this costs no memory.
        lora: its kind, rank, alpha, dropout and targets.
        seed: seeds A's random values; None leaves torch's generator as it is.
        revision: of the model on the hub, which the adapter names with it when it is saved.

    Raises:
        UsageError: a target matches no module.
    """
    targets = resolve_targets(model, lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        target_modules=list(targets.modules),
        bias="none",
        task_type="CAUSAL_LM",
    )
    if seed is not None:
        torch.manual_seed(seed)
    return get_peft_model(model, config, revision=revision)


def load_adapter(model: torch.nn.Module, path: Path, name: str = "default") -> PeftModel:
    """Put a saved adapter on a base model, for inference."""
    return PeftModel.from_pretrained(model, path, adapter_name=name)


def trainable_parameters(model: torch.nn.Module) -> int:
    """Number of values that training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
