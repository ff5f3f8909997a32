"""Likelihoods of a whole run: measured, continued, scored, compared and reported, without any program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import flexlora
from flexlora import pipeline
from flexlora.cli import app
from flexlora.errors import UsageError
from flexlora.evaluation.schema import read_summary
from flexlora.files import read_appended
from flexlora.recipe import dumped, from_dict

FOLDERS = ("base", "main/eval/adapter", "main/eval/merged")


@pytest.fixture
def values(benchmark: Path, small_model: Path, tmp_path: Path) -> dict[str, Any]:
    mine = tmp_path / "mine.jsonl"
    mine.write_text("".join(json.dumps({"text": f"int f{i}() {{ return {i}; }}\n"}) + "\n" for i in range(5)))
    return {
        "name": "likely",
        "model": str(small_model),
        "data_dir": str(benchmark),
        "data": [{"dataset": "mbpp"}],
        "variants": ["base", "adapter", "merged"],
        "optimizer": {"learning_rate": 0.01},
        "train": {"max_steps": 4, "max_length": 96, "logging_steps": 2, "save_steps": 4, "spectrum_steps": None},
        "likelihood": ["mbpp", {"dataset": str(mine), "language": "java", "text_column": "text"}],
    }


def nll(run: Path, name: str) -> dict[str, dict[str, float]]:
    return {
        folder: {r["task_id"]: r["nll"] for r in read_appended(run / folder / name / "likelihood.jsonl")}
        for folder in FOLDERS
    }


def test_a_run_of_likelihoods_alone_needs_no_task_and_continues(values: dict[str, Any], tmp_path: Path) -> None:
    run = flexlora.run(from_dict(values), tmp_path / "run")
    measured = nll(run.path, "mbpp")
    assert [len(of_folder) for of_folder in measured.values()] == [6, 6, 6]
    assert measured["base"] != measured["main/eval/adapter"]
    assert measured["main/eval/merged"] == pytest.approx(measured["main/eval/adapter"], rel=1e-4)
    summary = read_summary(run.path)
    assert summary["scores"] == []
    likelihood = summary["likelihood"]
    assert [(one["task"], one["variant"], one["functions"]) for one in likelihood["scores"]][:3] == [
        ("mbpp", "base", 6),
        ("mine", "base", 5),
        ("mbpp", "adapter", 6),
    ]
    learnt = next(c for c in likelihood["comparisons"] if (c["task"], c["variant"]) == ("mbpp", "adapter"))
    assert (learnt["likelier"], learnt["less_likely"]) == (6, 0)  # it was trained on such functions
    assert learnt["nats_per_token"] is not None
    assert learnt["nats_per_token"]["high"] < 0
    texts = summary["provenance"]["likelihood"]["texts"]
    assert {name: texts[name]["records"] for name in texts} == {"mbpp": 41, "mine": 5}
    page = (run.path / "report.html").read_text()
    assert "likelihood-title" in page
    assert 'id="samples"' not in page

    # A killed run left one whole line of a process, and half a line.
    file = run.path / "main/eval/adapter/mbpp/likelihood.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2]) + lines[2][:20])
    (file.parent / "likelihood.1.jsonl").write_text(lines[3] + lines[4][:9])
    flexlora.evaluate(run.path)
    assert nll(run.path, "mbpp") == measured
    assert [item.name for item in file.parent.iterdir()] == ["likelihood.jsonl"]
    assert read_summary(run.path) == summary

    # More texts may come later; other lengths may not, and the data must be the same.
    more = {**values, "likelihood": [*values["likelihood"], "humaneval"]}
    flexlora.run(from_dict(more), run.path)
    assert nll(run.path, "mbpp") == measured
    assert {one["task"] for one in read_summary(run.path)["likelihood"]["scores"]} == {"mbpp", "mine", "humaneval"}
    with pytest.raises(UsageError, match=r"likelihood\.max_length: 1024 there, 64 now"):
        flexlora.run(from_dict({**values, "likelihood": {"texts": ["mbpp"], "max_length": 64}}), run.path)
    with (tmp_path / "mine.jsonl").open("a") as own:
        own.write('{"text": "x"}\n')
    with pytest.raises(UsageError, match="texts 'mine' changed since it began"):
        flexlora.run(from_dict(more), run.path)


def test_the_command_measures_by_a_recipe_or_a_run(values: dict[str, Any], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.json"  # which is YAML
    recipe.write_text(json.dumps({**values, "variants": ["base"]}))
    run = tmp_path / "run"
    invoke = CliRunner().invoke
    measured = invoke(app, ["likelihood", str(recipe), "--output", str(run), "--json"])
    assert measured.exit_code == 0, measured.output
    scores = json.loads(measured.stdout.splitlines()[-1])["scores"]
    assert [(one["task"], one["language"], one["cut"]) for one in scores] == [("mbpp", "py", 0), ("mine", "java", 0)]
    again = invoke(app, ["likelihood", str(run)])
    assert "Java mine" in again.stdout
    assert f"{scores[0]['nats_per_token']['estimate']:.3f}" in again.stdout
    scored = invoke(app, ["score", str(run)])
    assert "bits/character" in scored.stdout
    recipe.write_text(json.dumps({**values, "variants": ["base"], "tasks": ["humaneval"], "likelihood": []}))
    without = invoke(app, ["likelihood", str(recipe), "--output", str(tmp_path / "other")])
    assert isinstance(without.exception, UsageError)
    assert "names no texts" in str(without.exception)


def test_two_runs_are_compared_by_their_texts(values: dict[str, Any], tmp_path: Path) -> None:
    values |= {"variants": ["base"], "likelihood": {"texts": ["mbpp"]}}
    for name in ("a", "b"):
        options = values["likelihood"] | ({"conditional": False} if name == "b" else {})
        flexlora.run(from_dict({**values, "likelihood": options}), tmp_path / name)
    compared = flexlora.compare(tmp_path / "a", tmp_path / "b")
    assert compared.comparisons == []
    (one,) = compared.likelihoods
    assert one["functions"] == 6
    assert one["bits_per_character"]["difference"] != 0
    assert "likelihood.conditional: True in A, False in B" in compared.conditions
    shown = CliRunner().invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert "against the same in A" in shown.stdout


def test_texts_that_are_trained_on_are_refused(values: dict[str, Any], tmp_path: Path) -> None:
    for likelihood in ([{"dataset": "mbpp", "split": "train"}], [{"dataset": "mbpp", "split": "all", "name": "x"}]):
        with pytest.raises(UsageError, match="of its problems are in the training data"):
            pipeline.start(from_dict({**values, "likelihood": likelihood}), tmp_path / "run")


def test_a_recipe_without_texts_is_what_it_was(values: dict[str, Any]) -> None:
    recipe = from_dict({**values, "tasks": ["humaneval"], "likelihood": []})
    assert recipe == from_dict(dumped(recipe))
    assert recipe.likelihood.texts == ()
