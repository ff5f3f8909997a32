"""The A/B pairs of a saved LoRA adapter, read from PEFT's two files without the base model.

The scaling of each module follows PEFT: alpha / rank, or alpha / sqrt(rank) for rsLoRA, with the module's own rank and
alpha where `rank_pattern` or `alpha_pattern` names it. DoRA's magnitudes and modules that are saved whole are no LoRA
factors and are passed over.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from peft import LoraConfig, PeftConfig
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from safetensors.torch import load_file

from flexlora.errors import UsageError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
FACTOR = re.compile(r"(?P<module>.+)\.lora_(embedding_)?(?P<factor>[AB])(\.weight)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPair:
    """The saved factors of one adapted module: its update is `scaling * B @ A`."""

    module: str
    """As `lora_pairs` names it in the loaded model."""
    A: torch.Tensor
    """(r, n)"""
    B: torch.Tensor
    """(m, r)"""
    scaling: float


def saved_pairs(folder: Path) -> list[SavedPair]:
    """The pairs of a saved adapter, layers in the order of their numbers.

    Args:
        folder: holds `adapter_config.json` and `adapter_model.safetensors`.

    Raises:
        UsageError: a file is missing or damaged, or the adapter is no LoRA adapter of matrices.
    """
    config, tensors = _config(folder), _tensors(folder / WEIGHTS)
    factors: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        found = FACTOR.fullmatch(key)
        if found:
            factors.setdefault(found["module"], {})[found["factor"]] = tensor
    if not factors:
        raise UsageError(f"{folder / WEIGHTS}: holds no LoRA factors (lora_A, lora_B). Was the adapter saved by PEFT?")
    return [_pair(folder, config, module, factors[module]) for module in sorted(factors, key=_in_order)]


def adapters_below(folder: Path) -> list[str]:
    """Adapters in a folder that is none itself, checkpoints apart: for those who named a folder too high."""
    found = (str(path.parent) for path in sorted(folder.glob(f"**/{CONFIG}")))
    return [name for name in found if "/checkpoint" not in name]


def download(name: str) -> Path:
    """The folder of an adapter on the hub: its two files, and its tokenizer where there is one.

    Raises:
        UsageError: the name is no hub id, or the hub has no such adapter.
    """
    # A slip in a path such as runs/demo must not be looked for on the hub, which without a network takes half a minute.
    if name.startswith((".", "/", "~")) or name.count("/") != 1 or Path(name).parent.is_dir():
        raise UsageError(f"adapter {name!r}: there is no such folder, and it is no hub id (owner/name).")
    tokenizer = ["tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"]
    wanted = [CONFIG, WEIGHTS, *tokenizer, "chat_template*", "additional_chat_templates/*"]
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted))
        reason = "" if all((folder / file).is_file() for file in (CONFIG, WEIGHTS)) else "it holds no adapter"
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    if reason:
        raise UsageError(
            f"adapter {name!r}: no such folder here, and from the hub it cannot be loaded: {reason}. Its repository "
            f"needs {CONFIG} and {WEIGHTS}."
        )
    return folder


def _config(folder: Path) -> LoraConfig:
    path = folder / CONFIG
    try:
        kind = json.loads(path.read_bytes()).get("peft_type")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}). An adapter's folder has one.") from error
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{path}: damaged, not a JSON object ({error}). Copy or download it anew.") from error
    if kind != "LORA":
        raise UsageError(f"{path}: a spectrum is of LoRA factors; this adapter's peft_type is {kind!r}.")
    try:
        config = PeftConfig.from_pretrained(str(folder))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: PEFT cannot read it ({error}).") from error
    if config.target_parameters:
        raise UsageError(
            f"{path}: adapts parameters and not modules (target_parameters: {', '.join(config.target_parameters)}); "
            "its factors are of several experts at once, for which no spectrum is defined here."
        )
    return config


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return dict(load_file(path))
    except FileNotFoundError as error:
        older = path.with_name("adapter_model.bin")
        hint = f" {older.name} is PEFT's older format: load it with PEFT and save it again." if older.exists() else ""
        raise UsageError(
            f"{path}: there is no such file.{hint or ' Was the save or the download complete?'}"
        ) from error
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path}: damaged ({error}). Was the save or the download complete?") from error


def _pair(folder: Path, config: LoraConfig, module: str, factors: dict[str, torch.Tensor]) -> SavedPair:
    where = f"{folder / WEIGHTS}: {module}"
    if absent := {"A", "B"} - factors.keys():
        raise UsageError(f"{where}: lora_{absent.pop()} is missing. Was the save or the download complete?")
    A, B = factors["A"], factors["B"]
    shapes = f"lora_A {tuple(A.shape)} and lora_B {tuple(B.shape)}"
    if A.ndim != 2 or B.ndim != 2:
        raise UsageError(f"{where}: {shapes} are no matrices (a convolution's?); a spectrum is defined for matrices.")
    rank, alpha = _rank_and_alpha(config, module)
    if (len(A), B.shape[1]) != (rank, rank):
        raise UsageError(f"{where}: {shapes} do not have the rank {rank} that {CONFIG} says. Do the files go together?")
    if not (A.isfinite().all() and B.isfinite().all()):
        raise UsageError(f"{where}: holds values that are not finite; the training that made it diverged.")
    return SavedPair(module=module, A=A, B=B, scaling=alpha / (math.sqrt(rank) if config.use_rslora else rank))


def _rank_and_alpha(config: LoraConfig, module: str) -> tuple[int, float]:
    """As PEFT's LoraModel: a pattern's key matches the end of the module's name in the base model."""
    name = module.removeprefix(PREFIX)
    rank = config.rank_pattern.get(get_pattern_key(config.rank_pattern.keys(), name), config.r)
    alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), name), config.lora_alpha)
    return rank, alpha


def _in_order(module: str) -> list[tuple[int, str]]:
    """Sorts `layers.2` before `layers.10`."""
    return [(int(part) if part.isdigit() else -1, part) for part in module.split(".")]
