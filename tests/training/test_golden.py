"""Golden trajectories: a small model trained through the command line logs the losses that it always has.

A change of data, mask, optimizer, schedule or penalty moves them by far more than the rounding of another processor,
for which the tolerance leaves room: scalar code, AVX2 and AVX-512 agree to 2e-6. Where a change means
to move them, the failing test shows the new values.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flexlora.files import read_appended

COMMON = {
    "data": [{"dataset": "mbpp"}],
    "validation": [{"dataset": "mbpp", "split": "validation"}],
    "tasks": ["humaneval"],
    "lora": {"dropout": 0.0},
    "train": {
        "max_steps": 9,
        "gradient_accumulation_steps": 2,
        "max_length": 96,
        "logging_steps": 3,
        "save_steps": 9,
        "eval_steps": 9,
        "warmup_steps": 2,
    },
}
CASES: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": {"learning_rate": 0.02}, "penalty": {"lam": 0.5}},
    "sophia": {
        "optimizer": {"name": "sophia", "learning_rate": 0.01, "rho": 1.6, "bias_correction": True},
        "penalty": {"lam": 0.05, "view": "delta"},
    },
}
FIGURES = ("loss", "eval_loss", "grad_norm", "penalty", "high_frequency_share")
GOLDEN: dict[str, list[dict[str, float]]] = {
    "adamw": [
        {"loss": 5.920913, "grad_norm": 2.467488, "penalty": 1.652127, "high_frequency_share": 0.2899314},
        {"loss": 5.896713, "grad_norm": 0.9617576, "penalty": 0.3071664, "high_frequency_share": 0.06020485},
        {"loss": 5.875467, "grad_norm": 0.6521764, "penalty": 0.2055997, "high_frequency_share": 0.03898432},
        {"eval_loss": 5.893521},
    ],
    "sophia": [
        {"loss": 5.924887, "grad_norm": 0.06174638, "penalty": 0.02094808, "high_frequency_share": 0.6979612},
        {"loss": 5.813496, "grad_norm": 0.1997854, "penalty": 0.09531267, "high_frequency_share": 0.5724079},
        {"loss": 5.652278, "grad_norm": 0.2175189, "penalty": 0.1077477, "high_frequency_share": 0.5251421},
        {"eval_loss": 5.69462},
    ],
}
"""Case -> the figures of each line of the log."""


def trajectory(case: str, model: Path, data: Path, folder: Path) -> list[dict[str, float]]:
    """The figures of every line that a training through the command line logs."""
    recipe = folder / f"{case}.yaml"
    recipe.write_text(json.dumps({"model": str(model), "data_dir": str(data), **COMMON, **CASES[case]}))
    command = [sys.executable, "-m", "flexlora", "train", str(recipe), "--output", str(folder / case)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = read_appended(folder / case / "main" / "train" / "log.jsonl")
    return [{name: line[name] for name in FIGURES if name in line} for line in lines]


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.thorough if case == "sophia" else ()) for case in CASES]
)
def test_the_losses_are_those_they_always_were(case: str, small_model: Path, benchmark: Path, tmp_path: Path) -> None:
    found = trajectory(case, small_model, benchmark, tmp_path)
    assert len(found) == len(GOLDEN[case])
    for line, expected in zip(found, GOLDEN[case], strict=True):
        assert line.keys() == expected.keys()
        for name, value in expected.items():
            assert line[name] == pytest.approx(value, rel=1e-4 if "loss" in name else 2e-3), found
