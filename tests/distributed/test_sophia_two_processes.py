"""Sophia-G in two real processes: the curvature, weights and figures of one process on the joined batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("sophia_worker.py")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["ddp", "fsdp2", "plain"])
def test_two_processes_estimate_as_one(mode: str, tmp_path: Path) -> None:
    output = tmp_path / "seen.json"
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1"]
    launcher += ["--master_port", "0", "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"]
    done = subprocess.run(
        [sys.executable, *launcher, str(WORKER), mode, str(output)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(output.read_text())
    assert seen["same"]
    for error, size in (seen["h"], seen["weights"]):
        assert size > 1e-3
        assert error < 1e-4 * size
    alone, together = seen["statistics"]
    assert 0.1 < alone["clipped_fraction"] < 0.9
    for name, value in alone.items():
        assert together[name] == pytest.approx(value, rel=1e-3, abs=1e-3), name
