"""Updates of a chosen size on made-up weights, and adapters on small models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM


def update(spread: float, m: int = 256, n: int = 512, rank: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Base weights of spread 0.05 that are bfloat16 values, A, and an update of a spread: (m, n), (r, n), (m, n)."""
    generator = torch.Generator().manual_seed(0)
    base = (0.05 * torch.randn(m, n, generator=generator)).bfloat16().double()
    a, b = (torch.randn(shape, generator=generator).double() for shape in ((rank, n), (m, rank)))
    delta = b @ a
    return base, a, delta * spread / delta.std()


def save_adapter(base: Path, folder: Path, spread: float = 0.02, **config: Any) -> Path:
    """Save an adapter with random factors, none of them zero, on a model in a folder."""
    wrapped = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "lora_alpha": 12, "target_modules": ["up_proj"], **config}),
    )
    torch.manual_seed(1)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            parameter.data += spread * torch.randn_like(parameter)
    wrapped.save_pretrained(folder)
    return folder
