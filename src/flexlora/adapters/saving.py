"""Saving a merged model: aside, verified by loading it, and renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from flexlora import models
from flexlora.adapters.audit import MergeAudit
from flexlora.adapters.prompts import logits_of
from flexlora.errors import FlexError, UsageError
from flexlora.files import write_json

AUDIT_FILE = "merge_audit.json"
Complete = Callable[[Path, MergeAudit], None]


def save_merged(
    model: Any, tokenizer: Any, audit: MergeAudit, output: Path, ids: list[int], complete: Complete | None = None
) -> None:
    """Round what was not merged, save aside, verify, and rename.

    Args:
        model: the plain model in float32, its merged weights rounded to the audit's dtype already.
        ids: a prompt to compare the loaded model on.
        complete: writes further files into the verified folder, before it gets its name.

    Raises:
        FlexError: a weight is too large for the dtype, the disk is full, or what was saved does not load as it was.
        UsageError: `output` has come to exist.
    """
    dtype = models.DTYPES[audit.dtype]
    for name, value in model.named_parameters():
        rounded = value.to(dtype)
        if not rounded.isfinite().all():
            raise FlexError(
                f"{name}: some weights are too large for {audit.dtype} (the largest is {value.abs().max():.3g}); save "
                "in another --dtype. Nothing was written."
            )
        value.copy_(rounded)
    expected = logits_of(model, ids)
    device = model.device
    model.to(dtype)
    digests = _digests(model)
    with aside(output) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_json(folder / AUDIT_FILE, audit.as_dict())
        model.to("meta")  # makes room for what was saved
        _verify(folder, dtype, digests, expected, ids, device)
        if complete is not None:
            complete(folder, audit)


def _verify(
    folder: Path, dtype: torch.dtype, digests: dict[str, str], expected: Tensor, ids: list[int], device: torch.device
) -> None:
    """Load what was saved, as its users will: the dtype and every value are right, and so are a prompt's logits.

    Raises:
        FlexError: something differs.
    """
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    if loaded.dtype != dtype:
        raise FlexError(f"the saved model loads as {loaded.dtype}, not as {dtype}. Nothing was kept.")
    found = _digests(loaded)
    if wrong := sorted(name for name in digests.keys() | found.keys() if digests.get(name) != found.get(name)):
        raise FlexError(
            f"the saved model is not what was merged: {len(wrong)} weights differ, e.g. {wrong[0]}. Nothing was kept."
        )
    del loaded
    # In float32, as the expected logits were computed: those of a half dtype would differ by its rounding.
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    if not torch.allclose(logits_of(again, ids), expected, rtol=0, atol=1e-5 * float(expected.abs().max())):
        raise FlexError("the saved model, loaded, gives other logits than the merged one. Nothing was kept.")
    AutoTokenizer.from_pretrained(folder)


def _digests(model: Any) -> dict[str, str]:
    """A hash of every tensor's values, so that two models can be compared without both being in memory."""
    return {
        name: hashlib.sha256(value.detach().float().cpu().contiguous().numpy()).hexdigest()
        for name, value in model.state_dict().items()
    }


@contextmanager
def aside(output: Path) -> Iterator[Path]:
    """A folder beside `output` that takes its name if the block succeeds; otherwise nothing is left of it.

    Folders that a killed merge left beside this output are removed; one that still runs keeps its own.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        for stale in output.parent.glob(f".{output.name}.*.partial"):
            process = stale.name.split(".")[-2]
            if process.isdigit() and not Path("/proc", process).exists():
                shutil.rmtree(stale, ignore_errors=True)
        folder = output.with_name(f".{output.name}.{os.getpid()}.partial")
        folder.mkdir()
    except OSError as error:
        raise FlexError(f"{output}: cannot be written ({error}). Nothing was kept.") from error
    try:
        yield folder
        if output.exists():
            raise UsageError(f"{output}: exists now, and nothing is overwritten; choose another --output.")
        folder.rename(output)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error  # as our own files are written
        if isinstance(cause, OSError | SafetensorError):
            full = getattr(cause, "errno", None) == errno.ENOSPC or "No space left" in str(cause)
            raise FlexError(
                f"{output}: {'the disk is full' if full else f'cannot be written ({cause})'}. Nothing was kept."
            ) from error
        raise
