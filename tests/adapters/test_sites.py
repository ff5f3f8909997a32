"""Merged weights against the formulas, written out from the adapter's file."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM
from updates import save_adapter

from flexlora.adapters.lora import load_adapter
from flexlora.adapters.sites import inputs_of, merge_sites, shared_names, untie
from small_models import make_model


def merged(base: Path, adapter: Path) -> dict[str, Tensor]:
    """Every site's W*, as the model stores it."""
    sites = merge_sites(load_adapter(AutoModelForCausalLM.from_pretrained(base), adapter).eval())
    return {site.name: site.oriented(site.merged()) for site in sites}


def factors(adapter: Path, module: str) -> tuple[Tensor, Tensor]:
    """A and B of a module in float64."""
    saved = load_file(adapter / "adapter_model.safetensors")
    name = f"base_model.model.{module}"
    if f"{name}.lora_A.weight" in saved:
        return saved[f"{name}.lora_A.weight"].double(), saved[f"{name}.lora_B.weight"].double()
    return saved[f"{name}.lora_embedding_A"].double(), saved[f"{name}.lora_embedding_B"].double()


@pytest.mark.parametrize(
    ("family", "module", "config"),
    [
        ("llama", "model.layers.1.mlp.up_proj", {}),
        ("llama", "model.layers.1.mlp.up_proj", {"use_rslora": True}),
        ("gpt2", "transformer.h.0.mlp.c_fc", {"target_modules": ["c_fc"], "fan_in_fan_out": True}),
        ("llama", "model.embed_tokens", {"target_modules": ["embed_tokens"]}),
        ("llama", "model.layers.0.self_attn.q_proj", {"target_modules": ["q_proj"], "alpha_pattern": {"q_proj": 20}}),
    ],
)
def test_the_merged_weight_is_base_plus_scaled_b_a(
    family: str, module: str, config: dict[str, Any], models_dir: Path, tmp_path: Path
) -> None:
    base = make_model(models_dir / family, family)
    adapter = save_adapter(base, tmp_path / "adapter", **config)
    a, b = factors(adapter, module)
    alpha = config.get("alpha_pattern", {}).get("q_proj", 12)
    scaling = alpha / math.sqrt(4) if config.get("use_rslora") else alpha / 4
    weight = load_file(base / "model.safetensors")[f"{module}.weight"].double()
    delta = scaling * (b @ a)
    expected = weight + (delta.T if family == "gpt2" or "embed" in module else delta)
    found = merged(base, adapter)[f"{module}.weight"]
    assert found.dtype is torch.float64
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    assert (found - weight).norm() > 0.01 * weight.norm()


def test_dora_scales_rows_to_their_magnitudes(small_model: Path, tmp_path: Path) -> None:
    adapter = save_adapter(small_model, tmp_path / "adapter", use_dora=True)
    module = "model.layers.0.mlp.up_proj"
    a, b = factors(adapter, module)
    saved = load_file(adapter / "adapter_model.safetensors")
    magnitude = saved[f"base_model.model.{module}.lora_magnitude_vector"].double()  # (m,)
    direction = load_file(small_model / "model.safetensors")[f"{module}.weight"].double() + 3 * b @ a
    expected = magnitude[:, None] * direction / direction.norm(dim=1, keepdim=True)
    assert torch.allclose(merged(small_model, adapter)[f"{module}.weight"], expected, rtol=0, atol=1e-10)


def test_weights_trained_in_full_and_lora_biases_are_merged_too(models_dir: Path, tmp_path: Path) -> None:
    base = make_model(models_dir / "qwen2", "qwen2")
    adapter = save_adapter(
        base, tmp_path / "adapter", target_modules=["q_proj"], lora_bias=True, modules_to_save=["lm_head"]
    )
    saved, weights = load_file(adapter / "adapter_model.safetensors"), load_file(base / "model.safetensors")
    found = merged(base, adapter)
    assert torch.equal(found["lm_head.weight"].float(), saved["base_model.model.lm_head.weight"])
    name = "model.layers.0.self_attn.q_proj"
    bias = weights[f"{name}.bias"] + 3 * saved[f"base_model.model.{name}.lora_B.bias"]
    assert torch.allclose(found[f"{name}.bias"].float(), bias, atol=1e-7)
    assert len(found) == 5  # weight and bias of two layers, and the head


def test_merging_on_a_copy_leaves_the_model_as_it_was(small_model: Path, tmp_path: Path) -> None:
    wrapped = load_adapter(AutoModelForCausalLM.from_pretrained(small_model), save_adapter(small_model, tmp_path / "a"))
    before = {name: value.clone() for name, value in wrapped.state_dict().items()}
    for site in merge_sites(wrapped):
        site.merged()
    assert all(torch.equal(before[name], value) for name, value in wrapped.state_dict().items())


def test_half_bases_are_kept_in_half_and_others_whole(small_model: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(small_model)
    adapter = save_adapter(small_model, tmp_path / "a")
    assert {site.before.dtype for site in merge_sites(load_adapter(model, adapter))} == {torch.float32}
    halved = AutoModelForCausalLM.from_pretrained(small_model).bfloat16().float()
    for site in merge_sites(load_adapter(halved, adapter)):
        assert site.before.dtype is torch.bfloat16
        assert torch.equal(site.before.float(), site.parameter)


def test_untying_gives_the_output_its_own_weights(models_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(make_model(models_dir / "gpt2", "gpt2"))
    assert shared_names(model) == {"transformer.wte.weight", "lm_head.weight"}
    untie(model)
    assert shared_names(model) == set()
    assert torch.equal(model.lm_head.weight, model.transformer.wte.weight)
    assert not model.config.tie_word_embeddings


def test_the_inputs_of_layers_are_seen_while_the_model_runs(small_model: Path, tmp_path: Path) -> None:
    model = load_adapter(AutoModelForCausalLM.from_pretrained(small_model), save_adapter(small_model, tmp_path / "a"))
    sites = merge_sites(model.eval())
    ids = torch.arange(10)[None]
    with torch.no_grad():
        seen = inputs_of(sites, lambda: model(input_ids=ids) and None, positions=4)
        layer = model.base_model.model.model.layers[0]
        kept: list[Tensor] = []
        layer.mlp.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
        model(input_ids=ids)
    assert torch.equal(seen["model.layers.0.mlp.up_proj.weight"], kept[0][0, ::3])
    assert {rows.shape for rows in seen.values()} == {(4, 32)}
    assert not layer.mlp.up_proj.base_layer._forward_pre_hooks


def test_kept_inputs_hold_no_more_memory_than_their_own(models_dir: Path, tmp_path: Path) -> None:
    base = make_model(models_dir / "llama-for-inputs", "llama")
    wrapped = load_adapter(AutoModelForCausalLM.from_pretrained(base), save_adapter(base, tmp_path / "adapter")).eval()
    ids = torch.arange(200)[None] % 50
    with torch.no_grad():
        inputs = inputs_of(merge_sites(wrapped), lambda: wrapped(input_ids=ids), positions=10)
    assert inputs
    for rows in inputs.values():
        assert len(rows) == 10
        assert rows.untyped_storage().nbytes() == rows.numel() * 4
