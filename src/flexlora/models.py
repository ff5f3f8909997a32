"""Models and tokenizers by path or hub name: checked cheaply first, loaded later.

`skeleton` builds a model on the meta device from its configuration alone, so that targets can be matched and
parameters counted before any weight is read. `check_weights` makes sure that there are weights to read.
"""

from __future__ import annotations

import gc
import hashlib
import inspect
import json
import warnings
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import cached_file

from flexlora.capabilities import require
from flexlora.errors import FlexError, UsageError
from flexlora.nf4 import nf4_config, same_when_evaluated
from flexlora.recipe import EMBEDDED, ModelSource
from flexlora.tiny import TINY_MODEL

WEIGHT_FILES = ("model*.safetensors", "pytorch_model*.bin")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def quiet() -> None:
    """Silence the libraries' own bars and notices, which would break up ours; errors still show."""
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    for library in ("transformers", "trl", "peft"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=library)


def device() -> torch.device:
    """The device that this process runs on: its GPU, or the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def free_memory() -> None:
    """Give back what models that are no longer named took."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def dtype_of(precision: str) -> torch.dtype:
    """The dtype of the base weights for a recipe's `precision`.

    Raises:
        UsageError: float16 on a processor, where training in it is not possible.
    """
    on_gpu = torch.cuda.is_available()
    if precision == "auto":
        return torch.bfloat16 if on_gpu and torch.cuda.is_bf16_supported() else torch.float32
    if precision == "float16" and not on_gpu:
        require("recipe", "precision: no GPU is visible here", device="cpu", precision=precision)
    return DTYPES[precision]


def place(source: ModelSource) -> str:
    """What transformers is to load: a folder or a hub id."""
    return str(TINY_MODEL) if source.name == EMBEDDED else source.name


def skeleton(source: ModelSource) -> Any:
    """The model on the meta device: every shape, no weights.

    Raises:
        UsageError: there is no such model, or it is not a causal language model.
    """
    _refuse_missing_folder(source.name)
    try:
        config = AutoConfig.from_pretrained(
            place(source), revision=source.revision, trust_remote_code=source.trust_remote_code
        )
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=source.trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UsageError(f"model {source.name!r}: cannot be loaded: {_first_line(error)}. {_HINT}") from error


def check_weights(source: ModelSource) -> int:
    """Bytes of weights that a model's folder or hub repository holds.

    Raises:
        UsageError: the folder or repository has no weights, or cannot be looked into.
    """
    folder = Path(place(source))
    if folder.is_dir():
        sizes = [file.stat().st_size for file in weight_files(folder)]
        _check_shards(folder)
    else:
        sizes = _hub_weight_sizes(source.name, source.revision)
    if not sizes:
        raise UsageError(
            f"model {source.name!r}: no weights ({' or '.join(WEIGHT_FILES)}) beside its config.json. Was the "
            "download or the save complete?"
        )
    return sum(sizes)


def _check_shards(folder: Path) -> None:
    """Every file that the index names is there, and every safetensors file can be opened."""
    for index in folder.glob("*.index.json"):
        named = set(json.loads(index.read_bytes())["weight_map"].values())
        if absent := sorted(name for name in named if not (folder / name).is_file()):
            raise UsageError(
                f"model {str(folder)!r}: {len(absent)} of {len(named)} weight files are missing (e.g. {absent[0]}). "
                "Was the download complete?"
            )
    for file in folder.glob("model*.safetensors"):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise UsageError(
                f"model {str(folder)!r}: {file.name} is damaged ({_first_line(error)}). Was the download complete?"
            ) from error


def weight_files(folder: Path) -> list[Path]:
    """The weight files in a model folder, safetensors before the older format."""
    for pattern in WEIGHT_FILES:
        if found := sorted(folder.glob(pattern)):
            return found
    return []


def load_tokenizer(source: ModelSource) -> Any:
    """The tokenizer of a model, with the recipe's special tokens, padding on the left.

    A tokenizer without a padding token pads with its EOS token; padding is masked by position, so that EOS itself
    is still learned.

    Raises:
        UsageError: there is no tokenizer or no EOS token, or a named token is not in the vocabulary.
    """
    _refuse_missing_folder(source.name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            place(source),
            revision=source.revision,
            trust_remote_code=source.trust_remote_code,
            padding_side="left",
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = _first_line(error)
        raise UsageError(f"model {source.name!r}: its tokenizer cannot be loaded: {reason}. {_HINT}") from error
    for role in ("eos_token", "pad_token"):
        token = getattr(source.tokenizer, role)
        if token is None:
            continue
        if token not in tokenizer.get_vocab():
            raise UsageError(
                f"tokenizer.{role}: {token!r} is not in the vocabulary of {source.name!r}; name a token that is."
            )
        setattr(tokenizer, role, token)
    if tokenizer.eos_token_id is None:
        raise UsageError(
            f"model {source.name!r}: its tokenizer has no EOS token, so completions could neither be taught nor seen "
            "to end. Name one of its tokens with --set tokenizer.eos_token=TOKEN (its special tokens: "
            f"{', '.join(tokenizer.all_special_tokens) or 'none'})."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Ids of a prompt to be continued: no EOS at its end, even from tokenizers that append one."""
    ids: list[int] = tokenizer(prompt)["input_ids"]
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id and not prompt.endswith(tokenizer.eos_token) else ids


def chat_text(tokenizer: Any, message: str) -> str:
    """A user's message in the tokenizer's chat template, up to where the answer begins.

    Raises:
        UsageError: the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise UsageError(
            f"prompting.style: chat and chat-plan ask through a chat template, and the tokenizer of "
            f"{tokenizer.name_or_path!r} has none; take the model's instruct variant, or the style plain or plan."
        )
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
    )
    return text


def encode_chat(tokenizer: Any, message: str) -> list[int]:
    """Ids of `chat_text`; the template has the special tokens, so that none is added."""
    ids: list[int] = tokenizer(chat_text(tokenizer, message), add_special_tokens=False)["input_ids"]
    return ids


def load_model(source: ModelSource, onto: torch.device | None = None) -> Any:
    """The base model in the recipe's precision, or quantised as it says.

    Args:
        onto: its device; None is `device()`, on which a quantised one always is.

    Raises:
        UsageError: it cannot be loaded.
        FlexError: it is too large for the device.
    """
    dtype = dtype_of(source.precision)
    quantised = {"quantization_config": nf4_config(dtype)} if source.quantization else {}
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            place(source),
            revision=source.revision,
            dtype=dtype,
            trust_remote_code=source.trust_remote_code,
            output_loading_info=True,
            **quantised,
        )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise UsageError(f"model {source.name!r}: cannot be loaded: {_first_line(error)}. {_HINT}") from error
    if wrong := sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}):
        raise UsageError(
            f"model {source.name!r}: {len(wrong)} of its weights are not in its files, or of another shape (e.g. "
            f"{wrong[0]}), and would be random. Is it a causal language model, and was the download complete?"
        )
    if quantised:
        same_when_evaluated(model)
        return model  # it was put on the device to be packed
    try:
        return model.to(device() if onto is None else onto)
    except torch.OutOfMemoryError as error:
        raise FlexError(
            f"model {source.name!r}: does not fit into the memory of one GPU. train.sharding=fsdp2 trains it in parts, "
            "one for each of several processes; generating, each process holds the whole of it, and needs a larger GPU."
        ) from error


def keeps_cache(model: Any) -> bool:
    """Whether a model keeps a key-value cache, which generation is built on; state-space models do not."""
    return "past_key_values" in inspect.signature(model.forward).parameters


def context_length(model: Any) -> int | None:
    """Most tokens a model can attend to, or None where it sets no limit."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def identity(source: ModelSource) -> dict[str, Any]:
    """What exactly a model is, for provenance: a hub id with its commit, or a folder with the hash of its weights.

    One that is quantised here also has `quantization`.
    """
    name = source.name
    folder = Path(place(source))
    here = {"quantization": source.quantization} if source.quantization else {}
    if folder.is_dir():
        return {"model": name, "revision": None, "sha256": weights_sha256(folder), **here}
    # The hub's cache keeps each file under snapshots/COMMIT/.
    config = cached_file(name, "config.json", revision=source.revision)
    return {"model": name, "revision": Path(config).parent.name, "sha256": None, **here}


def weights_sha256(folder: Path) -> str:
    """The hash of the hashes of a model's weight files."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _refuse_missing_folder(name: str) -> None:
    """Say at once that a path leads nowhere, rather than look for it on the hub."""
    if name.startswith((".", "/", "~")) and not Path(name).is_dir():
        raise UsageError(f"model {name!r}: there is no such folder.")


def _hub_weight_sizes(name: str, revision: str | None) -> list[int]:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is not in its __all__
        HfHubHTTPError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        files = HfApi().model_info(name, revision=revision, files_metadata=True).siblings or []
    except (HfHubHTTPError, HTTPError, OfflineModeIsEnabled, OSError) as error:
        try:  # without a connection a complete copy in the cache will do
            cached = snapshot_download(name, revision=revision, local_files_only=True)
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
            raise UsageError(f"model {name!r}: cannot be found: {_first_line(error)}. {_HINT}") from error
        return [file.stat().st_size for file in weight_files(Path(cached))]
    top = {file.rfilename: file.size or 0 for file in files if "/" not in file.rfilename}
    for pattern in WEIGHT_FILES:
        if sizes := [size for name, size in top.items() if fnmatch(name, pattern)]:
            return sizes
    return []


_HINT = "Give a folder with config.json, weights and tokenizer, or a Hugging Face hub id (owner/name)."


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
