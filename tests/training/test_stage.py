"""The training stage in processes of its own: killed anywhere, it ends with the files of an undisturbed run."""

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerState

from flexlora.errors import FlexError
from flexlora.files import read_appended
from flexlora.recipe import Recipe, dumped, from_dict
from flexlora.training import stage, train_adapter
from flexlora.training.checkpoints import last_checkpoint
from flexlora.training.log import MEASURED


@pytest.fixture
def recipe(benchmark: Path, small_model: Path) -> Recipe:
    return from_dict(
        {
            "model": str(small_model),
            "data_dir": str(benchmark),
            "data": [{"dataset": "mbpp"}],
            "validation": [{"dataset": "mbpp", "split": "validation"}],
            "tasks": ["humaneval"],
            "penalty": {"lam": 0.05},
            "lora": {"dropout": 0.1},
            "optimizer": {"learning_rate": 0.01},
            # 24 examples: 6 batches, 3 steps an epoch.
            "train": {
                "epochs": 5,
                "gradient_accumulation_steps": 2,
                "max_length": 96,
                "logging_steps": 2,
                "eval_steps": 4,
                "save_steps": 4,
                "spectrum_steps": 3,
            },
        }
    )


def train(recipe: Recipe, folder: Path, *kills: str) -> None:
    """Train in processes of their own, each killed at its moment, and at last to the end."""
    file = folder.with_suffix(".json")
    file.write_text(json.dumps(dumped(recipe)))
    command = [sys.executable, str(Path(__file__).with_name("killed.py")), str(file), str(folder), *kills]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]


def checkpoints(folder: Path) -> list[str]:
    """Folders among the checkpoints."""
    return [path.name for path in (folder / "checkpoints").iterdir() if path.is_dir()]


def plain(value: Any) -> Any:
    """Tensors and arrays as lists, so that values compare to the last bit; without times, and what TRL counts anew."""
    if isinstance(value, dict):
        left_out = ("runtime", "_per_second", "num_tokens")
        return {key: plain(item) for key, item in value.items() if not str(key).endswith(left_out)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.tolist() if isinstance(value, torch.Tensor | np.ndarray) else value


def held(checkpoint: Path) -> dict[str, Any]:
    """Everything that a checkpoint holds of a training: weights, optimizer, schedule, generators, penalty, log."""
    found = {path.name: plain(torch.load(path, weights_only=False)) for path in checkpoint.glob("*.pt*")}
    found.pop("training_args.bin", None)
    found["weights"] = plain(load_file(checkpoint / "adapter_model.safetensors"))
    return found | {"state": plain(json.loads((checkpoint / "trainer_state.json").read_text()))}


def assert_measured(log: Path) -> None:
    """Time and memory only grow, whatever was killed and resumed in between."""
    records = read_appended(log)
    for name in MEASURED:
        values = [record[name] for record in records if record[name] is not None]
        assert values == sorted(values), name
        assert all(value > 0 for value in values), name
    assert all(record["train_s"] is not None for record in records)


def without_time(log: Path) -> list[dict[str, object]]:
    return [{key: value for key, value in record.items() if key not in MEASURED} for record in read_appended(log)]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("sophia", marks=pytest.mark.thorough)])
def test_a_killed_training_continues_to_the_same_adapter_state_and_log(
    optimizer: str, recipe: Recipe, tmp_path: Path
) -> None:
    changed = dumped(recipe)
    changed["optimizer"] |= {"name": optimizer, "learning_rate": 0.003 if optimizer == "sophia" else 0.01}
    changed["penalty"] |= {"reference": "init", "schedule": "target", "target": 0.3}
    recipe = from_dict(changed)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    train(recipe, undisturbed)
    # After every other step, the other ones with Sophia; amid a checkpoint; and where it stands beside two older ones.
    moments = [(step, 0, "step") for step in range(1 if optimizer == "adamw" else 2, 16, 2)]
    moments += [(4, 1, "checkpoint"), (8, 1, "checkpoint"), (12, 1, "rotation")]
    train(recipe, killed, *(f"{moment}:{step}" for step, _, moment in sorted(moments)))
    assert set(checkpoints(killed)) == {"checkpoint-12", "checkpoint-15"}
    expected = load_file(undisturbed / "adapter" / "adapter_model.safetensors")
    found = load_file(killed / "adapter" / "adapter_model.safetensors")
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    states = [held(folder / "checkpoints" / "checkpoint-12") for folder in (undisturbed, killed)]
    files = {"optimizer.pt", "scheduler.pt", "rng_state.pth", "fourier_penalty.pt", "weights", "state"}
    assert states[0].keys() == states[1].keys() == files | ({"sophia_curvature.pt"} if optimizer == "sophia" else set())
    for name, state in states[0].items():
        assert states[1][name] == state, name
    assert states[0]["fourier_penalty.pt"]["schedule"] != states[0]["fourier_penalty.pt"]["options"]["schedule"]
    assert states[0]["fourier_penalty.pt"]["references"]
    assert without_time(killed / "log.jsonl") == without_time(undisturbed / "log.jsonl")
    assert_measured(killed / "log.jsonl")
    assert (killed / "spectrum.jsonl").read_bytes() == (undisturbed / "spectrum.jsonl").read_bytes()
    assert [record["step"] for record in read_appended(killed / "spectrum.jsonl")] == list(range(0, 16, 3))
    steps = [record["step"] for record in read_appended(killed / "log.jsonl") if "loss" in record]
    assert steps == [*range(2, 15, 2), 15]
    assert {path.name for path in killed.iterdir()} == {"adapter", "checkpoints", "log.jsonl", "spectrum.jsonl"}


@pytest.mark.parametrize(
    "file",
    ["adapter_model.safetensors", "optimizer.pt", "sophia_curvature.pt", "fourier_penalty.pt", "trainer_state.json"],
)
def test_a_disk_that_fills_up_in_a_checkpoint_leaves_the_one_before_valid(
    file: str, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = dumped(recipe)
    changed["optimizer"] |= {"name": "sophia", "learning_rate": 0.003}
    changed["train"] |= {"max_steps": 6, "save_steps": 2}
    recipe = from_dict(changed)
    undisturbed = train_adapter(recipe, tmp_path / "undisturbed")

    def full(where: Any) -> None:
        if str(where).endswith(f"checkpoint-4/{file}"):
            Path(where).write_bytes(b"half of i")
            raise OSError(errno.ENOSPC, "No space left on device")

    def on_a_full_disk(write: Callable[..., Any], position: int) -> Callable[..., Any]:
        def writing(*args: Any, **kwargs: Any) -> Any:
            full(args[position])
            return write(*args, **kwargs)

        return writing

    monkeypatch.setattr(torch, "save", on_a_full_disk(torch.save, 1))
    monkeypatch.setattr(peft.peft_model, "safe_save_file", on_a_full_disk(peft.peft_model.safe_save_file, 1))
    monkeypatch.setattr(TrainerState, "save_to_json", on_a_full_disk(TrainerState.save_to_json, 1))
    with pytest.raises(FlexError, match="the disk is full"):
        train_adapter(recipe, tmp_path / "full")
    monkeypatch.undo()
    assert checkpoints(tmp_path / "full") == ["checkpoint-2"]
    resumed = train_adapter(recipe, tmp_path / "full")
    expected, found = (load_file(path / "adapter_model.safetensors") for path in (undisturbed, resumed))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    logs = [without_time(tmp_path / name / "log.jsonl") for name in ("undisturbed", "full")]
    assert logs[0] == logs[1]
    assert_measured(tmp_path / "full" / "log.jsonl")


def test_a_finished_training_is_left_alone_and_its_log_has_every_figure(recipe: Recipe, tmp_path: Path) -> None:
    short = from_dict(
        {**dumped(recipe), "train": {"max_steps": 4, "logging_steps": 2, "save_steps": 2, "eval_steps": 4}}
    )
    adapter = train_adapter(short, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert train_adapter(short, tmp_path) == adapter
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    log = read_appended(tmp_path / "log.jsonl")
    assert_measured(tmp_path / "log.jsonl")
    for record in log:
        figures = {"eval_loss"} if "eval_loss" in record else {"loss", "grad_norm", "penalty", "high_frequency_share"}
        assert figures <= record.keys()
        assert all(isinstance(record[name], float) for name in figures)
    assert sum("eval_loss" in record for record in log) == 1


def test_sophia_s_log_has_its_figures_and_adamw_s_has_not(recipe: Recipe, tmp_path: Path) -> None:
    figures = {"clipped_fraction", "h_mean", "h_max", "h_zero_fraction"}
    for name in ("sophia", "adamw"):
        values = dumped(recipe)
        values["optimizer"]["name"] = name
        values["train"] |= {"max_steps": 2, "logging_steps": 1, "save_steps": 2}
        train_adapter(from_dict(values), tmp_path / name)
        records = [record for record in read_appended(tmp_path / name / "log.jsonl") if "loss" in record]
        assert len(records) == 2
        for record in records:
            assert figures & record.keys() == (figures if name == "sophia" else set())
            assert 0 <= record.get("clipped_fraction", 0) <= 1


def test_the_newest_checkpoint_is_the_one_of_the_latest_step(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for name in ("checkpoint-9", "checkpoint-10", ".partial"):
        (tmp_path / name).mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert last_checkpoint(tmp_path, before=10) == tmp_path / "checkpoint-9"


@pytest.mark.parametrize("ending", [{"max_steps": 5}, {"epochs": 1.5}])
def test_killed_after_the_last_checkpoint_it_trains_no_step_more(
    ending: dict[str, float], recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = dumped(recipe)
    changed["train"] |= ending | {"logging_steps": 2, "scheduler": "constant"}
    changed["optimizer"]["learning_rate"] = 0.05
    recipe = from_dict(changed)
    undisturbed = train_adapter(recipe, tmp_path / "undisturbed")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "save_adapter", killed)
    with pytest.raises(KeyboardInterrupt):
        train_adapter(recipe, tmp_path / "killed")
    monkeypatch.undo()
    resumed = train_adapter(recipe, tmp_path / "killed")
    expected, found = (load_file(path / "adapter_model.safetensors") for path in (undisturbed, resumed))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    logs = [without_time(tmp_path / name / "log.jsonl") for name in ("undisturbed", "killed")]
    assert logs[0] == logs[1]
    assert max(int(str(record["step"])) for record in logs[0]) == 5
    spectra = [read_appended(tmp_path / name / "spectrum.jsonl") for name in ("undisturbed", "killed")]
    assert spectra[0] == spectra[1]
    assert [record["step"] for record in spectra[0]] == [0, 3, 5]


def test_the_last_step_is_logged_whatever_the_interval(recipe: Recipe, tmp_path: Path) -> None:
    changed = dumped(recipe)
    changed["train"] |= {"max_steps": 3, "logging_steps": 10, "save_steps": 10}
    train_adapter(from_dict(changed), tmp_path / "run")
    assert [record["step"] for record in read_appended(tmp_path / "run" / "log.jsonl") if "loss" in record] == [3]


def test_a_full_disk_while_training_is_said_in_one_line(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stage, "save_adapter", full)
    changed = dumped(recipe)
    changed["train"] |= {"max_steps": 1}
    with pytest.raises(FlexError, match="the disk is full"):
        train_adapter(from_dict(changed), tmp_path / "run")
