"""The A/B pairs of a model's active LoRA adapters.

Found by walking PEFT's LoRA layers, not by parameter names, so that frozen, inactive and other kinds of adapter
parameters are never taken for factors: magnitudes of DoRA, biases, single tokens, modules that are trained whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.trainable_tokens import TrainableTokensLayer
from peft.tuners.tuners_utils import BaseTunerLayer

WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.")
"""What `torch.compile` and activation checkpointing put into module names."""

PLAIN_UPDATES = ("Dora", "ALora", "Velora")
"""Variants of PEFT whose factors are those of plain LoRA: DoRA adds a magnitude, activated LoRA acts on some tokens,
VeLoRA compresses activations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraPair:
    """The factors of one adapted module: its update is `scaling * B @ A`."""

    module: str
    """Name in the model, without what wrappers add to it."""
    adapter: str
    A: torch.nn.Parameter
    """(r, n)"""
    B: torch.nn.Parameter
    """(m, r)"""
    scaling: float
    experts: int = 1
    """Of a mixture's stacked experts: A and B hold the factors of so many updates side by side."""
    layer: LoraLayer = field(repr=False)

    def is_current(self) -> bool:
        """Whether these are still the factors that the layer computes with."""
        if self.adapter not in self.layer.active_adapters:
            return False
        a, b = _factors(self.layer, self.adapter)
        return a is self.A and b is self.B


def lora_pairs(model: torch.nn.Module) -> Iterator[LoraPair]:
    """Yield the pair of every adapted module, for each active adapter, in the order of the model's modules.

    Plain LoRA and rsLoRA on linear layers (`Conv1D` and quantised ones too) and on embeddings, DoRA (without its
    magnitudes), several active adapters, stacked experts. The model may be wrapped by DDP or `torch.compile`, and its
    parameters sharded by FSDP2.

    Raises:
        ValueError: a layer's factors are not those of `scaling * B @ A` with matrices (convolutions, AdaLoRA, other
            variants), or FSDP1 or DeepSpeed has replaced them.
    """
    for full_name, layer in model.named_modules():
        if type(layer).__name__ in ("FullyShardedDataParallel", "DeepSpeedEngine"):
            raise ValueError(
                f"the model is wrapped in {type(layer).__name__}, which leaves no whole LoRA factors; shard it with "
                "FSDP2 (torch.distributed.fsdp.fully_shard, fsdp_version 2) or use DDP"
            )
        name = _unwrapped(full_name)
        if isinstance(layer, BaseTunerLayer) and not isinstance(layer, LoraLayer | TrainableTokensLayer):
            raise ValueError(f"{name}: {type(layer).__name__} is another kind of adapter; the penalty is for LoRA")
        if not isinstance(layer, LoraLayer):
            continue
        for adapter in layer.active_adapters:
            if adapter not in layer.lora_A and adapter not in layer.lora_embedding_A:
                continue
            _refuse_other_kinds(name, layer, adapter)
            a, b = _factors(layer, adapter)
            if a.ndim != 2 or b.ndim != 2:
                raise ValueError(
                    f"{name}: the LoRA factors have shapes {tuple(a.shape)} and {tuple(b.shape)}; only matrices are "
                    "supported, so leave convolutions out of the target modules"
                )
            if hasattr(a, "ds_id"):
                raise ValueError(f"{name}: DeepSpeed has taken its LoRA factors apart; use FSDP2 or DDP instead")
            yield LoraPair(
                module=name,
                adapter=adapter,
                A=a,
                B=b,
                scaling=layer.scaling[adapter],
                experts=getattr(layer, "num_experts", 1),
                layer=layer,
            )


def choose(pairs: Sequence[LoraPair], modules: Sequence[str]) -> list[LoraPair]:
    """The pairs of the named modules; a name matches the end of a module's full name, at a dot.

    Raises:
        ValueError: a name matches none; lists what there is.
    """
    for wanted in modules:
        if not any(_matches(pair.module, wanted) for pair in pairs):
            there = sorted({pair.module.rpartition(".")[2] for pair in pairs})
            raise ValueError(f"modules: {wanted!r} matches no LoRA layer; there is {', '.join(there)}")
    return [pair for pair in pairs if any(_matches(pair.module, wanted) for wanted in modules)]


def _matches(module: str, wanted: str) -> bool:
    return module == wanted or module.endswith(f".{wanted}")


def _factors(layer: LoraLayer, adapter: str) -> tuple[torch.nn.Parameter, torch.nn.Parameter]:
    """A and B: weights of linear layers, or, of embeddings, parameters themselves."""
    if adapter in layer.lora_A:
        return layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    return layer.lora_embedding_A[adapter], layer.lora_embedding_B[adapter]


def _refuse_other_kinds(name: str, layer: LoraLayer, adapter: str) -> None:
    if hasattr(layer, "lora_E"):
        raise ValueError(f"{name}: AdaLoRA's update is not scaling * B A; use LoRA (peft.LoraConfig)")
    variant = type(getattr(layer, "lora_variant", {}).get(adapter)).__name__
    if variant != "NoneType" and not variant.startswith(PLAIN_UPDATES):
        raise ValueError(
            f"{name}: the update of PEFT's {variant} is not scaling * B A with these factors; use LoRA, rsLoRA or DoRA"
        )


def _unwrapped(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name.removeprefix("module.")  # DDP
