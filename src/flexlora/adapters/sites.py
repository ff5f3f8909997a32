"""The weights that merging changes, each with its merged value, which PEFT itself computes, in float64.

Every kind of LoRA layer is merged by PEFT's own `merge`, on a copy of that one layer, so that rsLoRA, DoRA, GPT-2's
transposed layers and embeddings come out as PEFT defines them. float64 leaves a single rounding: the one to the dtype
that is saved.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn

PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One weight of the base that merging changes."""

    name: str
    """Its name in the merged model."""
    parameter: nn.Parameter
    """The base's own, float32: what the model computes with while its adapter is disabled."""
    before: Tensor
    """W, as small as holds it exactly."""
    layer: nn.Module
    key: str
    transposed: bool
    """Stored (n, m), as by GPT-2's Conv1D."""
    reads: Tensor | None
    """A (r, n), the input directions of the update; None for embeddings, biases and weights trained in full."""

    def merged(self) -> Tensor:
        """W* (m, n) in float64; `parameter` must hold W."""
        if isinstance(self.layer, ModulesToSaveWrapper):
            saved = self.layer.modules_to_save[self.layer.active_adapter]
            return self.oriented(saved.get_parameter(self.key).detach().double())
        layer: Any = copy.deepcopy(self.layer).double()
        layer.merge(adapter_names=list(layer.active_adapters))
        return self.oriented(layer.get_base_layer().get_parameter(self.key).detach())

    def oriented(self, stored: Tensor) -> Tensor:
        """A weight as it is stored, as (m, n); and back."""
        return stored.T if self.transposed else stored


def merge_sites(model: nn.Module) -> list[Site]:
    """The sites of a PEFT model with one adapter, in float32 or on the meta device, in the order of its modules.

    Raises:
        ValueError: a layer is no matrix of inputs and outputs (convolutions, fused attention).
    """
    return [site for name, layer in model.named_modules() for site in _of_layer(name.removeprefix(PREFIX), layer)]


def _of_layer(name: str, layer: nn.Module) -> Iterator[Site]:
    if isinstance(layer, ModulesToSaveWrapper):
        for key, parameter in layer.original_module.named_parameters():
            yield _site(f"{name}.{key}", parameter, layer, key)
    elif isinstance(layer, LoraLayer):
        (adapter,) = layer.active_adapters
        base = layer.get_base_layer()
        linear = adapter in layer.lora_A
        if base.weight.ndim != 2 or not (linear or adapter in layer.lora_embedding_A):
            raise ValueError(f"{name}: a {type(base).__name__} with weights of shape {tuple(base.weight.shape)}")
        reads = layer.lora_A[adapter].weight.detach() if linear else None
        yield _site(
            f"{name}.weight", base.weight, layer, "weight", bool(getattr(layer, "fan_in_fan_out", False)), reads
        )
        if layer.lora_bias.get(adapter):
            yield _site(f"{name}.bias", base.bias, layer, "bias")


def _site(
    name: str,
    parameter: nn.Parameter,
    layer: nn.Module,
    key: str,
    transposed: bool = False,
    reads: Tensor | None = None,
) -> Site:
    return Site(
        name=name,
        parameter=parameter,
        before=_small(parameter.detach()),
        layer=layer,
        key=key,
        transposed=transposed,
        reads=reads,
    )


def _small(weight: Tensor) -> Tensor:
    if weight.is_meta:
        return weight
    for dtype in (torch.bfloat16, torch.float16):
        if torch.equal(short := weight.to(dtype), weight):
            return short
    return weight.clone()


def inputs_of(sites: Sequence[Site], run: Callable[[], None], positions: int) -> dict[str, Tensor]:
    """What the adapted linear layers read while `run` runs the model: (t, n) float32 of each site with `reads`.

    Args:
        positions: how many positions of every forward pass are kept, evenly spaced.
    """
    found: dict[str, list[Tensor]] = {site.name: [] for site in sites if site.reads is not None}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            rows = given[0].detach().reshape(-1, given[0].shape[-1])
            # A copy: a view would keep all of the layer's input.
            found[name].append(rows[:: -(-rows.shape[0] // positions)].to(torch.float32, copy=True))

        return hook

    layers: dict[str, Any] = {site.name: site.layer for site in sites if site.name in found}
    hooks = [layer.get_base_layer().register_forward_pre_hook(keep(name)) for name, layer in layers.items()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return {name: torch.cat(rows) for name, rows in found.items() if rows}


def untie(model: Any) -> None:
    """Give a model whose output layer shares the embedding's weights its own copy of them.

    An adapter on one of the two changes that one only, and the merged model must do the same.
    """
    output = model.get_output_embeddings()
    output.weight = nn.Parameter(output.weight.detach().clone(), requires_grad=False)
    for config in {id(c): c for c in (model.config, model.config.get_text_config())}.values():
        config.tie_word_embeddings = False


def shared_names(model: Any) -> set[str]:
    """Names of the weights that are one with the input embedding, where there is more than one."""
    embedding = model.get_input_embeddings().weight
    names = {name for name, value in model.named_parameters(remove_duplicate=False) if value is embedding}
    return names if len(names) > 1 else set()
