"""A training that diverges stops before the optimizer acts, and names step, examples and checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from flexlora import models
from flexlora.adapters import lora_pairs
from flexlora.errors import FlexError
from flexlora.files import read_appended
from flexlora.recipe import Recipe, dumped, from_dict
from flexlora.training import stage, train_adapter
from flexlora.training.divergence import Diverged
from flexlora.training.padding_free import LENGTHS
from flexlora.training.trainer import PaddingFreeTrainer
from scaler import with_scaler


@pytest.fixture
def recipe(benchmark: Path, small_model: Path) -> Recipe:
    return from_dict(
        {
            "model": str(small_model),
            "data_dir": str(benchmark),
            "data": [{"dataset": "mbpp"}],
            "tasks": ["humaneval"],
            "penalty": {"lam": 0.05},
            "optimizer": {"learning_rate": 0.01},
            "train": {
                "max_steps": 6,
                "batch_size": 3,
                "gradient_accumulation_steps": 2,
                "max_length": 96,
                "logging_steps": 2,
                "save_steps": 2,
            },
        }
    )


def spoil(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any, torch.Tensor, Any], torch.Tensor]) -> None:
    """Let `change(trainer, loss, inputs)` have the last word on every loss."""
    honest = PaddingFreeTrainer.compute_loss

    def compute(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        loss = honest(self, model, inputs, *args, **kwargs)
        return change(self, loss, inputs)

    monkeypatch.setattr(PaddingFreeTrainer, "compute_loss", compute)


def keys_of(recipe: Recipe, inputs: Any) -> list[str]:
    tokenizer = models.load_tokenizer(recipe.source(recipe.model))
    rows = [tuple(tokens.tolist()) for tokens in inputs["input_ids"][0].split(inputs[LENGTHS])]
    tokens = stage.tokens_of(recipe, recipe.data, tokenizer)
    return [item.key for item in tokens if tuple(item.input_ids) in rows]


def test_a_loss_that_is_no_number_is_told_with_step_examples_and_checkpoint(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt: list[Any] = []

    def at_the_fifth(trainer: Any, loss: torch.Tensor, inputs: Any) -> torch.Tensor:
        # The second of two micro-batches.
        if trainer.state.global_step == 4 and trainer.accelerator.sync_gradients:
            spoilt.append(inputs)
            return loss * torch.nan
        return loss

    spoil(monkeypatch, at_the_fifth)
    with pytest.raises(FlexError) as first:
        train_adapter(recipe, tmp_path)
    message = str(first.value)
    expected = keys_of(recipe, spoilt[0])
    assert len(expected) == 3
    for part in (
        "the loss is nan at step 5 (examples " + ", ".join(expected) + ")",
        f"the last good checkpoint is {tmp_path / 'checkpoints' / 'checkpoint-4'}",
        "optimizer.learning_rate (now 0.01)",
    ):
        assert part in message
    assert not (tmp_path / "adapter").exists()
    assert [record["step"] for record in read_appended(tmp_path / "log.jsonl")] == [2, 4]
    saved = load_file(tmp_path / "checkpoints" / "checkpoint-4" / "adapter_model.safetensors")
    assert all(value.isfinite().all() for value in saved.values())
    with pytest.raises(FlexError) as again:
        train_adapter(recipe, tmp_path)
    assert str(again.value) == message
    monkeypatch.undo()
    train_adapter(recipe, tmp_path)
    assert [record["step"] for record in read_appended(tmp_path / "log.jsonl")] == [2, 4, 6]


def trainer_of(recipe: Recipe, folder: Path, **train: Any) -> Any:
    recipe = from_dict({**dumped(recipe), "train": {**dumped(recipe)["train"], "logging_steps": 1, **train}})
    tokenizer = models.load_tokenizer(recipe.source(recipe.model))
    tokens = stage.tokens_of(recipe, recipe.data, tokenizer)
    arguments = stage.training_arguments(recipe, folder)
    return stage.make_trainer(recipe, tokenizer, args=arguments, train=tokens, validation=[])


def test_an_exploding_loss_stops_and_neither_a_high_one_nor_an_outlier_does(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 400 tokens: guessing gives 6, and so does this model.
    factor = {0: 9.0, **dict.fromkeys(range(1, 20), 0.3), 8: 2.5}
    spoil(monkeypatch, lambda trainer, loss, _: loss * factor.get(trainer.state.global_step, 2.5))
    trainer = trainer_of(recipe, tmp_path, max_steps=30)
    with pytest.raises(Diverged, match=r"the loss has risen to \d+\.\d+, from 2\.\d+ at step 2[2-9]"):
        trainer.train()


@pytest.mark.parametrize("overflows", [False, True])
def test_under_float16_a_gradient_that_is_no_number_at_any_scale_stops(
    overflows: bool, recipe: Recipe, tmp_path: Path
) -> None:
    trainer = with_scaler(trainer_of(recipe, tmp_path, max_steps=16, save_steps=16), 2.0**10)
    if overflows:
        next(iter(lora_pairs(trainer.model))).B.register_hook(lambda g: g * torch.inf)
        with pytest.raises(Diverged, match=r"the gradient's norm is (nan|inf) at step 11 "):
            trainer.train()
    else:
        trainer.train()
        assert trainer.state.global_step == 16


@pytest.mark.parametrize(("clip", "padding_free"), [(1.0, True), (0.0, False)])
def test_a_gradient_that_is_no_number_never_reaches_the_weights(
    clip: float, padding_free: bool, recipe: Recipe, tmp_path: Path
) -> None:
    trainer = trainer_of(recipe, tmp_path, max_grad_norm=clip, padding_free=padding_free)
    pair = next(iter(lora_pairs(trainer.model)))
    pair.A.register_hook(lambda g: g * torch.inf if trainer.state.global_step == 2 else g)
    with pytest.raises(
        Diverged, match=r"the gradient's norm is (nan|inf) at step 3 \(examples (mbpp MBPP/\d+, ){5}mbpp"
    ):
        trainer.train()
    assert all(factor.isfinite().all() for pair in lora_pairs(trainer.model) for factor in (pair.A, pair.B))


def test_no_checkpoint_is_written_of_weights_that_are_not_finite(recipe: Recipe, tmp_path: Path) -> None:
    trainer = trainer_of(recipe, tmp_path)
    step = trainer.create_optimizer().step

    def spoiling(*args: Any, **kwargs: Any) -> Any:
        step(*args, **kwargs)
        if trainer.state.global_step == 3:
            with torch.no_grad():
                next(iter(lora_pairs(trainer.model))).B.fill_(torch.inf)

    trainer.optimizer.step = spoiling
    with pytest.raises(Diverged, match=r"no longer finite at step 4 .*the last good checkpoint is .*checkpoint-2\. "):
        trainer.train()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]


def test_sophia_s_estimate_names_its_examples_too(recipe: Recipe, tmp_path: Path) -> None:
    sophia = from_dict({**dumped(recipe), "optimizer": {"name": "sophia", "learning_rate": 0.001}})
    trainer = trainer_of(sophia, tmp_path)
    with torch.no_grad():
        next(iter(lora_pairs(trainer.model))).B.fill_(torch.nan)
    with pytest.raises(
        Diverged, match=r"gradient on sampled labels is not finite.* estimated at step 1 \(examples mbpp MBPP/"
    ):
        trainer.train()
