"""MultiPL-E (Cassano et al. 2022, arXiv 2208.08227): HumanEval and MBPP translated into other languages.

Its own generator and the harnesses built on it strip the ends of the prompt before generating, so `stripped` is
the default here and `verbatim` the option. The program is always put together from the unstripped prompt, and the
tests supply the closing brace that the stop token cut off.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, cast

from flexlora.data.family import Family, State
from flexlora.data.source import HubDataset, Origin, load_benchmark
from flexlora.data.types import Problem
from flexlora.recipe import Task

# The revision that the hub's main branch had in August 2026: parquet files, no loading script.
REVISION = "28441b6024e71d4a1c1c0f6bf171c935cd5a43f2"
LANGUAGES = (
    *("java", "cpp", "cs", "js", "ts", "php", "sh", "go", "rs"),
    *("rb", "lua", "pl", "r", "jl", "rkt", "scala", "d", "swift"),
)

REPOSITORY = "nuprl/MultiPL-E"

Original = Literal["humaneval", "mbpp"]
Style = Literal["stripped", "verbatim"]


def problems(data_dir: Path | None, original: Original, language: str, style: Style) -> tuple[list[Problem], Origin]:
    """The problems of `original` in `language` (a MultiPL-E code, e.g. `java`)."""
    config = f"{original}-{language}"
    hub = HubDataset(repository=REPOSITORY, config=config, revision=REVISION)
    columns = ("name", "language", "prompt", "tests", "stop_tokens")
    records, origin = load_benchmark(data_dir, f"multipl-e/{config}.jsonl", hub, "test", columns)
    return [
        Problem(
            task=f"multipl-e/{original}/{language}",
            task_id=record["name"],
            language=language,
            prompt=record["prompt"].strip() if style == "stripped" else record["prompt"],
            prompt_style=style,
            stop_tokens=tuple(record["stop_tokens"]),
            prefix=record["prompt"],
            suffix="\n" + record["tests"],
            original=_original_id(record["name"]),
        )
        for record in records
    ], origin


def _original_id(name: str) -> str | None:
    """`HumanEval_23_strlen` is HumanEval/23, `mbpp_3_is_not_prime` MBPP/3; None for another name."""
    match = re.match(r"(HumanEval|mbpp)_(\d+)_", name)
    return f"{match[1].replace('mbpp', 'MBPP')}/{match[2]}" if match else None


def _load(task: Task, data_dir: Path | None) -> tuple[list[Problem], Origin]:
    _, original, language = task.name.split("/")
    return problems(data_dir, cast(Original, original), language, cast(Style, task.prompt_style))


def _family(original: Original, size: str, licence: str, state: State) -> Family:
    return Family(
        name=f"multipl-e/{original}/LANG",
        tasks=tuple(f"multipl-e/{original}/{language}" for language in LANGUAGES),
        load=_load,
        languages=LANGUAGES,
        size=size,
        styles=("stripped", "verbatim"),
        prompt="comment and signature in the language; ends stripped, as MultiPL-E generates, or as published",
        stops="each record's own",
        source=REPOSITORY,
        revision=REVISION,
        file=f"multipl-e/{original}-LANG.jsonl",
        licence=licence,
        state=state,
    )


HUMANEVAL = _family("humaneval", "154 to 161", "MIT", "verified")
MBPP = _family("mbpp", "354 to 397", "MIT", "format-tested")
