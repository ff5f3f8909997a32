"""Engines that leave the penalty or Sophia nothing to work on, refused before a model is loaded."""

from __future__ import annotations

import os

import torch
from transformers import TrainingArguments
from transformers.utils import strtobool

from flexlora.capabilities import require


def refuse_engines(arguments: TrainingArguments | None = None, **setting: str) -> None:
    """Refuse DeepSpeed, FSDP1 and Liger on a processor, and what else the setting does not go with.

    Args:
        arguments: of a trainer; None looks only at what a launcher has set for this process.
        **setting: axes of `flexlora.capabilities` that are known, e.g. `optimizer="sophia"`.

    Raises:
        UsageError: one of them is asked for; says what to use.
    """
    if getattr(arguments, "deepspeed", None) or _launched("ACCELERATE_USE_DEEPSPEED"):
        require("python", **setting, parallelism="DeepSpeed")
    if (size := _parallel(arguments, "sp_size")) > 1:  # DeepSpeed is the only one that Accelerate has for it
        require("python", f"sequence parallelism by DeepSpeed (sp_size {size})", **setting, parallelism="DeepSpeed")
    if (size := _parallel(arguments, "cp_size")) > 1:
        require("python", f"context parallelism (cp_size {size})", **setting, parallelism="context")
    if getattr(arguments, "use_liger_kernel", False):
        require("python", **setting, kernels="Liger", device="cuda" if torch.cuda.is_available() else "cpu")
    plugin = getattr(arguments, "fsdp_plugin_args", None)
    version = str(plugin["fsdp_version"]) if plugin else os.environ.get("FSDP_VERSION", "1")
    if (plugin or _launched("ACCELERATE_USE_FSDP")) and version != "2":
        require("python", **setting, parallelism="FSDP1")


def _parallel(arguments: TrainingArguments | None, size: str) -> int:
    """A size of Accelerate's ParallelismConfig, as the arguments or, without one there, a launcher gives it."""
    config = getattr(arguments, "parallelism_config", None)
    if config is not None:
        return int(getattr(config, size) or 1)
    if not _launched("ACCELERATE_USE_PARALLELISM_CONFIG"):
        return 1
    return int(os.environ.get(f"PARALLELISM_CONFIG_{size.upper()}", "1"))


def _launched(variable: str) -> bool:
    return bool(strtobool(os.environ.get(variable, "false")))
