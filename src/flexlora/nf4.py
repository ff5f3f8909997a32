"""The base in 4 bits: NF4 with double quantisation, by bitsandbytes (QLoRA, arXiv 2305.14314).

Linear layers but the output layer are packed, in blocks of 64 values with a common scale; embeddings, norms and the
adapter keep their dtype, and products are computed in that of the base.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

from flexlora.errors import UsageError

BLOCK = 64
"""Weights with a common scale."""
BITS_PER_WEIGHT = 4 + 8 / BLOCK + 32 / (BLOCK * 256)
"""A scale of 8 bits for every block, and for 256 of these scales one of 32 bits."""


def require_bitsandbytes() -> None:
    """Look for it, before anything is loaded.

    Raises:
        UsageError: it is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise UsageError(
            "quantization: nf4 needs bitsandbytes, which is not installed; `pip install 'flexlora[quantization]'`, or "
            "leave quantization out."
        )


def require_whole_blocks(skeleton: Any, device: torch.device, name: str) -> None:
    """Refuse what bitsandbytes unpacks to wrong weights on a processor: rows that are not of whole blocks.

    Args:
        skeleton: the model, unpacked; its shapes suffice.
        device: where it is to be packed.
        name: of the model, for the message.

    Raises:
        UsageError: names such a layer.
    """
    wrong = {layer: inputs for layer, inputs, _ in _packed(skeleton) if inputs % BLOCK}
    if wrong and device.type == "cpu":
        layer, inputs = next(iter(wrong.items()))
        raise UsageError(
            f"quantization: nf4: on a processor bitsandbytes gives wrong weights to layers whose inputs {BLOCK} does "
            f"not divide, and {name!r} has {len(wrong)}, e.g. {layer} with {inputs}; use a GPU or another model, "
            "or leave quantization out."
        )


def nf4_config(dtype: torch.dtype) -> BitsAndBytesConfig:
    """How transformers is to load a model; products are computed in `dtype`."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def same_when_evaluated(model: torch.nn.Module) -> None:
    """Let packed layers compute in evaluation as in training.

    On a processor with AVX512-BF16, bitsandbytes would repack a layer for good at its first evaluation: products are
    then bfloat16 ones, and no gradient passes the layer any more, so that training after a validation would go wrong
    silently.
    """
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]  # a module has any attribute


def weight_bytes(skeleton: Any, dtype: torch.dtype) -> int:
    """Memory that a model's weights take in NF4, from its shapes alone."""
    packed = sum(weights for _, _, weights in _packed(skeleton))
    others: int = sum(parameter.numel() for parameter in skeleton.parameters()) - packed
    return int(packed * BITS_PER_WEIGHT / 8) + others * dtype.itemsize


def _packed(skeleton: Any) -> Iterator[tuple[str, int, int]]:
    """The layers that transformers will pack: name, inputs, weights."""
    kept = get_keys_to_not_convert(skeleton)
    for name, module in skeleton.named_modules():
        if (type(module) is torch.nn.Linear or isinstance(module, Conv1D)) and should_convert_module(name, kept):
            yield name, module.weight.shape[0 if isinstance(module, Conv1D) else 1], module.weight.numel()
