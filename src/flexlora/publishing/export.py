"""`flexlora export`: an arm of a run as a Hugging Face directory, and to a hub on request.

The directory is made aside and renamed: under the name that was asked for there is a whole export, or nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from flexlora import models
from flexlora.adapters.audit import MergeAudit
from flexlora.adapters.merge import merge_adapter
from flexlora.adapters.saved import CONFIG, WEIGHTS, saved_pairs
from flexlora.adapters.saving import AUDIT_FILE, aside
from flexlora.adapters.source import Adapter, check_output, open_adapter
from flexlora.errors import UsageError
from flexlora.evaluation.schema import Summary, read_summary
from flexlora.files import read_appended, write_json, write_whole
from flexlora.folder import RunFolder, existing
from flexlora.fourier import SpectrumOptions, adapter_spectrum
from flexlora.provenance import provenance as provenance_of
from flexlora.publishing.base import Base, describe_base
from flexlora.publishing.card import Facts, card_text
from flexlora.publishing.hub import check_destination, push
from flexlora.publishing.portable import portable, rewrite_json, told_apart
from flexlora.recipe import dumped
from flexlora.report.spectrum_plot import plot_spectra, require_matplotlib
from flexlora.version import __version__

CARD, FIGURE, PROVENANCE, RECIPE = "README.md", "spectrum.png", "provenance.json", "recipe.yaml"
MACHINE = ("platform", "cores")
"""Of an environment: says something of the machine, and nothing of the result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was exported."""

    path: Path
    run: str
    arm: str
    merged: bool
    evaluated: bool
    """Whether the card has scores."""
    url: str | None
    """Of the repository, where it was pushed."""
    warning: str | None
    """Of the merge."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**dataclasses.asdict(self), "path": str(self.path)}

    def words(self) -> str:
        """For people."""
        what = "merged model" if self.merged else "adapter"
        lines = [f"{what} of arm {self.arm}: {self.path}; its card: {self.path / CARD}"]
        if not self.evaluated:
            lines.append(f"The card says that this {what} was not evaluated, as the run has no scores of it.")
        return "\n".join([*lines, f"pushed to {self.url}"] if self.url else lines)


def export_run(
    run: Path,
    output: Path,
    *,
    arm: str | None = None,
    merged: bool = False,
    dtype: str | None = None,
    base: str | None = None,
    push_to: str | None = None,
    private: bool = False,
) -> Exported:
    """Write an arm's adapter, or the model it makes of its base, as a directory with a card; push it on request.

    A run without scores is exported too, and its card says that it was not evaluated.

    Args:
        run: the run's directory.
        output: the new directory. With `push_to` it may be there already, from the same adapter: then the card is
            written anew, and all is pushed.
        arm: which; may be left out where the run has one.
        merged: merge the adapter into its base, with an audit.
        dtype: of the merged weights; None is the base's own.
        base: hub id of a base that was a local folder.
        push_to: OWNER/NAME on the hub.
        private: make the repository a private one, if it is new.

    Raises:
        UsageError: something is missing or does not fit, or the hub would refuse; nothing was written.
        FlexError: the merge, the disk or the push failed; after a failed push the directory is complete.
    """
    require_matplotlib("the card's figure")
    folder = existing(run)
    name = _chosen(folder, arm)
    found = open_adapter(folder.adapter(name))
    summary = _summary(folder, name, found)
    again = push_to is not None and _is_same(output, found, merged, dtype)
    if not again:
        check_output(output, 0)
    facts = _facts(folder, name, found, summary, base, merged, push_to)
    if push_to is not None:
        check_destination(push_to, private, merged)

    models.quiet()
    if again:
        audit = json.loads((output / AUDIT_FILE).read_bytes()) if merged else None
        if not merged:
            _name_base(output, facts.base)
        _write_papers(output, dataclasses.replace(facts, audit=audit))
    elif merged:
        audit = _export_merged(facts, found, output, dtype)
    else:
        audit = None
        with aside(output) as partial:
            _copy_adapter(found, facts.base, partial)
            _write_tokenizer(facts.base, partial)
            _write_papers(partial, facts)
    url = None
    if push_to is not None:
        url = push(output, push_to, private, f"{facts.title}, exported by flexlora {facts.provenance['export']['by']}")
    return Exported(
        path=output,
        run=folder.recipe.name,
        arm=name,
        merged=merged,
        evaluated=bool(facts.scores),
        url=url,
        warning=audit["warning"] if audit else None,
    )


def _chosen(folder: RunFolder, arm: str | None) -> str:
    """The arm to export, which is trained.

    Raises:
        UsageError: there is none, or several and none was named.
    """
    arms = folder.recipe.arm_names()
    if not arms:
        raise UsageError(f"{folder.path}: this run evaluates the base only, and has no adapter.")
    if arm is None and len(arms) > 1:
        raise UsageError(f"{folder.path}: has {len(arms)} arms; name one with --arm: {', '.join(arms)}.")
    name = arm or arms[0]
    if name not in arms:
        raise UsageError(f"--arm {name}: the run has {', '.join(arms)}.")
    if not folder.adapter(name).is_dir():
        raise UsageError(f"{folder.adapter(name)}: not trained yet; `flexlora train {folder.path}` does that.")
    return name


def _summary(folder: RunFolder, arm: str, adapter: Adapter) -> Summary | None:
    """The run's scores as far as they concern an arm; None where it has none yet.

    Raises:
        UsageError: they are of another adapter.
    """
    if not (folder.path / "summary.json").exists():
        return None
    summary = read_summary(folder.path)
    scored = summary["provenance"].get("arms", {}).get(arm, {}).get("adapter_sha256")
    if scored != _sha256(adapter):
        raise UsageError(
            f"{folder.path / 'summary.json'}: has scores of another adapter than the one in {adapter.path}; "
            f"`flexlora run {folder.path / 'recipe.yaml'} --output {folder.path}` makes them anew."
        )
    scores = [one for one in summary["scores"] if one["arm"] in (None, arm)]
    compared = [one for one in summary["comparisons"] if one["arm"] == arm and one["against"]["arm"] is None]
    names = told_apart(one["model"] for one in scores)
    for one in (*scores, *(one["against"] for one in compared)):
        one["model"] = names.get(one["model"], one["model"])
    return cast(Summary, portable({**summary, "scores": scores, "comparisons": compared, "provenance": {}}))


def _facts(
    folder: RunFolder,
    arm: str,
    adapter: Adapter,
    summary: Summary | None,
    base: str | None,
    merged: bool,
    place: str | None,
) -> Facts:
    provenance = provenance_of(folder)
    recipe, of_arm = folder.recipe.arm(arm), provenance["arms"][arm]
    described = describe_base(recipe, provenance["models"][0], base)
    penalty = recipe.penalty
    name = folder.recipe.name or "run"
    log = read_appended(folder.train(arm) / "log.jsonl")
    return Facts(
        title=f"{name}/{arm}" if folder.recipe.arms else name,
        arm=arm,
        recipe=recipe,
        base=described,
        merged=merged,
        data=[
            portable({"dataset": asked.dataset, "split": asked.split, "weight": asked.weight, **origin})
            for asked, origin in zip(recipe.data, of_arm["data"], strict=True)
        ],
        ended=next((line for line in reversed(log) if "loss" in line), None),
        kept_step=next((line["kept_step"] for line in log if "kept_step" in line), None),
        summary=summary,
        provenance=portable(
            {
                "export": {"by": __version__, "arm": arm, "merged": merged, "adapter_sha256": _sha256(adapter)},
                **provenance,
                "base": {"name": described.name, "revision": described.revision, "sha256": described.sha256},
                "arms": {arm: of_arm},
                "environment": _of_no_machine(provenance["environment"]),
            }
        ),
        spectrum=adapter_spectrum(
            saved_pairs(adapter.path), SpectrumOptions(view=penalty.view, tau=penalty.tau, flatten=penalty.flatten)
        ),
        audit=None,
        place=place or ".",
    )


def _of_no_machine(environment: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in environment.items() if key not in MACHINE}
    later = kept.pop("continued_on", [])
    return {**kept, "continued_on": [_of_no_machine(one) for one in later]} if later else kept


def _export_merged(facts: Facts, adapter: Adapter, output: Path, dtype: str | None) -> dict[str, Any]:
    audits: list[dict[str, Any]] = []

    def complete(partial: Path, audit: MergeAudit) -> None:
        audits.append(portable(audit.as_dict()))
        for name in (AUDIT_FILE, "config.json"):
            rewrite_json(partial / name, {})
        _write_tokenizer(facts.base, partial)
        _write_papers(partial, dataclasses.replace(facts, audit=audits[0]))

    merge_adapter(adapter.path, output, dtype=dtype, model=facts.base.source, complete=complete)
    return audits[0]


def _copy_adapter(adapter: Adapter, base: Base, folder: Path) -> None:
    """PEFT's two files, the base by a name that others can find."""
    for file in (CONFIG, WEIGHTS):
        shutil.copyfile(adapter.path / file, folder / file)
    _name_base(folder, base)


def _name_base(folder: Path, base: Base) -> None:
    rewrite_json(folder / CONFIG, {"base_model_name_or_path": base.adapter_name, "revision": base.revision})


def _write_tokenizer(base: Base, folder: Path) -> None:
    """As the run used it, with the special tokens that its recipe names."""
    models.load_tokenizer(base.source).save_pretrained(folder)
    rewrite_json(folder / "tokenizer_config.json", {})


def _write_papers(folder: Path, facts: Facts) -> None:
    """What goes with the weights: card, figure, recipe, provenance."""
    plot_spectra({facts.title: facts.spectrum}, folder / FIGURE)
    recipe = yaml.safe_dump(portable(dumped(facts.recipe)), sort_keys=False, allow_unicode=True, width=100)
    write_whole(folder / RECIPE, recipe)
    write_json(folder / PROVENANCE, facts.provenance)
    write_whole(folder / CARD, card_text(facts, FIGURE))


def _is_same(output: Path, adapter: Adapter, merged: bool, dtype: str | None) -> bool:
    """Whether a directory is an export of this adapter already."""
    try:
        made = json.loads((output / PROVENANCE).read_bytes())["export"]
        audit = json.loads((output / AUDIT_FILE).read_bytes()) if merged else {}
    except (OSError, ValueError, KeyError):
        return False
    wanted = {"merged": merged, "adapter_sha256": _sha256(adapter)}
    return made | wanted == made and (dtype is None or dtype == audit["dtype"])


def _sha256(adapter: Adapter) -> str:
    return hashlib.sha256((adapter.path / WEIGHTS).read_bytes()).hexdigest()
