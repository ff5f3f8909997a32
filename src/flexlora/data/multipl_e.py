"""MultiPL-E (Cassano et al. 2022, arXiv 2208.08227): HumanEval translated into other languages.

Its own generator and the harnesses built on it strip the ends of the prompt before generating, so `stripped` is
the default here and `verbatim` the option. The program is always put together from the unstripped prompt, and the
tests supply the closing brace that the stop token cut off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from flexlora.data.source import HubDataset, Origin, load_benchmark
from flexlora.data.types import Problem

# The revision that the hub's main branch had in August 2026: parquet files, no loading script.
REVISION = "28441b6024e71d4a1c1c0f6bf171c935cd5a43f2"
LANGUAGES = (
    *("java", "cpp", "cs", "js", "ts", "php", "sh", "go", "rs"),
    *("rb", "lua", "pl", "r", "jl", "rkt", "scala", "d", "swift"),
)

Style = Literal["stripped", "verbatim"]


def problems(data_dir: Path | None, language: str, style: Style) -> tuple[list[Problem], Origin]:
    """The HumanEval problems in `language` (a MultiPL-E code, e.g. `java`)."""
    config = f"humaneval-{language}"
    hub = HubDataset(repository="nuprl/MultiPL-E", config=config, revision=REVISION)
    columns = ("name", "language", "prompt", "tests", "stop_tokens")
    records, origin = load_benchmark(data_dir, f"multipl-e/{config}.jsonl", hub, "test", columns)
    return [
        Problem(
            task=f"multipl-e/humaneval/{language}",
            task_id=record["name"],
            language=language,
            prompt=record["prompt"].strip() if style == "stripped" else record["prompt"],
            prompt_style=style,
            stop_tokens=tuple(record["stop_tokens"]),
            prefix=record["prompt"],
            suffix="\n" + record["tests"],
        )
        for record in records
    ], origin
