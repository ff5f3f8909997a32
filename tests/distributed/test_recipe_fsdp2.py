"""Recipes sharded over two processes by FSDP2: the training of one process, to rounding, and its files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from flexlora import pipeline

WORKER = Path(__file__).with_name("recipe_worker.py")
SHARDED = ["--set", "train.sharding=fsdp2"]
LAUNCHER = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
HALF = ["precision=bfloat16", "train.max_steps=2"]


pytestmark = pytest.mark.thorough  # the four trainings take a minute; `test_two_processes` has one


@pytest.fixture(scope="module")
def runs(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs by one process, and by two: undisturbed, killed and continued, asked for by Accelerate's environment."""
    from small_benchmark import write_benchmark

    folder = tmp_path_factory.mktemp("fsdp2")
    values = recipe(small_model, write_benchmark(folder / "data"))
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(values))  # which is YAML too
    train_alone(path, folder / "one", ["adamw", "sophia"])
    train_alone(path, folder / "one-half", ["rows"], *HALF)
    common, one_arm = ["train", str(path), *SHARDED, "--no-probe-steps"], ["--arm", "sophia"]
    half = ["train", str(path), "--arm", "rows", *(word for key in HALF for word in ("--set", key))]
    jobs = [
        job([*common, "--output", str(folder / "two"), "--arm", "adamw", "--arm", "sophia"]),
        job([*common, "--output", str(folder / "killed"), *one_arm], killed_after=2),
        job([*common, "--output", str(folder / "killed"), *one_arm]),
        job([*half, "--output", str(folder / "two-half")], **LAUNCHER),
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1"]
    launcher += ["--master_port", "0", "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"]
    done = subprocess.run(
        [sys.executable, *launcher, str(WORKER), str(folder / "jobs.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return folder


def recipe(model: Path, data: Path) -> dict[str, Any]:
    """Twenty examples, eight a step: the last step of an epoch is filled up."""
    return {
        "model": str(model),
        "data_dir": str(data),
        "data": [{"dataset": "mbpp", "limit": 20}],
        "validation": [{"dataset": "mbpp", "split": "validation"}],
        "tasks": ["humaneval"],
        "variants": ["adapter"],
        "lora": {"rank": 3, "dropout": 0.0},  # on two processes the parts of A are of unequal size
        "train": {
            "max_steps": 3,
            "batch_size": 4,
            "gradient_accumulation_steps": 2,
            "max_length": 128,
            "logging_steps": 1,
            "spectrum_steps": 2,
            "eval_steps": 2,
            "save_steps": 1,
        },
        "arms": {
            "adamw": {"penalty": {"lam": 0.02, "view": "factors", "reference": "init"}},
            "sophia": {
                "penalty": {"lam": 0.02, "view": "delta"},
                "optimizer": {"name": "sophia", "learning_rate": 0.01, "hessian_interval": 2, "bias_correction": True},
                "train": {"gradient_checkpointing": True},
            },
            "rows": {
                "penalty": {"lam": 0.02, "view": "rows", "coupling": "decoupled"},
                "train": {"padding_free": False},
            },
        },
    }


def job(arguments: list[str], killed_after: int | None = None, **environment: str) -> dict[str, Any]:
    return {"arguments": arguments, "environment": environment, "killed_after": killed_after}


def train_alone(path: Path, output: Path, arms: list[str], *overrides: str) -> None:
    run, _ = pipeline.start(path, output, overrides, executes=False)
    with pipeline.working(run):
        pipeline.train(run, arms, probe=False)


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "train" / name).read_text().splitlines()]
    # Accuracy is that of the first process's part of a step; a filled-up step is a larger part of an epoch.
    unlike = ("train_s", "peak_memory_gb", "mean_token_accuracy", "epoch")
    return [{key: value for key, value in record.items() if key not in unlike} for record in records]


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "train" / "adapter" / "adapter_model.safetensors")


def config(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "train" / "adapter" / "adapter_config.json").read_text())
    return {**values, "target_modules": sorted(values["target_modules"])}  # a set, of any order


def check_alike(found: Path, expected: Path, tolerance: float) -> None:
    """Weights, losses and figures of two trainings of an arm."""
    ours, theirs = adapter(found), adapter(expected)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert value.abs().max() > 0, name
        assert (ours[name] - value).abs().max() <= tolerance * value.abs().max(), name
    assert config(found) == config(expected)
    for a, b in zip(lines(found, "log.jsonl"), lines(expected, "log.jsonl"), strict=True):
        assert a == pytest.approx(b, rel=10 * tolerance)
    for a, b in zip(lines(found, "spectrum.jsonl"), lines(expected, "spectrum.jsonl"), strict=True):
        assert a["energy"] == pytest.approx(b["energy"], rel=10 * tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["adamw", "sophia"])
def test_two_processes_train_as_one(runs: Path, arm: str) -> None:
    check_alike(runs / "two" / arm, runs / "one" / arm, 1e-5)


@pytest.mark.slow
def test_every_parameter_is_sharded(runs: Path) -> None:
    # Job 0 trains two arms, and job 3 begins with a probe.
    for number, trainings in enumerate([2, 1, 1, 2]):
        for rank in range(2):
            seen = [json.loads(line) for line in (runs / f"seen.{number}.{rank}.jsonl").read_text().splitlines()]
            assert seen == [{"wrapped": True, "parts": [2]}] * trainings


@pytest.mark.slow
def test_a_killed_training_goes_on_as_if_undisturbed(runs: Path) -> None:
    there, here = runs / "two" / "sophia", runs / "killed" / "sophia"
    ours, theirs = adapter(here), adapter(there)
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    for name in ("log.jsonl", "spectrum.jsonl"):
        assert lines(here, name) == lines(there, name)


@pytest.mark.slow
def test_one_process_goes_on_from_a_checkpoint_of_two(runs: Path) -> None:
    shutil.copytree(runs / "two", runs / "less")
    less = runs / "less" / "adamw"
    shutil.rmtree(less / "train" / "adapter")
    shutil.rmtree(less / "train" / "checkpoints" / "checkpoint-3")
    train_alone(runs / "recipe.yaml", runs / "less", ["adamw"])
    check_alike(less, runs / "one" / "adamw", 1e-5)


@pytest.mark.slow
def test_accelerate_s_environment_asks_for_the_same(runs: Path) -> None:
    """In bfloat16."""
    assert "sharding: fsdp2" in (runs / "two-half" / "recipe.yaml").read_text()
    check_alike(runs / "two-half" / "rows", runs / "one-half" / "rows", 1e-2)
