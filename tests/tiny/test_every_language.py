"""The main job over HumanEval in every language that is installed, by a pattern, with the embedded model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import flexlora
from flexlora.data.multipl_e import LANGUAGES
from flexlora.execution.languages import ToolchainMissing, toolchain
from flexlora.report.matrix import matrix

NUMBER = "83"
"""A problem whose prompt fits the embedded model's context in every language."""


def installed(code: str) -> bool:
    try:
        toolchain(code)
    except ToolchainMissing:
        return False
    return True


@pytest.mark.slow
@pytest.mark.toolchains
@pytest.mark.thorough
def test_humaneval_in_every_installed_language(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "multipl-e").mkdir(parents=True)
    for file in ("humaneval.jsonl", *(f"multipl-e/humaneval-{code}.jsonl" for code in LANGUAGES)):
        records = [json.loads(line) for line in (data_dir / file).read_text().splitlines()]
        (chosen,) = (record for record in records if _number(record) == NUMBER)
        (tmp_path / "data" / file).write_text(json.dumps(chosen) + "\n")
    here = [code for code in LANGUAGES if installed(code)]
    recipe: dict[str, Any] = {
        "model": "tiny",
        "data_dir": str(tmp_path / "data"),
        "variants": ["base"],
        "tasks": ["multipl-e/humaneval/*", "humaneval", *(f"!*/{code}" for code in LANGUAGES if code not in here)],
        "sampling": {"max_new_tokens": 32},
    }
    run = flexlora.run(recipe, tmp_path / "run")
    summary = json.loads((run.path / "summary.json").read_text())
    assert [score["language"] for score in summary["scores"]] == [*here, "py"]
    # What a model of three million parameters writes fails, and every time for a reason of its own.
    ended = {status for score in summary["scores"] for status in score["statuses"]}
    assert ended <= {"OK", "SyntaxError", "Exception", "Timeout"}
    table = matrix(summary)
    assert table is not None
    assert len(table.sections[0][1]) == len(here) + 1


def _number(record: dict[str, Any]) -> str:
    """Of `HumanEval_83_starts_one_ends` or HumanEval/83."""
    return re.split("[_/]", record.get("name") or record["task_id"])[1]
