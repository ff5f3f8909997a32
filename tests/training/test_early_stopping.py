"""Training that ends when the validation loss no longer falls: where it ends, what it keeps, and when it is resumed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer

from flexlora.errors import FlexError, UsageError
from flexlora.evaluation.trainings import compare_trainings
from flexlora.files import Record, read_appended
from flexlora.recipe import Recipe, from_dict
from flexlora.training import early_stopping, stage, train_adapter
from flexlora.training.early_stopping import EarlyStopping
from flexlora.training.log import MEASURED
from stopping import stop_after

VALUES: dict[str, Any] = {
    "data": [{"dataset": "mbpp"}],
    "validation": [{"dataset": "mbpp", "split": "validation"}],
    "tasks": ["humaneval"],
    "lora": {"dropout": 0.1},
}


LOSSES = {3: 3.0, 6: 2.0, 9: 2.5, 12: 1.5, 15: 1.75, 18: 1.5}
"""Step -> validation loss: the lowest is that of step 12, which the one of step 18 equals."""


@pytest.fixture(autouse=True, scope="module")
def told_losses() -> Iterator[None]:
    """Validations run as ever; only their loss is a told one, so that no test hangs on rounding."""
    ordinary = Trainer.evaluation_loop

    def loop(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = ordinary(self, *args, **kwargs)
        found.metrics["eval_loss"] = LOSSES[self.state.global_step]
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "evaluation_loop", loop)
        yield


@pytest.fixture(scope="module")
def recipe(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    from small_benchmark import write_benchmark

    train = {"epochs": 8, "max_length": 96, "logging_steps": 2, "eval_steps": 3, "save_steps": 4, "early_stopping": 2}
    return from_dict(
        {
            **VALUES,
            "model": str(small_model),
            "data_dir": str(write_benchmark(tmp_path_factory.mktemp("benchmark") / "data")),
            "optimizer": {"learning_rate": 0.01},
            "train": {**train, "spectrum_steps": 5},
        }
    )


@pytest.fixture(scope="module")
def undisturbed(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "train"
    train_adapter(recipe, folder)
    return folder


def log(folder: Path) -> list[Record]:
    return [
        {key: value for key, value in record.items() if key not in MEASURED}
        for record in read_appended(folder / "log.jsonl")
    ]


def test_training_stops_after_so_many_validations_without_improvement_and_keeps_the_best(
    undisturbed: Path, recipe: Recipe
) -> None:
    validations = {line["step"]: line["eval_loss"] for line in log(undisturbed) if "eval_loss" in line}
    assert validations == LOSSES
    last, best = 18, 12  # of 48
    assert log(undisturbed)[-1] == {"step": last, "kept_step": best, "stopped_early": True}
    (found,) = compare_trainings({"main": read_appended(undisturbed / "log.jsonl")})["trainings"]
    assert found["early_stopping"] == {"stopped_at": last, "early": True, "kept": best}
    assert found["steps"] == last
    assert sorted(path.name for path in undisturbed.iterdir()) == [
        "adapter",
        "checkpoints",
        "log.jsonl",
        "spectrum.jsonl",
    ]
    assert {line["step"] for line in log(undisturbed) if "loss" in line} >= set(validations)  # every stretch is logged
    assert [line["step"] for line in read_appended(undisturbed / "spectrum.jsonl")] == [0, 5, 10, 15, 18]

    # Without it, a training of as many steps as it kept has the same adapter.
    to_there = recipe.model_copy(update={"train": recipe.train.model_copy(update={"early_stopping": None})})
    kept = stopped_at(best, to_there, undisturbed.with_name("to-there"))
    assert_equal(load_file(undisturbed / "adapter" / "adapter_model.safetensors"), kept)


def stopped_at(step: int, recipe: Recipe, folder: Path) -> dict[str, torch.Tensor]:
    """The adapter after a step of the same training, by a checkpoint there."""
    every = recipe.train.model_copy(update={"logging_steps": 1, "save_steps": step})
    with pytest.MonkeyPatch.context() as patch:
        stop_after(step + 1, recipe.model_copy(update={"train": every}), folder, patch)
    return load_file(folder / "checkpoints" / f"checkpoint-{step}" / "adapter_model.safetensors")


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_resumed_training_stops_at_the_same_step_with_the_same_adapter(
    undisturbed: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = log(undisturbed)[-1]
    folder = tmp_path / "train"
    for step in (11, 14, 17):  # after checkpoints of steps 8, 12 and 16
        stop_after(step, recipe, folder, monkeypatch)

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:  # at the very end, when the log says so already
        patched.setattr(Path, "rename", lambda self, to: killed() if to.name == "adapter" else Path.replace(self, to))
        with pytest.raises(KeyboardInterrupt):
            train_adapter(recipe, folder)
    assert log(folder)[-1] == last
    train_adapter(recipe, folder)
    assert log(folder) == log(undisturbed)
    assert read_appended(folder / "spectrum.jsonl") == read_appended(undisturbed / "spectrum.jsonl")
    assert_equal(*(load_file(one / "adapter" / "adapter_model.safetensors") for one in (folder, undisturbed)))
    assert not (folder / "best").exists()


def test_a_training_killed_after_its_last_checkpoint_takes_no_further_step(
    undisturbed: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_end = recipe.train.model_copy(update={"save_steps": 3, "logging_steps": 3})  # where validations are
    often = recipe.model_copy(update={"train": at_end})
    folder = tmp_path / "train"
    with monkeypatch.context() as patched:
        patched.setattr(EarlyStopping, "finish", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train_adapter(often, folder)
    last = log(undisturbed)[-1]
    assert (folder / "checkpoints" / f"checkpoint-{last['step']}").is_dir()
    with monkeypatch.context() as patched:
        patched.setattr(stage.RecipeTrainer, "train", lambda *args, **kwargs: pytest.fail("trained on"))
        patched.setattr(stage.PaddingFreeTrainer, "train", lambda *args, **kwargs: pytest.fail("trained on"))
        train_adapter(often, folder)
    assert log(folder)[-1] == last
    assert_equal(*(load_file(one / "adapter" / "adapter_model.safetensors") for one in (folder, undisturbed)))


class Follower:
    """An `EarlyStopping` that is told losses, and writes folders for adapters."""

    def __init__(self, folder: Path, patience: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(early_stopping, "whole_adapter", lambda model: None)
        monkeypatch.setattr(early_stopping, "save_adapter", lambda model, path, weights: path.mkdir(parents=True))
        self.folder, self.stopping = folder, EarlyStopping(folder, patience, [])

    def see(self, *losses: float) -> list[bool]:
        """Validations at further steps -> whether training is to end, of each."""
        ends = []
        for loss in losses:
            step, control = self.stopping.step + 1, SimpleNamespace(should_training_stop=False)
            self.stopping.on_evaluate(None, SimpleNamespace(global_step=step), control, metrics={"eval_loss": loss})
            ends.append(control.should_training_stop)
        return ends

    def kept(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "best").glob("*"))


def test_equal_and_undefined_losses_are_no_improvement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = Follower(tmp_path, 2, monkeypatch)
    assert follower.see(float("nan"), 2.0, 1.0, 1.0, 0.5, float("nan"), 0.5) == [*[False] * 6, True]
    assert follower.stopping.best_step == 5


def test_adapters_are_kept_until_no_training_can_fall_back_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = Follower(tmp_path, 2, monkeypatch)
    follower.see(3.0, 2.0, 1.0, 4.0)
    assert follower.kept() == ["step-1", "step-2", "step-3"]
    back = [{"step": 1, "eval_loss": 3.0}, {"step": 2, "eval_loss": 2.0}]  # resumed from a checkpoint of step 2
    for folder in (tmp_path / "best").iterdir():
        (folder / "adapter_model.safetensors").touch()
    follower.stopping = EarlyStopping(tmp_path, 2, back)
    assert (follower.stopping.best, follower.stopping.best_step, follower.kept()) == (2.0, 2, ["step-1", "step-2"])
    follower.stopping.on_save(None, None, None)
    assert follower.kept() == ["step-2"]
    (tmp_path / "best" / "step-2" / "adapter_model.safetensors").unlink()
    with pytest.raises(FlexError, match=r"step-2: is missing.*--overwrite"):
        EarlyStopping(tmp_path, 2, back)


def test_a_training_without_a_defined_validation_loss_keeps_nothing_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = Follower(tmp_path, 1, monkeypatch)
    assert follower.see(float("nan")) == [True]
    with pytest.raises(FlexError, match="no validation loss was a number"):
        follower.stopping.finish(tmp_path / "adapter", 10)


def test_validation_data_is_needed_by_every_arm_that_stops_early() -> None:
    values = {**VALUES, "model": "tiny", "train": {"early_stopping": 3}}
    from_dict(values)
    with pytest.raises(UsageError, match=r"train\.early_stopping: 3 goes by the validation loss"):
        from_dict({**values, "validation": []})
    without = {**values, "validation": [], "train": {}}
    own = {"train": {"early_stopping": 3}, "validation": VALUES["validation"]}
    from_dict({**without, "arms": {"none": {}, "early": own}})
    with pytest.raises(UsageError, match=r"arms\.early\.train\.early_stopping: 3"):
        from_dict({**without, "arms": {"none": {}, "early": {"train": {"early_stopping": 3}}}})
