"""Held-out texts whose likelihood is measured: the pairs of a dataset, reference solutions, or a user's own texts."""

from __future__ import annotations

from pathlib import Path

from flexlora.data import codesearchnet, generated, humaneval
from flexlora.data.mixture import load_examples
from flexlora.data.own import KNOWN
from flexlora.data.source import HubDataset, Origin, load_file, load_hub
from flexlora.data.types import Example, Text
from flexlora.errors import UsageError
from flexlora.recipe import DataSource, Texts

IN_PYTHON = ("humaneval", "mbpp", "apps")
NO_SOLUTIONS = ("multipl-e",)
OPTIONS = ("split", "config", "revision")


def load_texts(source: Texts, data_dir: Path | None) -> tuple[list[Text], Origin]:
    """The texts of one entry of `likelihood.texts`, in the dataset's order.

    Raises:
        UsageError: the dataset is unknown or cannot be loaded, or an option or the language does not fit it.
    """
    language = _language(source)
    if source.dataset == "humaneval":
        _refuse(source, *OPTIONS)
        pairs, origin = humaneval.solutions(data_dir)
    elif source.text_column is not None:
        pairs, origin = _without_prompts(source, source.text_column)
    else:
        pairs, origin = _pairs(source, data_dir)
    texts = [
        Text(task=source.name, task_id=pair.key, language=language, prompt=pair.prompt, completion=pair.completion)
        for pair in pairs[: source.limit]
    ]
    return texts, origin


def _pairs(source: Texts, data_dir: Path | None) -> tuple[list[Example], Origin]:
    given = {name: getattr(source, name) for name in ("config", "revision", "limit")}
    if source.split is not None or not source.dataset.endswith(".jsonl"):
        given["split"] = source.split or "test"
    columns = {"prompt_column": source.prompt_column, "completion_column": source.completion_column}
    pairs, (origin,) = load_examples([DataSource(dataset=source.dataset, **given, **columns)], data_dir, seed=0)
    return pairs, origin


def _without_prompts(source: Texts, column: str) -> tuple[list[Example], Origin]:
    if source.dataset.endswith(".jsonl"):
        _refuse(source, *OPTIONS)
        records, origin = load_file(Path(source.dataset), (column,))
    elif source.dataset.count("/") == 1 and source.dataset not in KNOWN and _known_language(source.dataset) is None:
        hub = HubDataset(repository=source.dataset, config=source.config, revision=source.revision)
        records, origin = load_hub(hub, source.split or "test", (column,))
    else:
        raise UsageError(
            f"likelihood: {source.dataset} has no column {column!r}; text_column goes with a .jsonl file or a hub id."
        )
    for number, record in enumerate(records, start=1):
        if not isinstance(record[column], str) or not record[column].strip():
            raise UsageError(f"{source.dataset}, record {number}: {column!r} must be text that is not empty.")
    return [
        Example(source=source.dataset, key=f"{source.dataset}:{number}", prompt="", completion=record[column])
        for number, record in enumerate(records, start=1)
    ], origin


def _language(source: Texts) -> str:
    known = _known_language(source.dataset)
    if known is None:
        if source.language is None:
            raise UsageError(f"likelihood: {source.dataset}: say its language, e.g. language: java.")
        return source.language
    if source.language not in (None, known):
        raise UsageError(f"likelihood: {source.dataset} is in {known}; remove language: {source.language}.")
    return known


def _known_language(dataset: str) -> str | None:
    """Of a benchmark; None for a user's own data.

    Raises:
        UsageError: it looks like a benchmark, and is none or has no texts.
    """
    if dataset in IN_PYTHON:
        return "py"
    first, last = dataset.split("/")[0], dataset.split("/")[-1]
    if first in NO_SOLUTIONS:
        raise UsageError(f"likelihood: {dataset} publishes no solutions, so it has no texts to measure.")
    with_language = {"codesearchnet": codesearchnet.known(), "tiny": generated.known()}
    if first not in with_language:
        return None
    if dataset not in with_language[first]:
        raise UsageError(f"likelihood: unknown dataset {dataset!r}; there are {', '.join(with_language[first])}.")
    return last


def _refuse(source: Texts, *options: str) -> None:
    for name in options:
        if getattr(source, name) is not None:
            raise UsageError(f"likelihood: {source.dataset} has no {name} (found {getattr(source, name)!r}).")
