"""Training data: the datasets of a recipe as one list, each repeated or thinned by its weight."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from flexlora.data import apps, codesearchnet, generated, mbpp, own
from flexlora.data.source import Origin
from flexlora.data.types import Example
from flexlora.errors import UsageError
from flexlora.recipe import DataSource


def load_examples(
    sources: Sequence[DataSource], data_dir: Path | None, seed: int
) -> tuple[list[Example], list[Origin]]:
    """All examples of one epoch, dataset after dataset (the trainer shuffles), and where they came from.

    A weight of 2.25 gives every example twice and a quarter of them, drawn with `seed`, a third time.

    Raises:
        UsageError: a dataset or split is unknown or cannot be loaded, or nothing is left of it.
    """
    examples: list[Example] = []
    origins = []
    for index, source in enumerate(sources):
        loaded, origin = _load(source, data_dir)
        loaded = loaded[: source.limit]
        chosen = _weighted(loaded, source.weight, random.Random(f"{seed}/{index}/{source.dataset}"))
        if not chosen:
            raise UsageError(
                f"dataset {index}: nothing is left of {source.dataset} (split {source.split}, {len(loaded)} examples) "
                f"at weight {source.weight}; raise the weight." + "".join(f" {note}." for note in origin.notes)
            )
        examples += chosen
        origins.append(origin)
    return examples, origins


def _load(source: DataSource, data_dir: Path | None) -> tuple[list[Example], Origin]:
    style = source.prompt_style
    if source.dataset == "mbpp":
        own.refuse_options(source, "split", "prompt_style")
        if style not in ("docstring", "three-shot"):
            raise UsageError(f"data: mbpp has no prompt style {style!r}; it has docstring and three-shot.")
        return mbpp.examples(data_dir, source.split, style)
    if source.dataset == "apps":
        own.refuse_options(source, "split", "prompt_style", "difficulty")
        if style not in ("original", "bigcode"):
            raise UsageError(f"data: apps has no prompt style {style!r}; it has {' and '.join(apps.STYLES)}.")
        return apps.examples(data_dir, source.split, style, source.difficulty)
    if source.dataset.startswith("tiny/"):
        own.refuse_options(source, "split")
        return generated.load_examples(source.dataset, source.split)
    if source.dataset.partition("/")[0] == "codesearchnet":
        own.refuse_options(source, "split")
        return codesearchnet.examples(data_dir, source.dataset, source.split, source.limit)
    return own.examples(source)


def _weighted(examples: list[Example], weight: float, generator: random.Random) -> list[Example]:
    whole = int(weight)
    some = round((weight - whole) * len(examples))
    return examples * whole + [examples[i] for i in sorted(generator.sample(range(len(examples)), some))]
