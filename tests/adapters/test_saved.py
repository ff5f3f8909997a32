"""Saved adapters are read without their base model, and give the pairs that the loaded model has."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from flexlora.adapters import load_adapter, lora_pairs, saved_pairs
from flexlora.errors import UsageError
from flexlora.files import write_json, write_whole


def save(model: Path, folder: Path, **config: Any) -> Path:
    """Save an adapter whose B is not zero."""
    torch.manual_seed(0)
    options = {"r": 4, "lora_alpha": 8, "target_modules": ["up_proj", "down_proj"], "task_type": "CAUSAL_LM"} | config
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(**options))
    for pair in lora_pairs(adapted):
        torch.nn.init.normal_(pair.B)
    adapted.save_pretrained(folder)
    return folder


CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "patterns": {
        "rank_pattern": {"down_proj": 2, "layers.1.mlp.up_proj": 3},
        # The first key that matches counts; a key matches the end of a name only.
        "alpha_pattern": {r"layers\.0\..*": 5, "up_proj": 7, "mlp": 100},
    },
    "patterns with rslora": {"use_rslora": True, "rank_pattern": {"^model.layers.1.mlp.up_proj": 9}},
    "dora, a saved module and an embedding": {
        "use_dora": True,
        "target_modules": ["q_proj", "embed_tokens"],
        "modules_to_save": ["lm_head"],
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_pairs_and_scaling_are_those_of_the_loaded_model(name: str, small_model: Path, tmp_path: Path) -> None:
    folder = save(small_model, tmp_path, **CONFIGS[name])
    loaded = list(lora_pairs(load_adapter(AutoModelForCausalLM.from_pretrained(small_model), folder)))
    saved = {pair.module: pair for pair in saved_pairs(folder)}
    assert saved.keys() == {pair.module for pair in loaded}
    for pair in loaded:
        assert torch.equal(saved[pair.module].A, pair.A)
        assert torch.equal(saved[pair.module].B, pair.B)
        assert saved[pair.module].scaling == pair.scaling
    if "patterns" in name:
        assert len({pair.scaling for pair in loaded}) > 1, "nothing was told apart"


def test_layers_come_in_the_order_of_their_numbers(small_model: Path, tmp_path: Path) -> None:
    folder = save(small_model, tmp_path)
    tensors = load_file(folder / "adapter_model.safetensors")
    more = {key.replace("layers.1", "layers.10"): value.clone() for key, value in tensors.items()}
    save_file(tensors | more, folder / "adapter_model.safetensors")
    layers = [pair.module.split(".layers.")[1].split(".")[0] for pair in saved_pairs(folder)]
    assert layers == ["0", "0", "1", "1", "10", "10"]


def changed_config(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    write_json(path, json.loads(path.read_text()) | values)


def changed_tensors(folder: Path, change: Any) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def cut_short(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def first(tensors: dict[str, torch.Tensor], factor: str) -> str:
    return next(key for key in tensors if factor in key)


DAMAGE: dict[str, tuple[Any, str]] = {
    "another kind": (lambda f: changed_config(f, peft_type="IA3"), "peft_type is 'IA3'"),
    "no JSON": (lambda f: write_whole(f / "adapter_config.json", "{"), "damaged, not a JSON object"),
    "a list": (lambda f: write_whole(f / "adapter_config.json", "[]"), "damaged, not a JSON object"),
    "experts": (lambda f: changed_config(f, target_parameters=["experts.up"]), "target_parameters: experts.up"),
    "another rank": (lambda f: changed_config(f, r=5), "do not have the rank 5"),
    "cut short": (cut_short, "damaged"),
    "no weights": (lambda f: (f / "adapter_model.safetensors").unlink(), "there is no such file. Was the save"),
    "older format": (
        lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"),
        "PEFT's older format",
    ),
    "half a pair": (lambda f: changed_tensors(f, lambda t: t.pop(first(t, "lora_B"))), "lora_B is missing"),
    "no factors": (lambda f: save_file({"x": torch.ones(1)}, f / "adapter_model.safetensors"), "no LoRA factors"),
    "a convolution": (
        lambda f: changed_tensors(f, lambda t: t.update({first(t, "lora_A"): torch.ones(4, 3, 2, 2)})),
        "are no matrices",
    ),
    "diverged": (lambda f: changed_tensors(f, lambda t: t[first(t, "lora_A")].fill_(torch.nan)), "not finite"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_wrong_with_an_adapter_is_said(name: str, small_model: Path, tmp_path: Path) -> None:
    folder = save(small_model, tmp_path)
    damage, part = DAMAGE[name]
    damage(folder)
    with pytest.raises(UsageError, match=part) as caught:
        saved_pairs(folder)
    assert str(folder) in str(caught.value)
