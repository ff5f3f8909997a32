"""What `flexlora merge` is given, checked before any weight is read: the adapter, its base, and room for both."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open

from flexlora import models
from flexlora.adapters.saved import CONFIG, WEIGHTS, adapters_below, download
from flexlora.adapters.sites import merge_sites, shared_names
from flexlora.errors import UsageError
from flexlora.recipe import EMBEDDED, ModelSource, absolute_if_local

STORED = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
GIB = 1 << 30
CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations that take from the base what they give the adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A LoRA adapter in PEFT's format, on disk."""

    path: Path
    config: dict[str, Any]

    @property
    def rank(self) -> int:
        """The r of its configuration."""
        return int(self.config["r"])

    def identity(self) -> dict[str, Any]:
        """Where it is and the hashes of its two files."""
        hashes = {name: hashlib.sha256((self.path / name).read_bytes()).hexdigest() for name in (CONFIG, WEIGHTS)}
        return {"path": str(self.path), "sha256": hashes}


def find_adapter(name: str | Path) -> Adapter:
    """`open_adapter`, of a kind that can be merged.

    Raises:
        UsageError: there is none, it is damaged, or it is of a kind that this does not merge.
    """
    adapter = open_adapter(name)
    _refuse_other_kinds(str(name), adapter.config)
    return adapter


def open_adapter(name: str | Path) -> Adapter:
    """The adapter in a folder, or in a hub repository (which is downloaded: adapters are small).

    Raises:
        UsageError: there is none, or it is damaged.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = download(str(name))
    missing = [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]
    if missing:
        inside = adapters_below(folder)
        hint = f" There is {' and '.join(inside)}." if inside else " A run keeps its adapters in RUN/ARM/train/adapter."
        raise UsageError(f"adapter {str(name)!r}: no {' and no '.join(missing)} in it.{hint}")
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        with safe_open(folder / WEIGHTS, framework="pt"):
            pass
    except (ValueError, OSError, SafetensorError) as error:
        raise UsageError(f"adapter {str(name)!r}: damaged ({error}). Was the download or the save complete?") from error
    return Adapter(path=folder, config=config)


def run_of(adapter: Adapter) -> tuple[Path, str] | None:
    """The run that trained an adapter, and the arm; None where it lies elsewhere."""
    path = adapter.path.resolve()
    of_run = path.name == "adapter" and path.parent.name == "train" and (path.parents[2] / "environment.json").is_file()
    return (path.parents[2], path.parents[1].name) if of_run else None


def recorded_base(run: Path) -> dict[str, Any]:
    """What `flexlora.models.identity` said of a run's base when the run began."""
    recorded: dict[str, Any] = json.loads((run / "environment.json").read_bytes())["inputs"]["models"][0]
    return recorded


def _refuse_other_kinds(name: str, config: dict[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise UsageError(f"adapter {name!r}: of type {kind!r}; only LoRA adapters (peft_type LORA) are merged.")
    if str(config.get("init_lora_weights")).startswith(CHANGES_THE_BASE):
        raise UsageError(
            f"adapter {name!r}: init_lora_weights = {config['init_lora_weights']!r} has changed the base itself, so "
            "that this adapter is no update of the base as it is stored. Let PEFT convert it to a plain one "
            "(save_pretrained with path_initial_model_for_weight_conversion), and merge that."
        )
    wrong = {
        "bias": config.get("bias", "none") != "none",
        "trainable_token_indices": bool(config.get("trainable_token_indices")),
        "target_parameters": bool(config.get("target_parameters")),
        "layer_replication": bool(config.get("layer_replication")),
        "alora_invocation_tokens": bool(config.get("alora_invocation_tokens")),
    }
    if given := [key for key, is_given in wrong.items() if is_given]:
        raise UsageError(
            f"adapter {name!r}: has {given[0]} = {config[given[0]]!r}, which cannot be merged with an "
            "audit. Use PEFT's own merge_and_unload where it can, or leave the adapter unmerged."
        )


def find_base(adapter: Adapter, model: str | ModelSource | None) -> ModelSource:
    """The base that the adapter names, or the one that is given instead.

    Raises:
        UsageError: none is named.
    """
    if isinstance(model, ModelSource):
        return model.model_copy(update={"precision": "float32", "quantization": None})
    if model is not None:
        return ModelSource(name=absolute_if_local(model), precision="float32")
    named = adapter.config.get("base_model_name_or_path")
    if not named:
        raise UsageError(f"adapter {str(adapter.path)!r}: names no base model; give it with --model.")
    if named.endswith("/flexlora/tiny/model"):  # of whatever installation it was trained in
        named = EMBEDDED
    return ModelSource(name=named, revision=adapter.config.get("revision"), precision="float32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """An adapter on its base, as far as shapes tell."""

    config: Any
    """The base's configuration."""
    parameters: int
    """Of the merged model."""
    changed: int
    """Values that merging changes."""
    adapter: int
    """Values of the adapter, modules that were saved whole included."""
    largest: int
    """Values of the largest weight that it changes."""
    inputs: int
    """Values that all adapted linear layers together read at one position."""
    context: int | None
    """Most tokens that the model can attend to."""
    untie: bool
    """The adapter changes one of two weights that the base shares: input and output embeddings."""


def check_fits(adapter: Adapter, base: ModelSource) -> Fit:
    """Put the adapter on the base's skeleton (shapes without weights).

    Raises:
        UsageError: the base is missing or quantised, or modules or shapes differ.
    """
    try:
        skeleton = models.skeleton(base)
        models.check_weights(base)
    except UsageError as error:
        raise UsageError(f"{error} (This is the adapter's base; --model names another.)") from error
    if quantised := getattr(skeleton.config, "quantization_config", None):
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised.quant_method
        raise UsageError(
            f"model {base.name!r}: is quantised ({method}); an update cannot be added to such weights. Name the "
            "unquantised model that it was made from with --model."
        )
    parameters, shared, context = skeleton.num_parameters(), shared_names(skeleton), models.context_length(skeleton)
    # Some initialisations (PiSSA, OLoRA) decompose the base's weights, which a skeleton does not have.
    config = LoraConfig.from_pretrained(adapter.path)
    config.init_lora_weights = False
    try:
        with torch.device("meta"):
            wrapped = get_peft_model(skeleton, config)
        sites = merge_sites(wrapped)
    except ValueError as error:
        raise UsageError(f"adapter {str(adapter.path)!r} does not fit {base.name!r}: {error}") from error
    wanted = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    compare_tensors(adapter, base, wanted, hint=" Name that with --model.")
    untied = bool(shared & {site.name for site in sites})
    if untied and getattr(config, "ensure_weight_tying", False):
        raise UsageError(
            f"adapter {str(adapter.path)!r}: adapts input and output embeddings as one (ensure_weight_tying), which is "
            "not audited. Merge it with PEFT's own merge_and_unload."
        )
    sizes = [site.parameter.numel() for site in sites]
    embedding = skeleton.get_input_embeddings().weight.numel() if untied else 0
    return Fit(
        config=skeleton.config,
        parameters=parameters + embedding,
        changed=sum(sizes),
        adapter=sum(value.numel() for value in wanted.values()),
        largest=max(sizes),
        inputs=sum(site.reads.shape[1] for site in sites if site.reads is not None),
        context=context,
        untie=untied,
    )


def compare_tensors(adapter: Adapter, base: ModelSource, wanted: dict[str, torch.Tensor], hint: str = "") -> None:
    """Refuse an adapter whose tensors are not finite, or not those that the base wants.

    Args:
        wanted: PEFT's state of such an adapter on the base; only shapes are used.
        hint: ends the message where shapes differ.

    Raises:
        UsageError: says which.
    """
    expected = {key: tuple(value.shape) for key, value in wanted.items()}
    with safe_open(adapter.path / WEIGHTS, framework="pt") as file:
        # PEFT saves an adapted embedding's base too.
        own = [key for key in list(file.keys()) if ".base_layer." not in key]
        found = {key: tuple(file.get_slice(key).get_shape()) for key in own}
        if broken := [key for key in own if not file.get_tensor(key).isfinite().all()]:
            raise UsageError(
                f"adapter {str(adapter.path)!r}: {broken[0]} holds values that are not finite; the training that made "
                "it diverged."
            )
    wrong = [key for key in sorted(expected.keys() | found.keys()) if expected.get(key) != found.get(key)]
    if wrong:
        key = wrong[0]
        raise UsageError(
            f"adapter {str(adapter.path)!r} does not fit {base.name!r}: {len(wrong)} of {len(found)} tensors differ, "
            f"e.g. {key}: {found.get(key, 'none')} in the adapter, {expected.get(key, 'none')} for this base. Was it "
            f"trained on another model?{hint}"
        )


def stored_dtype(base: ModelSource, config: Any) -> str:
    """The dtype of most of a base's values in its files; where those cannot say (older formats), of its configuration.

    Raises:
        UsageError: some values are of a dtype that float32 does not hold exactly, or that only scales give a meaning.
    """
    counts: Counter[str] = Counter()
    folder = Path(models.place(base))
    files = models.weight_files(folder) if folder.is_dir() else []
    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                for key in list(file.keys()):
                    part = file.get_slice(key)
                    counts[part.get_dtype()] += torch.Size(part.get_shape()).numel()
    if wrong := [dtype for dtype in counts if dtype not in STORED and not dtype.startswith(("I64", "BOOL"))]:
        raise UsageError(
            f"model {base.name!r}: has weights of dtype {wrong[0]}; those that can be merged are {', '.join(STORED)}. "
            "Name the unquantised model with --model."
        )
    counts = Counter({dtype: count for dtype, count in counts.items() if dtype in STORED})
    if counts:
        return STORED[counts.most_common(1)[0][0]]
    named = str(getattr(config, "dtype", None)).removeprefix("torch.")
    return named if named in models.DTYPES else "float32"


def check_memory(needed: int) -> None:
    """Refuse what would not fit into the memory of the device that the model goes to.

    Raises:
        UsageError: with the numbers.
    """
    where, free = _free_memory()
    if where != "memory" and needed > (there := _free_ram()):
        raise UsageError(
            f"merging needs about {needed / GIB:.1f} GiB of memory to load the model; {there / GIB:.1f} GiB are free."
        )
    if needed > free:
        other = "" if where == "memory" else ' CUDA_VISIBLE_DEVICES="" merges in the processor\'s memory instead.'
        raise UsageError(
            f"merging needs about {needed / GIB:.1f} GiB of {where} (the model in float32 and a copy of the weights "
            f"that change); {free / GIB:.1f} GiB are free.{other}"
        )


def _free_memory() -> tuple[str, int]:
    if models.device().type == "cuda":
        return "GPU memory", torch.cuda.mem_get_info()[0]
    return "memory", _free_ram()


def _free_ram() -> int:
    """What the machine has left, or this container, if that is less (cgroup v2)."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) << 10
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and (most := limit.read_text().strip()) != "max":
        free = min(free, int(most) - int(used.read_text()))
    return free


def check_output(output: Path, needed: int) -> None:
    """Refuse an output that exists, cannot be written, or would not fit on its disk.

    Raises:
        UsageError: says which.
    """
    if output.exists() or output.is_symlink():
        raise UsageError(f"{output}: exists, and nothing is overwritten; choose another --output.")
    parent = next(folder for folder in output.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UsageError(f"{output}: cannot be made, as {parent} is not a folder that can be written.")
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise UsageError(
            f"{output}: the merged model needs {needed / GIB:.1f} GiB of disk; {free / GIB:.1f} GiB are free there. "
            "Choose another --output or a smaller --dtype."
        )
