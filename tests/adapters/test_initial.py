"""Sequential fine-tuning: a second training goes on from the first one's adapter, or says why it cannot."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from flexlora import folder, models, pipeline, preflight
from flexlora.adapters import initial, lora_pairs
from flexlora.adapters.initial import find_initial
from flexlora.errors import UsageError
from flexlora.files import read_appended
from flexlora.plan import Plan
from flexlora.provenance import provenance
from flexlora.recipe import EMBEDDED, ModelSource, Recipe, from_dict
from flexlora.training import stage, train_adapter
from flexlora.training.stage import make_trainer, tokens_of, training_arguments
from small_benchmark import write_benchmark
from small_models import make_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark(tmp_path_factory.mktemp("initial") / "data")


@pytest.fixture
def values(data: Path, small_model: Path) -> dict[str, Any]:
    return values_of(data, small_model)


def values_of(data: Path, small_model: Path) -> dict[str, Any]:
    return {
        "model": str(small_model),
        "data_dir": str(data),
        "data": [{"dataset": "mbpp"}],
        "tasks": ["humaneval"],
        "optimizer": {"learning_rate": 0.01},
        "train": {"max_steps": 1, "max_length": 96, "spectrum_steps": None},
    }


@pytest.fixture(scope="module")
def trained(data: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = folder.open_run(from_dict(values_of(data, small_model)), tmp_path_factory.mktemp("initial") / "first")
    with pipeline.working(run):
        pipeline.train(run)
    return run.path


@pytest.fixture
def first(trained: Path, tmp_path: Path) -> Path:
    """A run whose adapter is trained, of each test's own."""
    shutil.copytree(trained, tmp_path / "first")
    return tmp_path / "first"


def second(values: dict[str, Any], name: Path | str, **changes: Any) -> Recipe:
    return from_dict({**values, "lora": {"init_adapter": str(name), **changes.pop("lora", {})}, **changes})


def check(recipe: Recipe, path: Path) -> Plan:
    return preflight.check(folder.RunFolder(recipe=recipe, path=path), executes=False)


def trainer_of(recipe: Recipe, path: Path) -> Any:
    tokenizer = models.load_tokenizer(recipe.source(recipe.model))
    train = tokens_of(recipe, recipe.data, tokenizer)
    return make_trainer(recipe, tokenizer, args=training_arguments(recipe, path), train=train, validation=[])


def test_a_training_starts_from_the_values_and_departs_from_them(
    values: dict[str, Any], first: Path, tmp_path: Path
) -> None:
    for name in (first, first / "main", first / "main/train/adapter"):
        found = find_initial(str(name))
        assert found.adapter.path == first / "main/train/adapter"
        assert (found.run, found.arm) == (first, "main")
    penalty = {"lam": 0.1, "reference": "init"}
    trainer = trainer_of(second(values, first, penalty=penalty), tmp_path / "c")
    saved = load_file(first / "main/train/adapter/adapter_model.safetensors")
    pairs = list(lora_pairs(trainer.model))
    assert len(saved) == 2 * len(pairs)
    for pair in pairs:
        assert pair.B.any()
        for side, value in (("A", pair.A), ("B", pair.B)):
            (key,) = (key for key in saved if f"{pair.module}.lora_{side}." in f"base_model.model.{key}")
            assert torch.equal(saved[key], value)
    assert trainer.fourier.measure().energy == 0  # of the departure
    trainer.train()
    assert trainer.fourier.measure().energy > 0


def test_the_plan_and_the_provenance_say_where_it_started(values: dict[str, Any], first: Path, tmp_path: Path) -> None:
    recipe = second(values, first)
    assert any(f"starts from {first}/main/train/adapter" in line for line in check(recipe, tmp_path / "s").lines())
    run = folder.open_run(recipe, tmp_path / "second")
    with pipeline.working(run):
        pipeline.train(run)
    origin = provenance(run)["arms"]["main"]["init_adapter"]
    assert origin == find_initial(str(first)).adapter.identity()
    assert len(origin["sha256"]["adapter_model.safetensors"]) == 64
    shutil.copytree(first, tmp_path / "elsewhere")
    moved = replace(run, recipe=second(values, tmp_path / "elsewhere"))
    with pipeline.working(moved):
        assert provenance(moved)["arms"]["main"]["init_adapter"] == origin
    weights = tmp_path / "elsewhere/main/train/adapter/adapter_model.safetensors"
    save_file({name: value + 1 for name, value in load_file(weights).items()}, weights)
    with pytest.raises(UsageError, match="init_adapters changed since it began"), pipeline.working(moved):
        pass


def test_a_stopped_training_goes_on_from_its_checkpoint_and_still_measures_from_the_adapter(
    values: dict[str, Any], first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values["train"] |= {"max_steps": 5, "logging_steps": 1, "save_steps": 2}
    recipe = second(values, first, penalty={"lam": 0.5, "reference": "init"})
    undisturbed = train_adapter(recipe, tmp_path / "undisturbed")

    class Stopped(stage.LogLastStep):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(stage, "LogLastStep", Stopped)
    with pytest.raises(KeyboardInterrupt):
        train_adapter(recipe, tmp_path / "stopped")
    monkeypatch.undo()
    resumed = train_adapter(recipe, tmp_path / "stopped")
    expected, found = (load_file(path / "adapter_model.safetensors") for path in (undisturbed, resumed))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    shares = [
        [(line["penalty"], line["loss"]) for line in read_appended(tmp_path / name / "log.jsonl")]
        for name in ("undisturbed", "stopped")
    ]
    assert shares[0] == shares[1]
    assert len(shares[0]) == 5


@pytest.mark.parametrize(
    ("lora", "parts"),
    [
        ({"rank": 4}, ["lora.rank is 8 there and 4 here; set lora.rank to 8"]),
        ({"alpha": 8, "rank": 2}, ["lora.rank is 8 there", "lora.alpha is 16.0 there and 8.0 here"]),
        (
            {"targets": ["q_proj"]},
            ["lora.targets is ['down_proj', 'gate_proj', 'up_proj'] there and ['q_proj'] here", "set lora.targets to"],
        ),
    ],
)
def test_another_configuration_is_refused_with_both_values(
    lora: dict[str, Any], parts: list[str], values: dict[str, Any], first: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        check(second(values, first, lora=lora), tmp_path / "s")
    for part in ("does not match the recipe", *parts):
        assert part in str(caught.value)
    check(second(values, first, lora={"dropout": 0.3}), tmp_path / "s")


def test_another_base_is_refused_and_a_moved_one_is_not(values: dict[str, Any], first: Path, tmp_path: Path) -> None:
    moved = make_model(tmp_path / "moved", "llama")
    check(second(values, first, model=str(moved)), tmp_path / "s")
    weights = load_file(moved / "model.safetensors")
    save_file({name: value * 2 for name, value in weights.items()}, moved / "model.safetensors")
    with pytest.raises(UsageError, match=r"its base was .*llama' \(sha256 .*moved' \(sha256"):
        check(second(values, first, model=str(moved)), tmp_path / "s")
    # Away from its run an adapter has only its base's name.
    copied = tmp_path / "copied"
    shutil.copytree(first / "main/train/adapter", copied)
    check(second(values, copied), tmp_path / "s")
    with pytest.raises(UsageError, match=r"its base was .*write this one into its adapter_config\.json"):
        check(second(values, copied, model=str(moved)), tmp_path / "s")


def test_a_base_from_the_hub_and_the_same_in_a_folder_are_one(
    values: dict[str, Any], first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = json.loads((first / "environment.json").read_text())
    recorded["inputs"]["models"][0] = {"model": "some/base", "revision": "ab" * 20, "sha256": None}
    (first / "environment.json").write_text(json.dumps(recorded))
    cache = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    with pytest.raises(UsageError, match="one of them is not on this machine; name that model"):
        check(second(values, first), tmp_path / "s")
    snapshot = cache / "models--some--base" / "snapshots" / ("ab" * 20)
    shutil.copytree(values["model"], snapshot)
    check(second(values, first), tmp_path / "s")
    weights = load_file(snapshot / "model.safetensors")
    save_file({name: value * 2 for name, value in weights.items()}, snapshot / "model.safetensors")
    with pytest.raises(UsageError, match=r"its base was 'some/base' \(revision abab"):
        check(second(values, first), tmp_path / "s")


def test_an_older_configuration_is_of_plain_lora(values: dict[str, Any], first: Path, tmp_path: Path) -> None:
    file = first / "main" / "train" / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "use_rslora"}))
    check(second(values, first), tmp_path / "s")
    with pytest.raises(UsageError, match=r"lora\.use_rslora is False there and True here"):
        check(second(values, first, lora={"use_rslora": True}), tmp_path / "s")


def test_a_configuration_of_a_newer_peft_is_refused(values: dict[str, Any], first: Path, tmp_path: Path) -> None:
    file = first / "main" / "train" / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"use_novelty": True, "other_novelty": None}))
    with pytest.raises(UsageError, match="use_novelty is True there, which this version of PEFT does not know"):
        check(second(values, first), tmp_path / "s")


def test_other_kinds_damage_and_wrong_places_are_refused(values: dict[str, Any], first: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(first / "main/train/adapter", other)
    config = json.loads((other / "adapter_config.json").read_text())
    for change, part in (
        ({"lora_bias": True}, "lora_bias is True there and False here; only LoRA, rsLoRA and DoRA are continued"),
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA' there"),
        ({"init_lora_weights": "pissa"}, "has changed the base itself"),
    ):
        (other / "adapter_config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(UsageError, match=part):
            check(second(values, other), tmp_path / "s")
    (other / "adapter_config.json").write_text(json.dumps(config))
    weights = load_file(other / "adapter_model.safetensors")
    save_file({name: value * torch.nan for name, value in weights.items()}, other / "adapter_model.safetensors")
    with pytest.raises(UsageError, match="not finite"):
        check(second(values, other), tmp_path / "s")
    shutil.copytree(first / "main", first / "more")
    with pytest.raises(UsageError, match="holds 2 adapters; name one"):
        check(second(values, first), tmp_path / "s")
    with pytest.raises(UsageError, match=r"init_adapter: .*no such folder"):
        check(second(values, tmp_path / "nothing"), tmp_path / "s")


def test_what_the_first_training_saw_is_not_evaluated(values: dict[str, Any], first: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text('{"prompt": "a", "completion": "b"}\n')
    other = {"data": [{"dataset": str(own)}], "tasks": [{"name": "mbpp", "split": "train"}]}
    check(from_dict({**values, **other}), tmp_path / "s")
    with pytest.raises(UsageError, match="in the training data"):
        check(second(values, first, **other), tmp_path / "s")


def test_an_exported_adapter_of_the_packaged_model_knows_its_base(first: Path, tmp_path: Path) -> None:
    shutil.copytree(first / "main/train/adapter", tmp_path / "exported")
    config = tmp_path / "exported" / "adapter_config.json"
    for named in (EMBEDDED, "/elsewhere/flexlora/tiny/model"):
        config.write_text(json.dumps(json.loads(config.read_bytes()) | {"base_model_name_or_path": named}))
        found = find_initial(str(tmp_path / "exported"))
        assert initial._other_base(found, ModelSource(name=EMBEDDED)) is None
        assert "its base was" in str(initial._other_base(found, ModelSource(name="me/other")))
