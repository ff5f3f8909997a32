"""rsLoRA and DoRA as a recipe's adapter, from training to merging: stopped and resumed, continued, measured, merged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from flexlora import folder, pipeline, preflight
from flexlora.adapters import add_lora, load_adapter, lora_pairs
from flexlora.adapters.merge import merge_adapter
from flexlora.errors import UsageError
from flexlora.files import read_appended
from flexlora.recipe import Lora, Recipe, from_dict
from flexlora.training import train_adapter
from stopping import stop_after

KINDS = {"lora": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True}}
BOTH = {"use_rslora": True, "use_dora": True}


@pytest.fixture
def values(benchmark: Path, small_model: Path) -> dict[str, Any]:
    return {
        "model": str(small_model),
        "data_dir": str(benchmark),
        "data": [{"dataset": "mbpp"}],
        "tasks": ["humaneval"],
        "lora": {"dropout": 0.1, "rank": 4},
        "penalty": {"lam": 1e-3, "view": "delta"},
        "optimizer": {"learning_rate": 0.01},
        "train": {"max_steps": 4, "max_length": 96, "logging_steps": 1, "save_steps": 2},
    }


def of_kind(values: dict[str, Any], kind: dict[str, bool], **lora: Any) -> Recipe:
    return from_dict({**values, "lora": {**values["lora"], **kind, **lora}})


def plan_of(recipe: Recipe, path: Path) -> Any:
    return preflight.check(folder.RunFolder(recipe=recipe, path=path), executes=False)


@pytest.mark.parametrize(("kind", "expected"), [*((options, name) for name, options in KINDS.items()), (BOTH, "dora")])
def test_the_kind_and_its_scaling_are_pefts(kind: dict[str, bool], expected: str, small_model: Path) -> None:
    lora = Lora(rank=9, alpha=5, **kind)
    assert lora.kind == expected
    assert lora.scaling == pytest.approx(5 / (3 if lora.use_rslora else 9))
    model = add_lora(AutoModelForCausalLM.from_pretrained(small_model), lora, seed=0)
    assert {pair.scaling for pair in lora_pairs(model)} == {lora.scaling}
    plain = add_lora(AutoModelForCausalLM.from_pretrained(small_model), Lora(rank=9), seed=0)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():  # it begins as the base, from the same random A
        torch.testing.assert_close(model(ids).logits, plain(ids).logits, rtol=0, atol=1e-6)
    for one, other in zip(lora_pairs(model), lora_pairs(plain), strict=True):
        assert torch.equal(one.A, other.A)


def test_the_plan_counts_dora_s_magnitudes_and_names_the_kind(values: dict[str, Any], tmp_path: Path) -> None:
    plans = {name: plan_of(of_kind(values, kind), tmp_path).arms[0] for name, kind in KINDS.items()}
    rows = 2 * (64 + 64 + 32)  # gate, up and down of two layers
    assert plans["dora"].trainable_parameters == plans["lora"].trainable_parameters + rows
    assert plans["rslora"].trainable_parameters == plans["lora"].trainable_parameters
    assert plans["rslora"].adapter == "rsLoRA, rank 4, alpha 16 (B A is scaled by 8)"
    both = plan_of(of_kind(values, BOTH), tmp_path)
    assert any("DoRA with rsLoRA's scaling, rank 4" in line for line in both.lines())


def test_a_training_resumes_exactly_measures_its_update_and_merges(
    values: dict[str, Any], small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = of_kind(values, BOTH)
    adapter = train_adapter(recipe, tmp_path / "undisturbed")
    saved, config = load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_config.json"
    assert {name: json.loads(config.read_bytes())[name] for name in BOTH} == BOTH

    # Stopped and resumed: the same, to the bit.
    stop_after(3, recipe, tmp_path / "stopped", monkeypatch)
    resumed = load_file(train_adapter(recipe, tmp_path / "stopped") / "adapter_model.safetensors")
    assert resumed.keys() == saved.keys()
    assert all(torch.equal(saved[name], resumed[name]) for name in saved)

    # The spectrum is of scaling * B A: its energy is the squared Frobenius norm, whatever the magnitudes are.
    scaling = 16 / math.sqrt(4)
    energy = 0.0
    for name in (name for name in saved if ".lora_A." in name):
        energy += float((scaling * saved[name.replace("_A.", "_B.")].double() @ saved[name].double()).square().sum())
    last = read_appended(tmp_path / "undisturbed/spectrum.jsonl")[-1]
    assert last["energy"]["dW"] == pytest.approx(energy, rel=1e-9)

    # Merged, by PEFT as the variant `merged` is and by `flexlora merge`: the logits of the unmerged one.
    ids = torch.arange(3, 60)[None]
    bases = [AutoModelForCausalLM.from_pretrained(small_model, dtype=torch.float64).eval() for _ in range(3)]
    (tmp_path / "prompts.txt").write_text("def double(x):\n\nwhile True:\n")
    merge_adapter(adapter, tmp_path / "merged", prompts=tmp_path / "prompts.txt")
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float64).eval()
    with torch.no_grad():
        before = bases[0](ids).logits
        apart = load_adapter(bases[1], adapter).eval()(ids).logits
        merged = load_adapter(bases[2], adapter).merge_and_unload()(ids).logits
        rounded = written(ids).logits
    assert (apart - before).abs().max() > 1e-2
    torch.testing.assert_close(merged, apart, rtol=0, atol=1e-6)
    torch.testing.assert_close(rounded, apart, rtol=0, atol=1e-5)


def test_it_is_continued_as_what_it_is(values: dict[str, Any], tmp_path: Path) -> None:
    run = folder.open_run(of_kind(values, BOTH), tmp_path / "first")
    with pipeline.working(run):
        pipeline.train(run, probe=False)
    with pytest.raises(UsageError) as caught:
        plan_of(of_kind(values, {}, init_adapter=str(run.path)), tmp_path / "s")
    for key in BOTH:
        assert f"lora.{key} is True there and False here; set lora.{key} to true" in str(caught.value)
    recipe = of_kind(values, BOTH, init_adapter=str(run.path))
    plan_of(recipe, tmp_path / "s")
    still = from_dict({**recipe.model_dump(mode="json"), "optimizer": {"learning_rate": 1e-12}})
    first, second = (
        load_file(path / "adapter_model.safetensors")
        for path in (run.adapter("main"), train_adapter(still, tmp_path / "second"))
    )
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=1e-9)
