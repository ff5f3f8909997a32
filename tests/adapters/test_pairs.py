"""Which factors are found in which kind of adapter, and which kinds are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, LoHaConfig, LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from flexlora.adapters import lora_pairs
from flexlora.fourier import FourierPenalty


def llama(hidden: int = 32) -> torch.nn.Module:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=1,
            num_attention_heads=2,
            tie_word_embeddings=False,
        )
    )


def update_of(layer: Any, adapter: str = "default") -> torch.Tensor:
    """PEFT's own merged update, with outputs first."""
    delta = layer.get_delta_weight(adapter)
    return delta.T if getattr(layer, "fan_in_fan_out", False) else delta


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj", "down_proj"]},
        {"target_modules": ["down_proj"], "use_rslora": True, "lora_alpha": 5},
        {"target_modules": ["q_proj", "down_proj"], "rank_pattern": {"q_proj": 3}, "alpha_pattern": {"q_proj": 7}},
        {"target_modules": ["down_proj"], "use_dora": True},
        {"target_modules": ["embed_tokens"]},
        {"target_modules": ["down_proj"], "lora_bias": True},
    ],
)
def test_a_pair_with_its_scaling_is_the_update_that_peft_merges(options: dict[str, Any]) -> None:
    model = get_peft_model(llama(), LoraConfig(r=4, **options))
    pairs = list(lora_pairs(model))
    assert {pair.module.rpartition(".")[2] for pair in pairs} == set(options["target_modules"])
    for pair in pairs:
        torch.nn.init.normal_(pair.B)
        layer = model.get_submodule(pair.module)
        update = pair.scaling * pair.B @ pair.A
        torch.testing.assert_close(update.T if "embed" in pair.module else update, update_of(layer))


def test_conv1d_pairs_are_those_of_the_transposed_linear_layer() -> None:
    base = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=32, n_layer=1, n_head=2, n_positions=32))
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["c_fc"], fan_in_fan_out=True))
    (pair,) = lora_pairs(model)
    torch.nn.init.normal_(pair.B)
    assert (pair.A.shape, pair.B.shape) == ((4, 32), (128, 4))
    torch.testing.assert_close(pair.scaling * pair.B @ pair.A, update_of(model.get_submodule(pair.module)))


def test_only_the_factors_get_the_penalty_s_gradient() -> None:
    """Not DoRA's magnitudes, not biases, not modules that are trained whole."""
    config = LoraConfig(r=4, target_modules=["q_proj"], use_dora=True, bias="lora_only", modules_to_save=["lm_head"])
    model = get_peft_model(llama(), config)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    FourierPenalty(model, lam=1.0).add_gradient()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {name for name in trained if ".lora_A." in name or ".lora_B." in name}
    assert {kind for name in trained - reached for kind in ("magnitude", "lm_head") if kind in name} == {
        "magnitude",
        "lm_head",
    }


def test_single_trained_tokens_are_left_alone() -> None:
    config = LoraConfig(r=4, target_modules=["q_proj"], trainable_token_indices=[1, 2])
    model = get_peft_model(llama(), config)
    FourierPenalty(model, lam=1.0).add_gradient()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {name for name, _ in model.named_parameters() if ".lora_A." in name or ".lora_B." in name}


def test_of_several_adapters_the_active_and_trained_ones_are_penalised() -> None:
    model = get_peft_model(llama(), LoraConfig(r=4, target_modules=["q_proj"]))
    model.add_adapter("second", LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    model.add_adapter("idle", LoraConfig(r=2, target_modules=["q_proj"]))
    model.base_model.set_adapter(["default", "second"])
    found = [(pair.module.rpartition(".")[2], pair.adapter) for pair in lora_pairs(model)]
    assert found == [("q_proj", "default"), ("q_proj", "second"), ("v_proj", "second")]
    FourierPenalty(model, lam=1.0, view="rows").add_gradient()
    reached = {name.split(".")[-2] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {"default", "second"}


def test_factors_on_four_bit_weights_are_penalised_as_on_any(tmp_path: Any) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    llama(64).save_pretrained(tmp_path)
    quantised = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    )
    config = LoraConfig(r=4, target_modules=["down_proj"], init_lora_weights=False)
    model, plain = get_peft_model(quantised, config), get_peft_model(llama(64), config)
    (pair,), (expected,) = lora_pairs(model), lora_pairs(plain)
    expected.A.data, expected.B.data = pair.A.data.clone(), pair.B.data.clone()
    assert type(model.get_submodule(pair.module)).__name__ == "Linear4bit"
    for one in (model, plain):
        FourierPenalty(one, lam=1.0, view="delta").add_gradient()
    torch.testing.assert_close(pair.B.grad, expected.B.grad)
    torch.testing.assert_close(pair.A.grad, expected.A.grad)


@pytest.mark.parametrize("backend", ["aot_eager", "eager"])
def test_a_compiled_model_gives_the_same_names_and_gradients(backend: str) -> None:
    model = get_peft_model(llama(), LoraConfig(r=4, target_modules=["q_proj"]))
    names = [pair.module for pair in lora_pairs(model)]
    compiled = torch.compile(model, backend=backend)
    assert [pair.module for pair in lora_pairs(compiled)] == names
    penalty = FourierPenalty(compiled, lam=1.0, control="permuted")
    ids = torch.arange(10)[None]
    compiled(input_ids=ids, labels=ids).loss.backward()
    (pair,) = lora_pairs(model)
    task = pair.A.grad.clone()
    penalty.add_gradient()
    total = pair.A.grad.clone()
    model.zero_grad()
    FourierPenalty(model, lam=1.0, control="permuted").add_gradient()
    torch.testing.assert_close(total, task + pair.A.grad)


class FullyShardedDataParallel(torch.nn.Module):
    """Has the name of FSDP1's wrapper."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module


def _conv() -> torch.nn.Module:
    base = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    return get_peft_model(base, LoraConfig(r=2, target_modules=["0"]))


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (_conv, "only matrices are supported"),
        (lambda: get_peft_model(llama(), AdaLoraConfig(target_modules=["q_proj"], total_step=10)), "AdaLoRA"),
        (lambda: get_peft_model(llama(), LoHaConfig(target_modules=["q_proj"])), "another kind of adapter"),
        (lambda: FullyShardedDataParallel(get_peft_model(llama(), LoraConfig(target_modules=["q_proj"]))), "FSDP2"),
        (llama, "the model has no LoRA factors"),
    ],
)
def test_what_is_not_supported_is_refused_with_the_reason(make: Any, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        FourierPenalty(make(), lam=0.1)


def test_stacked_experts_are_refused_for_delta_only() -> None:
    class Experts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(3, 8, 12))

    model = get_peft_model(torch.nn.Sequential(Experts()), LoraConfig(r=2, target_parameters=["0.weight"]))
    FourierPenalty(model, lam=1.0).add_gradient()
    assert all(pair.A.grad is not None and pair.experts == 3 for pair in lora_pairs(model))
    with pytest.raises(ValueError, match="several experts"):
        FourierPenalty(model, lam=1.0, view="delta")
