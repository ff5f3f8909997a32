"""A base in 4 bits (QLoRA): its weights, gradients through them, a whole run, an exact resume, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import flexlora
from flexlora import folder, models, nf4, pipeline, preflight
from flexlora.adapters import add_lora, lora_pairs
from flexlora.adapters.initial import check_initial, find_initial
from flexlora.adapters.merge import merge_adapter
from flexlora.errors import UsageError
from flexlora.recipe import EMBEDDED, Lora, ModelSource, Recipe, from_dict
from flexlora.training import train_adapter
from small_models import make_model
from stopping import stop_after

bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
IDS = torch.arange(3, 60)[None]


@pytest.fixture(scope="module")
def wide_model(models_dir: Path) -> Path:
    """A small Llama whose layers' inputs are of whole blocks."""
    return make_model(models_dir / "wide", "llama", width=64)


@pytest.fixture
def values(benchmark: Path, wide_model: Path) -> dict[str, Any]:
    return {
        "model": str(wide_model),
        "quantization": "nf4",
        "data_dir": str(benchmark),
        "data": [{"dataset": "mbpp"}],
        "validation": [{"dataset": "mbpp", "split": "validation"}],
        "tasks": ["humaneval"],
        "sampling": {"max_new_tokens": 8},
        "lora": {"dropout": 0.1},
        "penalty": {"lam": 0.1, "coupling": "decoupled"},
        "optimizer": {"learning_rate": 0.01},
        "train": {"max_steps": 4, "max_length": 96, "logging_steps": 1, "save_steps": 2, "eval_steps": 2},
    }


def packed(source: Path | str, precision: Any = "float32") -> Any:
    return models.load_model(ModelSource(name=str(source), precision=precision, quantization="nf4"))


def unpacked(model: Any, folder: Path | str) -> Any:
    """A plain model with the weights that the packed ones stand for."""
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=model.dtype)
    for name, layer in model.named_modules():
        if isinstance(layer, bitsandbytes.nn.Linear4bit):
            weight = bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            own = plain.get_submodule(name)
            own.weight.data = (weight.T if type(own).__name__ == "Conv1D" else weight).to(model.dtype).contiguous()
    return plain


def loss_and_gradients(model: Any) -> list[torch.Tensor]:
    torch.manual_seed(0)  # GPT-2 has dropout of its own
    model.train()
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    gradients = [factor.grad.clone() for pair in lora_pairs(model) for factor in (pair.A, pair.B)]
    model.zero_grad()
    return [loss.detach(), *gradients]


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("kind", [{}, {"use_dora": True}], ids=["lora", "dora"])
def test_it_computes_with_its_weights_before_and_after_an_evaluation(
    family: str, kind: dict[str, bool], models_dir: Path
) -> None:
    base = make_model(models_dir / f"{family}-wide", family, width=64)
    model = packed(base)
    plain = unpacked(model, base)
    stored = AutoModelForCausalLM.from_pretrained(base).state_dict()
    off = [
        float((value - stored[name]).norm() / stored[name].norm().clamp(min=1e-9))
        for name, value in plain.state_dict().items()
    ]
    packed_layers = 8 if family == "gpt2" else 14
    assert sum(0.08 < share < 0.11 for share in off) == packed_layers  # NF4's own error on normal weights
    assert sum(share == 0 for share in off) == len(off) - packed_layers
    found = []
    for one in (model, plain):
        adapted = add_lora(one, Lora(dropout=0, targets="all", **kind), seed=0)
        for pair in lora_pairs(adapted):
            torch.nn.init.normal_(pair.B, std=0.05, generator=torch.Generator().manual_seed(1))
        before = loss_and_gradients(adapted)
        with torch.no_grad():
            logits = adapted.eval()(IDS).logits
        after = loss_and_gradients(adapted)
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        found.append([logits, *after])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_bitsandbytes_own_evaluation_would_lose_the_gradient() -> None:
    """Why `same_when_evaluated` is there: with AVX512-BF16 a layer that was evaluated passes no gradient."""
    layer = next(one for one in packed(EMBEDDED).modules() if isinstance(one, bitsandbytes.nn.Linear4bit))

    def gradient_passes() -> bool:
        inputs = torch.randn(1, 5, layer.in_features)
        with torch.no_grad():
            layer.eval()(inputs)
        inputs.requires_grad_()
        layer.train()(inputs).sum().backward()
        return inputs.grad is not None

    assert gradient_passes()
    layer.support_avx512bf16_for_cpu = bool(bitsandbytes.functional.has_avx512bf16())
    assert gradient_passes() != layer.support_avx512bf16_for_cpu


def test_rows_of_parts_of_blocks_which_some_processors_unpack_wrongly_are_refused(
    values: dict[str, Any], small_model: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    weight = torch.randn(32, 64)
    codes, state = bitsandbytes.functional.quantize_4bit(weight, quant_type="nf4")
    off = bitsandbytes.functional.dequantize_4bit(codes, state) - weight
    assert off.norm() / weight.norm() < 0.12
    with pytest.raises(
        UsageError, match=r"inputs 64 does not divide, and .*llama' has 12, e\.g\. .*q_proj with 32; use"
    ):
        preflight.check(folder.RunFolder(recipe=from_dict({**values, "model": str(small_model)}), path=tmp_path), False)


def test_the_plan_has_the_memory_of_packed_weights(values: dict[str, Any], tmp_path: Path) -> None:
    for name in (EMBEDDED, values["model"]):
        model = packed(name)
        scales = 0
        for layer in model.modules():
            if isinstance(layer, bitsandbytes.nn.Linear4bit):
                state = layer.weight.quant_state
                scales += state.absmax.numel() + 4 * state.state2.absmax.numel()
        expected = sum(one.numel() * one.itemsize for one in model.parameters()) + scales
        skeleton = models.skeleton(ModelSource(name=name))
        assert nf4.weight_bytes(skeleton, torch.float32) == pytest.approx(expected, rel=0.01)
    plan = preflight.check(folder.RunFolder(recipe=from_dict(values), path=tmp_path), executes=False)
    assert plan.weights_gb * 1e9 < 0.7 * models.check_weights(ModelSource(name=values["model"]))
    assert "nf4 computed in float32 on" in plan.lines()[0]


@pytest.mark.slow
def test_a_run_trains_and_evaluates_the_packed_base_and_merges_into_its_own_weights(
    values: dict[str, Any], wide_model: Path, tmp_path: Path
) -> None:
    run = flexlora.run(from_dict(values), tmp_path / "run")
    summary = json.loads((run.path / "summary.json").read_text())
    assert {score["variant"] for score in summary["scores"]} == {"base", "adapter"}
    assert summary["provenance"]["models"][0]["quantization"] == "nf4"
    assert "bitsandbytes" in summary["provenance"]["environment"]["packages"]
    saved = load_file(run.adapter("main") / "adapter_model.safetensors")
    assert {value.dtype for value in saved.values()} == {torch.float32}
    (tmp_path / "prompts.txt").write_text("def double(x):\n\nwhile True:\n")
    audit = merge_adapter(run.adapter("main"), tmp_path / "merged", prompts=tmp_path / "prompts.txt")
    assert audit.row("float32").update.relative_error < 1e-3
    assert any("on this base in nf4" in note for note in audit.notes)
    base, merged = (load_file(path / "model.safetensors") for path in (wide_model, tmp_path / "merged"))
    assert torch.equal(base["model.layers.0.self_attn.q_proj.weight"], merged["model.layers.0.self_attn.q_proj.weight"])

    # Continued on the base as it was; refused on the unpacked one.
    initial = find_initial(str(run.path))
    source = ModelSource(name=values["model"], quantization="nf4")
    adapted = add_lora(models.skeleton(source), Lora(dropout=0.1))
    check_initial(initial, adapted, source)
    with pytest.raises(UsageError, match="quantization was nf4 there and is null here"):
        check_initial(initial, adapted, source.model_copy(update={"quantization": None}))


@pytest.mark.parametrize("changes", [{"precision": "bfloat16", "lora": {"use_dora": True}}, {}], ids=["dora", "sophia"])
def test_a_stopped_training_ends_the_same(
    changes: dict[str, Any], values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values |= changes
    if not changes:
        values["optimizer"] = {"name": "sophia", "learning_rate": 0.003, "hessian_interval": 2}
        values["train"]["gradient_checkpointing"] = True
    recipe = from_dict(values)
    expected = load_file(train_adapter(recipe, tmp_path / "undisturbed") / "adapter_model.safetensors")

    stop_after(3, recipe, tmp_path / "stopped", monkeypatch)
    found = load_file(train_adapter(recipe, tmp_path / "stopped") / "adapter_model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert any(value.any() for name, value in found.items() if ".lora_B." in name)


def test_what_does_not_go_with_it_is_refused_before_anything_is_loaded(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="merged does not go with quantization: nf4, as the update would be rounded"):
        from_dict({**values, "variants": ["base", "merged"]})
    with pytest.raises(UsageError, match="quantization"):
        from_dict({**values, "quantization": "int8"})
    recipe: Recipe = from_dict({**values, "baselines": ["tiny"]})
    assert recipe.source("tiny").quantization is None
    monkeypatch.setattr(nf4, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'flexlora\[quantization\]'"):
        pipeline.start(recipe, tmp_path / "run", executes=False)
