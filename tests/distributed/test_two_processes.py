"""The penalty in two real processes: the same gradients and weights as in one, to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

WORKER = Path(__file__).with_name("worker.py")
OPTIONS: dict[str, dict[str, Any]] = {
    "factors": {"lam": 0.3},
    "rows-init": {"lam": 0.3, "view": "rows", "reference": "init", "scope": "B"},
    "delta": {"lam": 0.05, "view": "delta"},
    "delta-decoupled": {"lam": 0.01, "view": "delta", "coupling": "decoupled"},
    "permuted": {"lam": 0.3, "control": "permuted"},
    "target": {"lam": 0.3, "schedule": "target", "target": 0.2},
}


def start(mode: str, output: Path, options: dict[str, Any], processes: int) -> None:
    arguments = [str(WORKER), mode, str(output), json.dumps(options)]
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_addr", "127.0.0.1"]
    launcher += ["--master_port", "0", "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"]
    done = subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", pytest.param("fsdp2", marks=pytest.mark.thorough)])
def test_two_processes_train_as_one(engine: str, tmp_path: Path) -> None:
    output = tmp_path / "seen.json"
    start(engine, output, OPTIONS, processes=2)
    found = json.loads(output.read_text())
    assert found.keys() == OPTIONS.keys()
    for name, seen in found.items():
        assert seen["same"], name
        assert seen["scale"] > 0.1, name
        assert seen["worst"] < 1e-5 * seen["scale"], name


@pytest.mark.slow
@pytest.mark.thorough
def test_the_mixin_under_torchrun_trains_as_alone(tmp_path: Path) -> None:
    options = {"lam": 0.3, "view": "rows", "reference": "init"}
    start("trainer", tmp_path / "two.pt", options, processes=2)
    start("alone", tmp_path / "one.pt", options, processes=1)
    two, one = (torch.load(tmp_path / f"{name}.pt") for name in ("two", "one"))
    for a, b in zip(two, one, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
