"""Sequential fine-tuning: a saved adapter that another training goes on from (`lora.init_adapter`; paper.txt 8.2).

The adapter goes on as it is, so base model, kind, rank, scaling and targets must be those that it was trained with. Its
optimizer does not: a training that starts from an adapter begins at step 0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file

from flexlora import models
from flexlora.adapters.saved import CONFIG, WEIGHTS
from flexlora.adapters.source import (
    CHANGES_THE_BASE,
    Adapter,
    compare_tensors,
    find_base,
    open_adapter,
    recorded_base,
    run_of,
)
from flexlora.errors import UsageError
from flexlora.recipe import ModelSource

RECIPE_KEYS = {
    "r": "lora.rank",
    "lora_alpha": "lora.alpha",
    "target_modules": "lora.targets",
    "use_rslora": "lora.use_rslora",
    "use_dora": "lora.use_dora",
}
"""PEFT's name -> the recipe's key."""
MAY_DIFFER = (
    "base_model_name_or_path",  # compared by itself
    "revision",
    "init_lora_weights",  # likewise
    "inference_mode",
    "lora_dropout",
    "task_type",
    "auto_mapping",
    "runtime_config",
    "peft_version",
)
"""What says nothing about the function that the adapter computes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialAdapter:
    """An adapter to start from."""

    adapter: Adapter
    run: Path | None
    """The run that trained it; None where it lies elsewhere."""
    arm: str | None
    """The arm of that run."""


def find_initial(name: str) -> InitialAdapter:
    """The adapter that `lora.init_adapter` names: its folder, a run with one adapter, a run's arm, or a hub id.

    Raises:
        UsageError: there is none, it is damaged, or the run has several.
    """
    folder = Path(name).expanduser()
    if folder.is_dir() and not (folder / CONFIG).is_file():
        places = (folder / "train" / "adapter", *sorted(folder.glob("*/train/adapter")))
        inside = [path for path in places if (path / CONFIG).is_file()]
        if len(inside) > 1:
            raise UsageError(
                f"lora.init_adapter: {name!r} holds {len(inside)} adapters; name one of {', '.join(map(str, inside))}."
            )
        folder = inside[0] if inside else folder
    try:
        adapter = open_adapter(folder if folder.is_dir() else name)
    except UsageError as error:
        raise UsageError(f"lora.init_adapter: {error}") from error
    run, arm = run_of(adapter) or (None, None)
    return InitialAdapter(adapter=adapter, run=run, arm=arm)


def check_initial(initial: InitialAdapter, adapted: PeftModel, base: ModelSource) -> None:
    """Refuse an adapter that another configuration or another base has made.

    Args:
        adapted: the base (a skeleton will do) with a fresh adapter as the recipe describes it.
        base: the recipe's model.

    Raises:
        UsageError: names each value there and in the recipe, and the remedy.
    """
    # Versions of PEFT that did not have these did not write them.
    name, config = str(initial.adapter.path), {"use_rslora": False, "use_dora": False, **initial.adapter.config}
    expected = json.loads(json.dumps(adapted.peft_config["default"].to_dict(), default=sorted))
    problems = []
    for key in sorted(expected.keys() & config.keys() - set(MAY_DIFFER)):
        there, here = (sorted(v) if isinstance(v, list) else v for v in (config[key], expected[key]))
        if (there or None) != (here or None):  # null, empty and false are one
            where = RECIPE_KEYS.get(key)
            remedy = f"set {where} to {json.dumps(there)}" if where else "only LoRA, rsLoRA and DoRA are continued"
            problems.append(f"{where or key} is {there!r} there and {here!r} here; {remedy}")
    problems += [
        f"{key} is {config[key]!r} there, which this version of PEFT does not know; only LoRA, rsLoRA and DoRA "
        "are continued"
        for key in sorted(config.keys() - expected.keys() - set(MAY_DIFFER))
        if config[key]
    ]
    if str(config.get("init_lora_weights")).startswith(CHANGES_THE_BASE):
        problems.append(f"init_lora_weights = {config['init_lora_weights']!r} there has changed the base itself")
    if not problems and (wrong := _other_base(initial, base)):
        problems.append(wrong)
    if problems:
        raise UsageError(f"lora.init_adapter: {name!r} does not match the recipe: {'; '.join(problems)}.")
    compare_tensors(initial.adapter, base, get_peft_model_state_dict(adapted, save_embedding_layers=False))


def _other_base(initial: InitialAdapter, base: ModelSource) -> str | None:
    """What is wrong with the base: by the hash or revision that the adapter's run recorded, or else by name."""
    if initial.run is not None:
        recorded = recorded_base(initial.run)
        now = models.identity(base)
        by = "revision" if recorded["sha256"] is None and now["sha256"] is None else "sha256"
        there, here = (identity[by] if identity[by] else _sha256_of_cached(identity) for identity in (recorded, now))
        if there is None or here is None:
            return (
                f"its base was {recorded['model']!r} ({_version(recorded)}), and whether {now['model']!r} "
                f"({_version(now)}) is the same cannot be seen, as one of them is not on this machine; name that model"
            )
        if there != here:
            return (
                f"its base was {recorded['model']!r} ({_version(recorded)}), and model is {now['model']!r} "
                f"({_version(now)}); name that model"
            )
        if (was := recorded.get("quantization")) != base.quantization:
            return (
                f"quantization was {was or 'null'} there and is {base.quantization or 'null'} here; set it to the same"
            )
        return None
    named = initial.adapter.config.get("base_model_name_or_path")
    if named and _place(models.place(find_base(initial.adapter, None))) != _place(models.place(base)):
        return (
            f"its base was {named!r}, and model is {base.name!r}; name that model, or, if the two are the same, write "
            f"this one into its {CONFIG}"
        )
    return None


def load_initial(model: PeftModel, initial: InitialAdapter) -> None:
    """Give the fresh adapter of a model the saved one's values.

    Raises:
        UsageError: the values do not fit.
    """
    values: dict[str, torch.Tensor] = load_file(initial.adapter.path / WEIGHTS)
    left = set_peft_model_state_dict(model, values)
    missing = [key for key in left.missing_keys if ".lora_" in key]
    if missing or left.unexpected_keys:
        wrong = (missing or left.unexpected_keys)[0]
        raise UsageError(f"lora.init_adapter: {str(initial.adapter.path)!r} does not fit the model, e.g. {wrong}.")


def _sha256_of_cached(identity: dict[str, Any]) -> str | None:
    """The hash of a hub model's weights; None where they are not in the hub's cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(identity["model"], revision=identity["revision"], local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return models.weights_sha256(folder) if models.weight_files(folder) else None


def _version(identity: dict[str, Any]) -> str:
    return f"sha256 {identity['sha256'][:12]}" if identity["sha256"] else f"revision {identity['revision']}"


def _place(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).is_dir() else name
