"""`flexlora merge`: an adapter merged into its base, with an audit of what that costs in every dtype.

The merge is made in float64, weight by weight, and rounded once. The audit measures each dtype and rounding on the one
float32 model in memory: it writes the rounded weights into the base's, asks the prompts, and restores them. The model
is saved aside, verified by loading it, and renamed: under the name that was asked for there is a verified model, or
nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from flexlora import models
from flexlora.adapters.audit import (
    Disagreement,
    DisagreementSums,
    MergeAudit,
    Row,
    UpdateSums,
    low_rank_energy,
    measure_update,
    total,
)
from flexlora.adapters.lora import load_adapter
from flexlora.adapters.prompts import ANSWER, encode, greedy_answer, logits_of, read_prompts, split
from flexlora.adapters.rounding import SAVED, Rounding, round_to
from flexlora.adapters.saving import Complete, save_merged
from flexlora.adapters.sites import Site, inputs_of, merge_sites, untie
from flexlora.adapters.source import (
    Adapter,
    Fit,
    check_fits,
    check_memory,
    check_output,
    find_adapter,
    find_base,
    recorded_base,
    run_of,
    stored_dtype,
)
from flexlora.errors import UsageError
from flexlora.progress import Advance, bar
from flexlora.recipe import ModelSource

WARN_ABOVE = 0.05
NEAREST: Rounding = "nearest"
POSITIONS = 512
"""Inputs of a layer that `calibrated` looks at."""


def merge_adapter(
    adapter: str | Path,
    output: Path | None = None,
    *,
    dtype: str | None = None,
    rounding: Rounding = "nearest",
    model: str | ModelSource | None = None,
    prompts: Path | None = None,
    warn_above: float = WARN_ABOVE,
    measured: Sequence[Rounding] = SAVED,
    complete: Complete | None = None,
) -> MergeAudit:
    """Merge a LoRA adapter into its base, audit the merge in every dtype, and save the result.

    Args:
        adapter: a folder in PEFT's format, or the id of one on the hub.
        output: folder for the merged model, which must not exist; None audits only and writes nothing.
        dtype: `float32`, `bfloat16` or `float16`; None takes the base's own, as stored.
        rounding: `nearest` or `calibrated` (see `flexlora.adapters.rounding`).
        model: the base, where it is not the one that the adapter names.
        prompts: file of prompts to compare answers on; None takes the packaged sample.
        warn_above: the audit holds a warning if the relative error of the update is larger.
        measured: roundings that the audit measures in the half dtypes, `rounding` among them.
        complete: writes further files into the output, before it gets its name.

    Raises:
        UsageError: something given is missing, does not fit, exists already, or there is no room; nothing was loaded.
        FlexError: weights are too large for the dtype, the disk filled up, or the saved model is not what was merged;
            nothing is left at `output`.
    """
    _check_words(dtype, rounding, warn_above)
    texts = read_prompts(prompts)
    found = find_adapter(adapter)
    base = find_base(found, model)
    if base.trust_remote_code:
        raise UsageError(
            f"model {base.name!r}: has code of its own (trust_remote_code), which a merged folder would lack, so it is "
            "not merged; use or export the adapter as it is."
        )
    fit = check_fits(found, base)
    stored = stored_dtype(base, fit.config)
    dtype = dtype or stored
    asked, rounding = rounding, "nearest" if dtype == "float32" else rounding
    if output is not None:
        check_output(output, fit.parameters * models.DTYPES[dtype].itemsize)
    tokenizer = _tokenizer(found, base)
    ids = encode(tokenizer, texts, fit.context)
    if len(ids) < (2 if rounding == "calibrated" else 1):
        raise UsageError(
            f"--prompts: {len(ids)} of {len(texts)} prompts can be used with this model's tokenizer and context; give "
            "more (calibrated rounding needs two, one to calibrate and one to compare)."
        )
    check_memory(_needed(fit, ids, models.DTYPES[stored]))

    wrapped, notes = _load(base, found, fit)
    if asked != rounding:
        notes.append(f"float32 has steps to spare: rounded to the nearest, not {asked}.")
    candidates = [("float32", NEAREST), *((half, way) for half in ("bfloat16", "float16") for way in measured)]
    order = sorted(candidates, key=lambda candidate: candidate == (dtype, rounding))  # the chosen one stays in place
    with torch.no_grad():
        effect, rows = _audit(wrapped, order, ids, found.rank)
        audit = MergeAudit(
            adapter=found.identity(),
            base=models.identity(base),
            stored_dtype=stored,
            dtype=dtype,
            rounding=rounding,
            adapter_effect=effect,
            rows=tuple(rows[candidate] for candidate in candidates),
            warn_above=warn_above,
            warning=_warning(rows[dtype, rounding], warn_above),
            notes=tuple(notes),
            output=None if output is None else str(output),
        )
        if output is not None:
            save_merged(wrapped.unload(), tokenizer, audit, output, ids[0], complete)
    return audit


def _check_words(dtype: str | None, rounding: str, warn_above: float) -> None:
    if dtype is not None and dtype not in models.DTYPES:
        raise UsageError(f"--dtype {dtype}: no such dtype; there are {', '.join(models.DTYPES)}.")
    if rounding not in SAVED:
        raise UsageError(f"--rounding {rounding}: there are {' and '.join(SAVED)}.")
    if not warn_above >= 0:
        raise UsageError(f"--warn-above {warn_above}: a share of the update, such as 0.05.")


def _tokenizer(adapter: Adapter, base: ModelSource) -> Any:
    """The adapter's own tokenizer where one was saved with it (it may know more tokens), or the base's, unchanged."""
    own = (adapter.path / "tokenizer_config.json").is_file()
    name, revision = (str(adapter.path), None) if own else (models.place(base), base.revision)
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: its tokenizer cannot be loaded: {error}") from error


def _needed(fit: Fit, ids: Sequence[Sequence[int]], stored: torch.dtype) -> int:
    """Bytes of memory: the model in float32, copies of what changes, work on the largest, inputs, logits."""
    vocabulary: int = fit.config.get_text_config().vocab_size
    logits = 4 * vocabulary * (sum(len(one) + ANSWER for one in ids) + 12 * max(len(one) + ANSWER for one in ids))
    inputs = 8 * POSITIONS * fit.inputs
    return 4 * (fit.parameters + fit.adapter) + stored.itemsize * fit.changed + 64 * fit.largest + logits + inputs


def _load(base: ModelSource, adapter: Adapter, fit: Fit) -> tuple[Any, list[str]]:
    """The base in float32 with the adapter on top, and what there is to say about it."""
    model = models.load_model(base).eval()
    notes = []
    if (place := run_of(adapter)) and (quantised := recorded_base(place[0]).get("quantization")):
        notes.append(
            f"The adapter was trained and evaluated on this base in {quantised}; it is merged into the base's own "
            "weights, from which those in 4 bits differ: evaluate the merged model by itself."
        )
    if fit.untie:
        untie(model)
        notes.append(
            "The adapter changes one of two weights that the base shares (input and output embeddings); the merged "
            "model has both, which makes it larger by one."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns of tied weights, which were untied, or are not touched
        return load_adapter(model, adapter.path).eval(), notes


def _audit(
    model: Any, candidates: Sequence[tuple[str, Rounding]], ids: Sequence[list[int]], rank: int
) -> tuple[Disagreement, dict[tuple[str, Rounding], Row]]:
    """Measure every candidate, and leave the weights of the last one in the model; its adapter is then disabled.

    Args:
        model: the PEFT model, in float32.
        ids: prompts; every second one is for calibration.
    """
    sites = merge_sites(model)
    compared, calibration = split(list(ids))

    def calibrate() -> None:
        for one in calibration:
            logits_of(model, one)

    inputs = inputs_of(sites, calibrate, 1 + POSITIONS // (1 + len(calibration)))
    answered = [(greedy_answer(model, one), len(one)) for one in compared]
    reference = [logits_of(model, tokens).cpu() for tokens, _ in answered]

    def disagreement() -> Disagreement:
        sums = DisagreementSums()
        for (tokens, prompt_tokens), expected in zip(answered, reference, strict=True):
            sums.add(expected.to(model.device), logits_of(model, tokens), prompt_tokens)
        return sums.result()

    rows: dict[tuple[str, Rounding], Row] = {}
    # Without its adapter the model computes with the base's own weights, into which the merged ones are written.
    with model.disable_adapter(), bar("audit of the merge", len(candidates) * len(sites)) as advance:
        effect = disagreement()
        for dtype, rounding in candidates:
            sums = {site.name: _write(site, dtype, rounding, inputs.get(site.name), rank, advance) for site in sites}
            overflow = any(one.overflow for one in sums.values())
            rows[dtype, rounding] = Row(
                dtype=dtype,
                rounding=rounding,
                update=total(sums.values()).result(),
                disagreement=None if overflow else disagreement(),
                modules={name: one.result() for name, one in sums.items()},
            )
            if (dtype, rounding) != candidates[-1]:
                for site in sites:
                    site.parameter.copy_(site.before)
    return effect, rows


def _write(
    site: Site, dtype: str, rounding: Rounding, inputs: Tensor | None, rank: int, advance: Advance
) -> UpdateSums:
    """Write a site's merged and rounded weight into the base, and measure it."""
    exact = site.merged()
    rounded = round_to(exact, models.DTYPES[dtype], rounding, site.name, site.reads, inputs)
    sums = measure_update(site.oriented(site.before), exact, rounded, site.reads)
    if rounding == "nearest" and dtype != "float32" and exact.ndim == 2 and not sums.overflow:
        sums.residual, sums.captured = low_rank_energy(exact - rounded.double(), rank)
    site.parameter.copy_(site.oriented(rounded))
    advance(1, f"{dtype} {rounding}")
    return sums


def _warning(row: Row, warn_above: float) -> str | None:
    if row.disagreement is None:
        return f"{row.dtype} cannot hold {row.update.overflow} of the merged weights; they would be infinite."
    worse = {name: one.relative_error for name, one in row.modules.items() if one.relative_error > warn_above}
    if row.update.relative_error <= warn_above and not worse:
        return None
    lost = 100 * row.update.relative_error
    said = f"in {row.dtype} ({row.rounding}) the merged weights are {lost:.1f} % of the update off"
    if worse:
        name = max(worse, key=worse.__getitem__)
        said += (
            f"; {len(worse)} of {len(row.modules)} by more than {100 * warn_above:g} %, {name} by "
            f"{100 * worse[name]:.1f} %"
        )
    return (
        f"{said}. {100 * row.disagreement.next_token:.1f} % of next tokens change. --dtype float32 keeps the update; "
        "so does leaving the adapter unmerged."
    )
