"""Probe steps: what they find, and that the training after them is the one without them."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from flexlora import folder, models, pipeline, preflight
from flexlora.cli import main
from flexlora.errors import FlexError, UsageError
from flexlora.files import read_appended
from flexlora.recipe import Recipe, Train, dumped, from_dict
from flexlora.training import FourierTrainer, Probe, probe, probe_steps, stage, train_adapter
from flexlora.training.log import MEASURED
from flexlora.training.memory import instead
from flexlora.training.probe import longest
from flexlora.training.tokens import Tokens
from flexlora.training.trainer import PaddingFreeTrainer
from scaler import with_scaler
from small_models import make_model


@pytest.fixture
def values(benchmark: Path, small_model: Path) -> dict[str, Any]:
    return {
        "model": str(small_model),
        "data_dir": str(benchmark),
        "data": [{"dataset": "mbpp"}],
        "validation": [{"dataset": "mbpp", "split": "validation"}],
        "tasks": ["humaneval"],
        "lora": {"dropout": 0.1},
        "penalty": {"lam": 0.05, "reference": "init"},
        "optimizer": {"learning_rate": 0.01},
        "train": {
            "max_steps": 4,
            "gradient_accumulation_steps": 2,
            "max_length": 96,
            "logging_steps": 1,
            "eval_steps": 2,
            "save_steps": 2,
        },
    }


def states() -> list[Any]:
    return [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("sophia", marks=pytest.mark.thorough)])
def test_the_training_after_it_is_the_one_without_it(optimizer: str, values: dict[str, Any], tmp_path: Path) -> None:
    values["optimizer"] = {"name": optimizer, "learning_rate": 0.003}
    recipe = from_dict(values)
    plain = train_adapter(recipe, tmp_path / "plain")
    before = states()
    found = probe_steps(recipe)
    assert states() == before
    probed = train_adapter(recipe, tmp_path / "probed")
    assert len(found.losses) == 2
    assert found.unmoved == ()
    assert found.peak_gb is None or torch.cuda.is_available()
    expected, found = (load_file(path / "adapter_model.safetensors") for path in (plain, probed))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    for name in ("log.jsonl", "spectrum.jsonl"):
        lines = [read_appended(tmp_path / which / name) for which in ("plain", "probed")]
        for line in (*lines[0], *lines[1]):
            for name in MEASURED:
                line.pop(name, None)
        assert lines[0] == lines[1]
    for name in ("optimizer.pt", "rng_state.pth", "fourier_penalty.pt"):
        held = [
            torch.load(tmp_path / which / "checkpoints" / "checkpoint-4" / name, weights_only=False)
            for which in ("plain", "probed")
        ]
        assert _plain(held[0]) == _plain(held[1]), name


def _plain(value: Any) -> Any:
    """Tensors and arrays as lists, so that values compare."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, torch.Tensor | np.ndarray) else value


def test_the_longest_come_first_and_come_again_where_there_are_few() -> None:
    tokens = [Tokens(key=str(n), input_ids=[5] * n, labels=[5] * n, cut=False) for n in (3, 9, 4)]
    assert [item.key for item in longest(tokens, 2)] == ["9", "4"]
    assert [item.key for item in longest(tokens, 5)] == ["9", "4", "3", "9", "4"]


def test_it_takes_the_steps_of_the_schedule_s_start(values: dict[str, Any]) -> None:
    values["train"] |= {"warmup_steps": 3}
    assert len(probe_steps(from_dict(values)).losses) == 3  # the first, at a learning rate of 0, does not count
    values["train"] |= {"max_steps": 1, "warmup_steps": 0}
    assert len(probe_steps(from_dict(values)).losses) == 1


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out of GPU memory while training with train.batch_size=4"),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), "out of memory while training"),
        (MemoryError(), "out of memory while training"),
    ],
)
def test_memory_that_does_not_suffice(
    error: Exception, part: str, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(PaddingFreeTrainer, "compute_loss", fail)
    with pytest.raises(FlexError) as caught:
        probe_steps(from_dict(values))
    assert part in str(caught.value)
    assert "Set train.batch_size=2 and train.gradient_accumulation_steps=4" in str(caught.value)


def test_what_to_try_keeps_the_examples_of_a_step() -> None:
    assert "train.batch_size=3 and train.gradient_accumulation_steps=4" in instead(
        Train(batch_size=6, gradient_accumulation_steps=2)
    )
    assert "train.batch_size=1 and train.gradient_accumulation_steps=5" in instead(Train(batch_size=5))
    assert instead(Train(batch_size=1)) == "Set train.gradient_checkpointing=true."
    assert "max_length" in instead(Train(batch_size=1, gradient_checkpointing=True))


@pytest.mark.parametrize(
    ("factor", "part"),
    [
        (float("nan"), "before training, in steps on the longest batches: the loss is nan at step 1"),
        (0.0, "B of all 6 adapted modules is what it was"),
    ],
)
def test_no_number_and_no_movement(
    factor: float, part: str, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = PaddingFreeTrainer.compute_loss
    monkeypatch.setattr(PaddingFreeTrainer, "compute_loss", lambda *a, **k: honest(*a, **k) * factor)
    with pytest.raises(FlexError) as caught:
        probe_steps(from_dict({**values, "penalty": {"lam": 0}, "validation": []}))
    assert part in str(caught.value)
    assert "What is written stays" not in str(caught.value)


def test_steps_that_the_gradient_scaler_skips_do_not_count(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(*args: Any, **kwargs: Any) -> FourierTrainer:
        return with_scaler(stage.make_trainer(*args, **kwargs), 2.0**40)

    monkeypatch.setattr(probe, "make_trainer", make)
    values["train"]["max_steps"] = 50
    found = probe_steps(from_dict(values))
    assert len(found.losses) > 10
    assert found.unmoved == ()
    values["train"]["max_steps"] = 3  # skipped, all of them
    with pytest.raises(FlexError, match="after 3 optimizer steps the adapter has not moved"):
        probe_steps(from_dict(values))


def test_the_base_is_given_back_as_it_was(values: dict[str, Any]) -> None:
    recipe = from_dict(values)
    base = models.load_model(recipe.source(recipe.model))
    before = {name: value.clone() for name, value in base.state_dict().items()}
    other = from_dict(
        {**values, "lora": {"rank": 2, "targets": "attention"}, "train": {"gradient_checkpointing": True}}
    )
    for one in (other, recipe):
        assert probe_steps(one, base=base).losses == probe_steps(one).losses
    assert base.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    assert not base.is_gradient_checkpointing


def test_batches_that_lost_labels(values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values["model"] = str(make_model(tmp_path / "no-pad", "llama", pad=False))  # pads with EOS
    recipe = from_dict(values)
    probe_steps(recipe)
    loader = FourierTrainer.get_train_dataloader

    def masking(token: int) -> Any:
        def batches(self: Any) -> Iterator[Any]:
            for batch in loader(self):
                labels = batch["labels"]
                labels[labels == (labels.max() if token < 0 else token)] = -100
                yield batch

        return batches

    monkeypatch.setattr(FourierTrainer, "get_train_dataloader", masking(1))
    with pytest.raises(FlexError, match=r"of 16 EOS tokens .* mask 16, as it is the padding token too"):
        probe_steps(recipe)
    monkeypatch.setattr(FourierTrainer, "get_train_dataloader", masking(-1))
    with pytest.raises(FlexError, match=r"take the loss on \d+ tokens, and their examples have \d+"):
        probe_steps(recipe)


def test_an_eos_that_is_never_supervised_is_refused_by_preflight(values: dict[str, Any], tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text('{"prompt": "x", "completion": "' + "y = 1; " * 60 + '"}\n')
    recipe = from_dict({**values, "data": [{"dataset": str(own)}], "train": {"max_length": 32}})
    with pytest.raises(UsageError, match="every one of 1 examples loses its end and with it EOS"):
        preflight.check(folder.RunFolder(recipe=recipe, path=tmp_path / "run"), executes=False)


def test_all_arms_are_probed_before_one_is_trained_and_only_where_they_begin(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = from_dict({**values, "arms": {"a": {}, "b": {}, "c": {}, "d": {}}})
    run = folder.RunFolder(recipe=recipe, path=tmp_path)
    (run.train("b") / "adapter").mkdir(parents=True)
    (run.train("c") / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    (run.train("d") / "checkpoints" / ".partial" / "checkpoint-2").mkdir(parents=True)  # cut short by a kill
    calls: list[str] = []

    def probing(recipe: Recipe, label: str, base: Any) -> Probe:
        calls.append(label)
        return Probe(longest=1, losses=(1.0,), peak_gb=None, unmoved=())

    monkeypatch.setattr(pipeline, "probe_steps", probing)
    monkeypatch.setattr(pipeline, "train_adapter", lambda recipe, folder, label, callbacks: calls.append(label))
    pipeline.train(run)
    assert calls == ["probe a", "probe d", "train a", "train b", "train c", "train d"]
    calls.clear()
    pipeline.train(run, ["a"], probe=False)
    assert calls == ["train a"]


def test_a_dry_run_probes_where_asked_and_writes_nothing(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text(json.dumps(dumped(from_dict(values))))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for options, probes in (([], None), (["--probe-steps"], ["main"])):
        monkeypatch.setattr(sys, "argv", ["flexlora", "train", str(recipe), "--dry-run", "--json", *options])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        found = json.loads(capsys.readouterr().out).get("probes")
        assert (None if found is None else list(found)) == probes
    assert len(found["main"]["losses"]) == 2
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.setattr(sys, "argv", ["flexlora", "train", str(recipe), "--probe-steps"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "goes with --dry-run" in capsys.readouterr().err
