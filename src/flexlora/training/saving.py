"""An adapter's folder that is there whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch


def save_adapter(model: Any, adapter: Path, state: dict[str, torch.Tensor] | None) -> None:
    """Write PEFT's files aside, then rename: a kill leaves no half adapter.

    Args:
        model: the model with the adapter.
        adapter: the folder, in whose place there is none yet.
        state: its weights where they had to be gathered (`whole_adapter`).
    """
    aside = adapter.with_name(f".{adapter.name}.partial")
    if aside.exists():
        shutil.rmtree(aside)
    model.save_pretrained(aside, state_dict=state)
    aside.rename(adapter)
