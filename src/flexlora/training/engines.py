"""Engines that leave the penalty or Sophia nothing to work on, refused before a model is loaded."""

from __future__ import annotations

import os

from transformers import TrainingArguments
from transformers.utils import strtobool

from flexlora.capabilities import require


def refuse_engines(arguments: TrainingArguments | None = None) -> None:
    """Refuse DeepSpeed and FSDP1.

    Args:
        arguments: of a trainer; None looks only at what a launcher has set for this process.

    Raises:
        UsageError: one of them is asked for; says what to use.
    """
    if getattr(arguments, "deepspeed", None) or _launched("ACCELERATE_USE_DEEPSPEED"):
        require("python", parallelism="DeepSpeed")
    plugin = getattr(arguments, "fsdp_plugin_args", None)
    version = str(plugin["fsdp_version"]) if plugin else os.environ.get("FSDP_VERSION", "1")
    if (plugin or _launched("ACCELERATE_USE_FSDP")) and version != "2":
        require("python", parallelism="FSDP1")


def _launched(variable: str) -> bool:
    return bool(strtobool(os.environ.get(variable, "false")))
