"""Sophia-G in two real processes: the curvature, weights and figures of one process on the joined batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("sophia_worker.py")
CHECKPOINT_WORKER = Path(__file__).with_name("sophia_checkpoint_worker.py")


def start(arguments: list[str], processes: int, worker: Path = WORKER) -> None:
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_addr", "127.0.0.1"]
    launcher += ["--master_port", "0", "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"]
    done = subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), str(worker), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode",
    [
        "fsdp2",
        *(pytest.param(mode, marks=pytest.mark.thorough) for mode in ("ddp", "hsdp", "partial", "sums", "plain")),
    ],
)
def test_two_processes_estimate_as_one(mode: str, tmp_path: Path) -> None:
    output = tmp_path / "seen.json"
    start([mode, str(output)], processes=2)
    seen = json.loads(output.read_text())
    assert seen["same"]
    for error, size in (seen["h"], seen["weights"]):
        assert size > 1e-3
        assert error < 1e-4 * size
    alone, together = seen["statistics"]
    assert 0.1 < alone["clipped_fraction"] < 0.9
    for name, value in alone.items():
        assert together[name] == pytest.approx(value, rel=1e-3, abs=1e-3), name


@pytest.mark.thorough
@pytest.mark.slow
def test_a_sharded_training_goes_on_from_a_checkpoint_to_the_same_bits(tmp_path: Path) -> None:
    output = tmp_path / "seen.json"
    start([str(output)], processes=2, worker=CHECKPOINT_WORKER)
    seen = json.loads(output.read_text())
    for way in ("sharded", "full", "flat", "accelerate"):
        assert seen[way] == [[[], []], [[], []]], way  # on both ranks: once loaded, and at the end
    assert seen["estimates"] == 3
    assert 0.1 < seen["clipped"] < 0.9


@pytest.mark.thorough
@pytest.mark.slow
def test_the_mixin_under_torchrun_trains_as_alone(tmp_path: Path) -> None:
    start(["trainer", str(tmp_path / "two.pt")], processes=2)
    start(["alone", str(tmp_path / "one.pt")], processes=1)
    two, one = (torch.load(tmp_path / f"{name}.pt") for name in ("two", "one"))
    for a, b in zip(two, one, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
