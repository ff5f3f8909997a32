"""Prompting and repair in whole runs of small random models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import flexlora
from flexlora import pipeline
from flexlora.evaluation.schema import Repair
from flexlora.files import read_appended
from flexlora.recipe import from_dict

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)


@pytest.fixture
def values(benchmark: Path, tmp_path: Path) -> dict[str, Any]:
    from transformers import AutoTokenizer

    from small_models import make_model

    model = make_model(tmp_path / "chat", "llama", context=384)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(model)
    return {
        "model": str(model),
        "data_dir": str(benchmark),
        "variants": ["base"],
        "tasks": [{"name": "humaneval", "limit": 2}],
        "sampling": {"n": 2, "temperature": 0.8, "max_new_tokens": 12},
        "selection": {"methods": ["codet", "logprob"], "test_samples": 2, "test_tokens": 12},
        "prompting": "chat",
        "repair": 1,
    }


def test_a_chat_with_selection_and_repair_from_recipe_to_report(values: dict[str, Any], tmp_path: Path) -> None:
    run = flexlora.run(values, tmp_path / "run")
    where = run.path / "base/humaneval"
    samples = read_appended(where / "samples.jsonl")
    assert len(samples) == 4
    assert {sample["prompt_style"] for sample in samples} == {"verbatim+chat"}
    assert all(isinstance(sample["extracted"], str) and sample["tokens"] > 0 for sample in samples)
    assert len(read_appended(where / "selection/tests.jsonl")) == 4
    second = read_appended(where / "repair/samples.jsonl")
    assert {record["task_id"] for record in second} == {f"HumanEval/{i} sample {j}" for i in (0, 1) for j in (0, 1)}
    results = read_appended(where / "repair/results.jsonl")
    assert {(r["task_id"], r["sample"]) for r in results} == {(s["task_id"], s["sample"]) for s in samples}
    summary = pipeline.read_summary(run.path)
    (repair,) = summary["repairs"]
    assert set(repair) == set(Repair.__annotations__)
    assert (repair["attempted"], repair["mended"], repair["show"], repair["plain"]) == (4, 0, "errors", 0.0)
    assert repair["tokens"] == sum(record["tokens"] for record in second)
    assert [one["method"] for one in summary["selections"]] == ["codet", "logprob"]
    assert summary["scores"][0]["pass_at_k"]["1"]["estimate"] == 0.0
    assert summary["provenance"]["tasks"]["humaneval"]["prompt_style"] == "verbatim+chat"
    assert "Repair: a second answer" in (run.path / "report.html").read_text()

    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path.suffix != ".html"}
    flexlora.run(values, tmp_path / "run")
    assert {path: path.read_bytes() for path in before} == before


def test_a_second_answer_for_which_there_is_no_room_is_counted(values: dict[str, Any], tmp_path: Path) -> None:
    long = values | {"sampling": {"n": 1, "max_new_tokens": 300}, "selection": [], "prompting": "plain"}
    run = flexlora.run(long, tmp_path / "run")
    second = read_appended(run.path / "base/humaneval/repair/samples.jsonl")
    (repair,) = pipeline.read_summary(run.path)["repairs"]
    assert repair["no_room"] == sum(record["finish_reason"] == "no room" for record in second) > 0
    assert repair["attempted"] == len(second) == 2


def test_the_plan_says_what_it_costs(values: dict[str, Any], tmp_path: Path) -> None:
    _, plan = pipeline.start(values, tmp_path / "run", executes=False)
    assert plan.methods == [
        "prompting chat",
        "selection among 2 completions: codet, logprob",
        "for each variant and problem up to 24 tokens of tests, and 40 more programs",
        "repair: a second answer to each program that failed, which shows the model errors",
    ]
    plain = from_dict({key: values[key] for key in ("model", "data_dir", "variants", "tasks")})
    assert pipeline.start(plain, tmp_path / "plain", executes=False)[1].methods == []
