"""An adapter at a strength is the base plus that part of its update, whatever was asked of the model before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from flexlora.adapters import add_lora, load_adapter, lora_pairs
from flexlora.adapters.strength import set_strength
from flexlora.errors import UsageError
from flexlora.folder import RunFolder
from flexlora.recipe import Lora, from_dict, strength_of
from flexlora.variants import with_models

IDS = torch.arange(3, 40)[None]


def base(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def trained(small_model: Path, folder: Path, seed: int, **lora: Any) -> Path:
    """An adapter of random factors, as if it had been trained."""
    model = add_lora(base(small_model), Lora(rank=4, alpha=12, **lora), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for pair in lora_pairs(model):
            pair.B.copy_(torch.randn(pair.B.shape, generator=generator) / 30)
    model.save_pretrained(folder)
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


def with_update_times(small_model: Path, adapter: Path, strength: float) -> torch.Tensor:
    """What the base says once strength * scaling * B A has been added to its weights, by hand."""
    model = base(small_model)
    weights = dict(model.named_parameters())
    wrapped = load_adapter(base(small_model), adapter)
    with torch.no_grad():
        for pair in lora_pairs(wrapped):
            name = pair.module.removeprefix("base_model.model.") + ".weight"
            weights[name] += strength * pair.scaling * pair.B @ pair.A
    return logits(model)


@pytest.mark.parametrize("kind", [{}, {"use_rslora": True}])
def test_every_strength_is_the_weights_with_that_part_of_the_update(
    kind: dict[str, bool], small_model: Path, tmp_path: Path
) -> None:
    adapter = trained(small_model, tmp_path / "a", 0, **kind)
    model = load_adapter(base(small_model), adapter).eval()
    full = logits(model)
    plain = logits(base(small_model))
    assert (full - plain).abs().max() > 0.1
    for strength in (0.5, 0.25, 2.0, 1e-6):
        set_strength(model, "default", strength)
        torch.testing.assert_close(logits(model), with_update_times(small_model, adapter, strength), rtol=0, atol=1e-4)
    torch.testing.assert_close(logits(model), plain, rtol=0, atol=1e-4)  # the limit of no strength
    set_strength(model, "default", 1)
    assert torch.equal(logits(model), full)


def test_variants_of_several_arms_on_one_model_do_not_change_each_other(small_model: Path, tmp_path: Path) -> None:
    recipe = from_dict(
        {
            "model": str(small_model),
            "data": [{"dataset": "mbpp"}],
            "tasks": ["humaneval"],
            "arms": {"none": {}, "other": {"seed": 1}},
            "variants": ["base", "adapter@0.5", "adapter", "adapter@2", "adapter@0.25"],
        }
    )
    run = RunFolder(recipe=recipe, path=tmp_path)
    for seed, arm in enumerate(recipe.arm_names()):
        trained(small_model, run.adapter(arm), seed)
    found: dict[str, torch.Tensor] = {}

    def ask(model: Any, tokenizer: Any, item: Any, wanted: list[int]) -> None:
        found[item.who()] = logits(model)

    items = run.evaluations()
    assert "none/eval/adapter@0.5/humaneval" in [item.path for item in items]
    # Arms in turns, and the full strength after others.
    order = [items[0], *(items[i] for i in (1, 5, 2, 6, 3, 7, 4, 8))]
    assert [item.who() for item in order[1:5]] == [
        "none/adapter@0.5",
        "other/adapter@0.5",
        "none/adapter",
        "other/adapter",
    ]
    with_models(run, [(item, [0]) for item in order], ask)
    for item in items:
        if item.arm is None:
            expected = logits(base(small_model))
        else:
            expected = with_update_times(small_model, run.adapter(item.arm), strength_of(item.variant))
        torch.testing.assert_close(found[item.who()], expected, rtol=0, atol=1e-4, msg=item.who())
    for arm in recipe.arm_names():
        assert torch.equal(found[f"{arm}/adapter"], logits(load_adapter(base(small_model), run.adapter(arm)).eval()))


def test_a_bias_of_lora_is_part_of_the_update(small_model: Path, tmp_path: Path) -> None:
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["up_proj"], lora_bias=True)
    torch.manual_seed(0)
    model = get_peft_model(base(small_model), config, adapter_name="default")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    layer = next(m for n, m in model.named_modules() if n.endswith("up_proj"))
    inputs = torch.randn(3, layer.in_features)
    with torch.no_grad():
        plain, full = layer.base_layer(inputs), layer(inputs)
        set_strength(model, "default", 0.5)
        torch.testing.assert_close(layer(inputs), plain + (full - plain) / 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"use_dora": True}, "lora.use_dora"),
        ({"bias": "all"}, "bias: all"),
        ({"modules_to_save": ["lm_head"]}, "lm_head"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
    ],
)
def test_what_does_not_grow_with_the_strength_is_refused(options: Any, named: str, small_model: Path) -> None:
    model = get_peft_model(base(small_model), LoraConfig(r=2, target_modules=["up_proj"], **options))
    set_strength(model, "default", 1)
    with pytest.raises(UsageError, match=r"adapter@0\.5: .*" + named):
        set_strength(model, "default", 0.5)
