"""Saved adapters are read without their base model, and give the pairs that the loaded model has."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from flexlora.adapters import find_adapters, load_adapter, lora_pairs, saved_pairs
from flexlora.errors import UsageError
from flexlora.files import write_json, write_whole
from small_models import make_model
from standin_hub import StandInHub


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


def make_run(path: Path, arms: tuple[str, ...]) -> Path:
    listed = ", ".join(f"{arm}: {{}}" for arm in arms)
    write_whole(path / "recipe.yaml", f"model: m\ndata: [{{dataset: mbpp}}]\ntasks: [mbpp]\narms: {{{listed}}}\n")
    write_json(path / "environment.json", {})
    return path


def test_a_run_names_its_trained_arms_in_the_recipes_order(small_model: Path, tmp_path: Path) -> None:
    adapters = [save(small_model, tmp_path / name) for name in ("one", "two")]
    run = make_run(tmp_path / "run", ("plain", "fourier", "later"))
    with pytest.raises(UsageError, match=r"no arm of this run is trained yet. `flexlora train"):
        find_adapters([str(run)])
    for arm, adapter in zip(("fourier", "plain"), adapters, strict=True):
        (run / arm / "train").mkdir(parents=True)
        adapter.rename(run / arm / "train" / "adapter")
    found = find_adapters([str(run)])
    assert list(found) == ["run/plain", "run/fourier"]
    assert found["run/fourier"] == run / "fourier" / "train" / "adapter"
    # An arm's folder by itself has the same label; naming it twice is refused.
    assert list(find_adapters([str(run / "plain" / "train" / "adapter")])) == ["run/plain"]
    with pytest.raises(UsageError, match="named twice"):
        find_adapters([str(run), str(run / "plain" / "train" / "adapter")])


def test_two_runs_of_one_name_keep_their_adapters_apart(small_model: Path, tmp_path: Path) -> None:
    for place in ("a", "b"):
        save(small_model, tmp_path / place / "run" / "main" / "train" / "adapter")
    found = find_adapters(str(tmp_path / place / "run" / "main" / "train" / "adapter") for place in ("a", "b"))
    assert len(found) == 2


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "nothing", "runs/typo"])
def test_names_that_lead_nowhere_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("looked for on the hub")

    monkeypatch.setattr("flexlora.adapters.saved.hf_hub_download", never)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match="there is no such folder"):
        find_adapters([name])


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither an adapter \(it has no adapter_config.json\) nor a run"):
        find_adapters([str(tmp_path)])


CODE = """
import sys
from flexlora.adapters import find_adapters, saved_pairs
from flexlora.errors import UsageError
for name in ("me/adapter", "me/model"):
    try:
        (folder,) = find_adapters([name]).values()
        print(len(saved_pairs(folder)))
    except UsageError as error:
        print(error)
"""


def test_an_adapter_comes_from_the_hub(tmp_path: Path) -> None:
    model = make_model(tmp_path / "hub" / "models" / "me" / "model", "llama")
    save(model, tmp_path / "hub" / "models" / "me" / "adapter")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    with StandInHub(tmp_path / "hub") as hub:
        environment = kept | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            [sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=False, timeout=300
        )
    count, refused = done.stdout.splitlines()
    assert count == "4"
    assert "'me/model'" in refused
    assert "needs adapter_config.json and adapter_model.safetensors" in refused
    assert not any("model.safetensors" in one and "adapter_model" not in one for one in hub.requests)
