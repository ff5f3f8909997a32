"""HumanEval (Chen et al. 2021, arXiv 2107.03374): 164 Python functions to complete, run as `openai/human-eval` does."""

from __future__ import annotations

from pathlib import Path

from flexlora.data.family import Family
from flexlora.data.source import HubDataset, Origin, load_benchmark
from flexlora.data.types import Example, Problem
from flexlora.recipe import Task

HUB = HubDataset(
    repository="openai/openai_humaneval",
    config="openai_humaneval",
    revision="7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
)
FILE = "humaneval.jsonl"
STOP_TOKENS = ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```", "<file_sep>")
TIMEOUT_S = 3.0


def problems(data_dir: Path | None) -> tuple[list[Problem], Origin]:
    """The 164 problems; the prompt is used verbatim (stripping its last newline lowers Code Llama's score)."""
    columns = ("task_id", "prompt", "entry_point", "test")
    records, origin = load_benchmark(data_dir, FILE, HUB, "test", columns)
    return [
        Problem(
            task="humaneval",
            task_id=record["task_id"],
            language="py",
            prompt=record["prompt"],
            prompt_style="verbatim",
            stop_tokens=STOP_TOKENS,
            prefix=record["prompt"],
            suffix=f"\n{record['test']}\ncheck({record['entry_point']})",
            timeout_s=TIMEOUT_S,
            reference=record.get("canonical_solution"),
        )
        for record in records
    ], origin


def _load(_task: Task, data_dir: Path | None) -> tuple[list[Problem], Origin]:
    return problems(data_dir)


FAMILY = Family(
    name="humaneval",
    tasks=("humaneval",),
    load=_load,
    languages=("py",),
    size="164",
    styles=("verbatim",),
    prompt="signature and docstring, as published",
    stops=STOP_TOKENS,
    source=HUB.repository,
    revision=HUB.revision,
    file=FILE,
    licence="MIT",
    state="verified",
)


def solutions(data_dir: Path | None) -> tuple[list[Example], Origin]:
    """The prompts with their canonical solutions; nothing to train on, as they are the benchmark."""
    columns = ("task_id", "prompt", "canonical_solution")
    records, origin = load_benchmark(data_dir, FILE, HUB, "test", columns)
    return [
        Example(
            source="humaneval",
            key=record["task_id"],
            prompt=record["prompt"],
            completion=record["canonical_solution"],
        )
        for record in records
    ], origin
