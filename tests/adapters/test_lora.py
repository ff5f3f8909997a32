import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from flexlora.adapters import add_lora, lora_pairs, resolve_targets, trainable_parameters
from flexlora.errors import UsageError
from flexlora.recipe import Lora
from small_models import FAMILIES, make_model

CODE_LLAMA_7B = LlamaConfig(
    vocab_size=32016, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32
)


@pytest.mark.parametrize(("targets", "expected"), [("paper", 11_927_552), ("mlp", 11_599_872)])
def test_code_llama_7b_has_the_papers_number_of_trainable_parameters(targets: str, expected: int) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CODE_LLAMA_7B)
    assert trainable_parameters(add_lora(model, Lora(targets=targets))) == expected


@pytest.mark.parametrize(
    ("family", "preset", "expected"),
    [
        ("llama", "mlp", {"gate_proj": 2, "up_proj": 2, "down_proj": 2}),
        ("qwen2", "attention", {"q_proj": 2, "k_proj": 2, "v_proj": 2, "o_proj": 2}),
        ("starcoder2", "mlp", {"mlp.c_fc": 2, "mlp.c_proj": 2}),
        ("starcoder2", "paper", {"q_proj": 2, "v_proj": 2, "mlp.c_proj": 2, "mlp.c_fc": 2}),
        ("gpt2", "mlp", {"mlp.c_fc": 2, "mlp.c_proj": 2}),
        ("gpt2", "all", {"attn.c_attn": 2, "attn.c_proj": 2, "mlp.c_fc": 2, "mlp.c_proj": 2}),
    ],
)
def test_presets_name_each_familys_own_modules(
    family: str, preset: str, expected: dict[str, int], models_dir: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(make_model(models_dir / family, family))
    assert resolve_targets(model, preset).matches == expected
    adapted = {pair.module.rsplit(".layers.")[-1] for pair in lora_pairs(add_lora(model, Lora(targets=preset)))}
    assert len(adapted) == sum(expected.values())


def test_a_target_that_matches_nothing_is_named_even_beside_ones_that_match(small_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(small_model)
    with pytest.raises(UsageError) as caught:
        add_lora(model, Lora(targets=("q_proj", "c_fc")))
    assert "'c_fc' matches no module of LlamaForCausalLM" in str(caught.value)
    assert "mlp.up_proj" in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_have_the_shapes_of_the_update(family: str, models_dir: Path) -> None:
    model = add_lora(AutoModelForCausalLM.from_pretrained(make_model(models_dir / family, family)), Lora(rank=3))
    pairs = list(lora_pairs(model))
    assert pairs
    assert sum(pair.A.numel() + pair.B.numel() for pair in pairs) == trainable_parameters(model)
    for pair in pairs:
        assert pair.A.shape[0] == pair.B.shape[1] == 3
        assert pair.scaling == pytest.approx(16 / 3)
        assert pair.B.abs().sum() == 0
        assert pair.A.abs().sum() > 0


def test_a_saved_adapter_names_the_revision_of_its_base(small_model: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(small_model)
    add_lora(model, Lora(), revision="abc").save_pretrained(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_bytes())["revision"] == "abc"


def test_the_seed_decides_the_initial_values(small_model: Path) -> None:
    def first_a(seed: int) -> torch.Tensor:
        return next(lora_pairs(add_lora(AutoModelForCausalLM.from_pretrained(small_model), Lora(), seed=seed))).A

    assert torch.equal(first_a(1), first_a(1))
    assert not torch.equal(first_a(1), first_a(2))
