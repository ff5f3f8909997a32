"""Recipes in two real processes: the run is the one of a single process, whatever is killed or refused on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from flexlora.files import read_appended
from flexlora.training.log import MEASURED

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
TORCHRUN = [
    *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1"),
    *("--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"),
]
FLEXLORA = ["-m", "flexlora"]


@pytest.fixture
def recipe(benchmark: Path, small_model: Path, tmp_path: Path) -> Path:
    values: dict[str, Any] = {
        "model": str(small_model),
        "data_dir": str(benchmark),
        # 22 examples in steps of 8: three steps an epoch, of which the last is not full. A checkpoint after the fourth.
        "data": [{"dataset": "mbpp", "limit": 22}],
        "validation": [{"dataset": "mbpp", "split": "validation"}],
        "tasks": [{"name": "humaneval", "limit": 3}],
        "lora": {"dropout": 0},
        "sampling": {"n": 2, "temperature": 0.8, "max_new_tokens": 8},
        "train": {
            "epochs": 2,
            "gradient_accumulation_steps": 2,
            "max_length": 96,
            "logging_steps": 1,
            "eval_steps": 3,
            "save_steps": 2,
            "spectrum_steps": 3,
        },
        "arms": {
            "adamw": {"optimizer": {"learning_rate": 0.01}, "penalty": {"lam": 0.05}},
            "sophia": {
                "optimizer": {"name": "sophia", "learning_rate": 0.003, "hessian_interval": 2},
                "penalty": {"lam": 0.05, "view": "delta", "reference": "init"},
            },
        },
    }
    file = tmp_path / "recipe.json"  # which is YAML
    file.write_text(json.dumps(values))
    return file


def run(*command: str | Path, launcher: list[str]) -> subprocess.CompletedProcess[str]:
    arguments = [*launcher, *FLEXLORA, *map(str, command)]
    return subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)


def log(folder: Path) -> list[dict[str, Any]]:
    return [{key: record[key] for key in record if key not in MEASURED} for record in read_appended(folder)]


def kill_after(checkpoint: Path, *command: str | Path) -> None:
    """Start two processes, and kill them with their launcher once a checkpoint is there."""
    group = subprocess.Popen(
        [*TORCHRUN, *FLEXLORA, *map(str, command)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for _ in range(10_000):
        if checkpoint.exists():
            break
        assert group.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    members = subprocess.run(["pgrep", "-s", str(group.pid)], capture_output=True, text=True, check=True).stdout.split()
    for process in members:  # torchrun gives each of its own a process group
        with suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)
    group.wait()


@pytest.mark.thorough
@pytest.mark.slow
def test_two_processes_make_the_run_of_one_also_where_they_were_killed(recipe: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    alone = run("run", recipe, "--output", one, launcher=[sys.executable])
    assert alone.returncode == 0, alone.stderr
    kill_after(two / "adamw/train/checkpoints/checkpoint-4", "train", recipe, "--output", two)
    # What one of the processes had generated when it was killed.
    (two / "base" / "humaneval").mkdir(parents=True)
    samples = read_appended(one / "base" / "humaneval" / "samples.jsonl")
    (two / "base" / "humaneval" / "samples.1.jsonl").write_text(json.dumps(samples[0]) + "\n")
    both = run("run", recipe, "--output", two, "--json", launcher=TORCHRUN)
    assert both.returncode == 0, both.stderr
    assert len(both.stdout.splitlines()) == 1  # the first process alone speaks
    assert json.loads(both.stdout)["scores"]
    for arm in ("adamw", "sophia"):
        expected, found = (load_file(path / arm / "train/adapter/adapter_model.safetensors") for path in (one, two))
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)
        for file in ("log.jsonl", "spectrum.jsonl"):
            lines = [log(path / arm / "train" / file) for path in (one, two)]
            assert len(lines[0]) == len(lines[1])
            for line, other in zip(*lines, strict=True):
                assert plain(other) == pytest.approx(plain(line), rel=1e-3, abs=1e-5)
    for folder in ("base", "adamw/eval/adapter", "sophia/eval/adapter"):
        texts = [
            {
                (r["task_id"], r["sample"]): r["completion"]
                for r in read_appended(path / folder / "humaneval/samples.jsonl")
            }
            for path in (one, two)
        ]
        assert texts[0] == texts[1]
        assert len(texts[0]) == 6
        assert [path.name for path in (two / folder / "humaneval").glob("samples*")] == ["samples.jsonl"]
    assert json.loads((two / "environment.json").read_text())["processes"] == 2


def plain(line: dict[str, Any]) -> list[float]:
    """The numbers of a line, in their order; how often tokens were right is logged of the first process's share."""
    if isinstance(line, dict):
        return [number for key, value in line.items() if key != "mean_token_accuracy" for number in plain(value)]
    if isinstance(line, list):
        return [number for value in line for number in plain(value)]
    return [line] if isinstance(line, int | float) else []


@pytest.mark.thorough
@pytest.mark.slow
def test_a_launcher_that_starts_one_process_is_found_out(recipe: Path, tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    done = run("train", recipe, "--output", tmp_path / "run", launcher=launcher)
    assert "was asked for 2 processes and started one" in done.stderr
    assert done.returncode != 0
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.thorough
def test_an_error_is_said_once_and_ends_all(recipe: Path, tmp_path: Path) -> None:
    done = run(
        "train",
        recipe,
        "--set",
        "train.batch_size=3",
        "--set",
        "train.gradient_accumulation_steps=1",
        launcher=TORCHRUN,
    )
    assert done.returncode != 0
    assert done.stderr.count("the 3 examples of a step") == 1
    assert "train.batch_size=2 and train.gradient_accumulation_steps=2" in done.stderr
