"""The model card, written from the run: its front matter by huggingface_hub, its text from a template."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from flexlora.data import evalplus, humaneval, mbpp
from flexlora.evaluation.schema import Comparison, Score, Summary
from flexlora.fourier import AdapterSpectrum
from flexlora.plan import adapter_in_words
from flexlora.publishing.base import HUB_ID, Base
from flexlora.publishing.portable import portable
from flexlora.recipe import Recipe
from flexlora.report import words
from flexlora.report.merge import findings, merge_cells
from flexlora.report.spectrum import VIEWS
from flexlora.version import __version__

HERE = Path(__file__).parent
HUB_DATASETS = {
    "humaneval": humaneval.HUB.repository,
    "mbpp": mbpp.HUB.repository,
    "humaneval+": evalplus.HUMANEVAL_HUB.repository,
    "mbpp+": evalplus.MBPP_HUB.repository,
    "multipl-e": "nuprl/MultiPL-E",
}
"""First part of a task's name -> its data set on the hub."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a card tells."""

    title: str
    """Of the run, and of its arm where it has several."""
    arm: str
    recipe: Recipe
    """Of the arm, as the run resolved it, paths and all."""
    base: Base
    merged: bool
    data: list[dict[str, Any]]
    """What it was trained on: `dataset, split, weight`, and the origin's `source, revision, sha256, records`."""
    ended: Mapping[str, Any] | None
    """The last line of the training log that has a loss."""
    kept_step: int | None
    """The step whose adapter early stopping kept; None where it is the last one's."""
    summary: Summary | None
    """Scores of the base, the baselines and this arm; None of a run that was not evaluated."""
    provenance: Mapping[str, Any]
    spectrum: AdapterSpectrum
    audit: Mapping[str, Any] | None
    """Of the merge; None for an adapter."""
    place: str
    """What a user loads: a hub id, or `.` for the folder itself."""

    @property
    def variant(self) -> str:
        """The variant of the run whose scores are those of what is exported."""
        return "merged" if self.merged else "adapter"

    @property
    def scores(self) -> list[Score]:
        """Scores of what is exported itself."""
        return [score for score in self.summary["scores"] if score["variant"] == self.variant] if self.summary else []

    @property
    def precision(self) -> str | None:
        """Of the base in the run's evaluation; None where it was the GPU's choice, which is not recorded."""
        if self.recipe.precision != "auto":
            return self.recipe.precision
        environment = self.provenance["environment"]
        return None if environment["gpu"] or "continued_on" in environment else "float32"


def card_text(facts: Facts, figure: str) -> str:
    """The card, front matter and all.

    Args:
        facts: what it tells.
        figure: the file of the spectrum, beside the card.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=False,  # it is Markdown; cells escape what would end them
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    summary, compared = facts.summary, _comparisons(facts)
    text = environment.get_template("card.md.j2").render(
        facts=facts,
        recipe=facts.recipe,
        adapter=adapter_in_words(facts.recipe.lora),
        base=facts.base,
        embedded=facts.base.embedded,
        base_call=_base_call(facts),
        summary=summary,
        columns=_columns(summary) if summary else [],
        rows=list(_rows(summary)) if summary else [],
        sentences=[_sentence(one, summary) for one in compared] if summary else [],
        notes=list(filter(None, (words.method_note(compared), words.chance_note(compared)))),
        words=words,
        views=VIEWS,
        figure=figure,
        audit_sentences=findings(facts.audit) if facts.audit else [],
        audit_rows=[merge_cells(row, facts.audit["adapter_effect"]) for row in facts.audit["rows"]]
        if facts.audit
        else [],
        trained_in=[words.language_name(code) for code in _trained_languages(facts)],
        version=__version__,
    )
    return str(ModelCard(f"---\n{front_matter(facts).to_yaml()}\n---\n{text}"))


def front_matter(facts: Facts) -> ModelCardData:
    """What the hub reads: base, licence, data, tags, and the scores of what is exported."""
    base = facts.base
    languages = [score["language"] for score in facts.summary["scores"]] if facts.summary else []
    codes = dict.fromkeys([*_trained_languages(facts), *languages])
    datasets = {one["source"] for one in facts.data if HUB_ID.fullmatch(one["source"])}
    datasets |= {HUB_DATASETS[one["dataset"]] for one in facts.data if one["dataset"] in HUB_DATASETS}
    results = [result for score in facts.scores for result in _results(facts, score)]
    return ModelCardData(
        base_model=base.hub_id,
        base_model_relation=("finetune" if facts.merged else "adapter") if base.hub_id else None,
        library_name="transformers" if facts.merged else "peft",
        license=base.licence.get("license", "unknown"),
        license_name=base.licence.get("license_name"),
        license_link=base.licence.get("license_link"),
        language=["code"],
        datasets=sorted(datasets) or None,
        pipeline_tag="text-generation",
        tags=["flexlora", "lora", "code", *(words.language_name(code).lower() for code in codes)],
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=facts.title if results else None,
        eval_results=results or None,
    )


def _results(facts: Facts, score: Score) -> Iterator[EvalResult]:
    task = next(task for task in facts.recipe.tasks if portable(task.name) == score["task"])
    family = score["task"].split("/")[0]
    origin = facts.provenance["tasks"][score["task"]]["data"]
    from_hub = HUB_DATASETS.get(family) == origin["source"]
    for k, value in score["pass_at_k"].items():
        yield EvalResult(
            task_type="text-generation",
            dataset_type=HUB_DATASETS.get(family, family),
            dataset_name=f"{score['task']} ({words.language_name(score['language'])}, {score['problems']} problems)",
            dataset_config=score["task"],
            dataset_split=task.split or "test",
            dataset_revision=origin["revision"] if from_hub else None,
            metric_type=f"pass@{k}",
            metric_name=f"pass@{k}, 95 % interval {value['low']:.3f} to {value['high']:.3f} ({value['method']})",
            metric_value=value["estimate"],
            verified=False,
        )


NF4 = 'BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)'
"""As `flexlora.nf4` has a base packed."""


def _base_call(facts: Facts) -> str:
    """How a user loads the base: the revision and the precision that the scores are of."""
    base = facts.base
    named = "TINY_MODEL" if base.embedded else f'"{base.hub_id or "BASE"}"'
    revision = [f'revision="{base.revision}"'] if base.hub_id and base.revision else []
    own_code = ["trust_remote_code=True"] if facts.recipe.trust_remote_code else []
    dtype = f'dtype="{facts.precision or "auto"}"'
    packed = [f"quantization_config={NF4}"] if facts.recipe.quantization else []
    arguments = [named, *revision, *own_code, dtype, *packed]
    return f"AutoModelForCausalLM.from_pretrained({', '.join(arguments)})"


def _trained_languages(facts: Facts) -> list[str]:
    """Of the data whose language is known: MBPP's and the generated."""
    known = {"mbpp": "py", mbpp.HUB.repository: "py"}
    names = [one["dataset"] for one in facts.data]
    codes = [name.rsplit("/", 1)[1] if name.startswith("tiny/") else known.get(name) for name in names]
    return list(dict.fromkeys(code for code in codes if code is not None))


def _columns(summary: Summary) -> list[str]:
    return list(dict.fromkeys(words.score_name(score, summary["scores"]) for score in summary["scores"]))


def _rows(summary: Summary) -> Iterator[list[str]]:
    """Task, k, problems, and a score with its interval for every column."""
    scores = {(one["task"], words.score_name(one, summary["scores"])): one for one in summary["scores"]}
    for task in dict.fromkeys(one["task"] for one in summary["scores"]):
        of_task = [scores.get((task, column)) for column in _columns(summary)]
        first = next(score for score in of_task if score)
        for k in first["pass_at_k"]:
            cells = [_score(score, k) if score else "not run" for score in of_task]
            yield [words.language_name(first["language"]), task, f"pass@{k}", str(first["problems"]), *cells]


def _score(score: Score, k: str) -> str:
    value = score["pass_at_k"][k]
    return f"{words.percent(value['estimate'])} {words.score_range(value['low'], value['high'])}"


def _comparisons(facts: Facts) -> list[Comparison]:
    """Those of what is exported; of a merged model that the run did not evaluate, those of its adapter."""
    if facts.summary is None:
        return []
    variant = facts.variant if facts.scores else "adapter"
    return [one for one in facts.summary["comparisons"] if one["variant"] == variant]


def _sentence(one: Comparison, summary: Summary) -> str:
    against = one["against"]
    twins = [score for score in summary["scores"] if score["variant"] == "baseline"]
    other = words.score_name(against, twins) if against["variant"] == "baseline" else None
    return words.sentence(one, words.problems_of(summary, one), against=other)


def _cell(value: Any) -> str:
    """Text for a cell of a Markdown table."""
    return re.sub(r"\s+", " ", str(value)).replace("|", "\\|")
