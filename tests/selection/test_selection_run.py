"""Selection in a run whose completions and tests were written by hand: one where CodeT must be better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flexlora import folder, pipeline
from flexlora.errors import FlexError, UsageError
from flexlora.evaluation.schema import Selection
from flexlora.files import append_jsonl, read_appended
from flexlora.folder import RunFolder
from flexlora.recipe import from_dict
from flexlora.report.terminal import print_summary

RIGHT = ("    return 2 * x\n", "    return x + x\n", "    return x * 2\n")
# Each of the wrong is as common as each of the right, and they are the majority together; one cannot be parsed.
WRONG = ("    return 3 * x\n", "    return x - 1\n", "    return 0\n", "    return y\n", "    return (\n")
TESTS = (
    # Some tests are wrong: `double(3) == 9` and `double(4) == 3` are passed by wrong completions alone.
    " NAME(3) == 6\nassert NAME(5) == 10\nassert NAME(3) == 9\n",
    " NAME(0) == 0\nassert NAME(-4) == -8\nassert NAME(4) == 3\n",
)


def make_run(path: Path, small_model: Path, benchmark: Path, **changes: Any) -> RunFolder:
    recipe = from_dict(
        {
            "model": str(small_model),
            "data_dir": str(benchmark),
            "variants": ["base"],
            "tasks": [{"name": "humaneval", "limit": 2}],
            "sampling": {"n": len(RIGHT + WRONG), "temperature": 0.8},
            "selection": {"methods": ["codet", "majority", "logprob"], "test_samples": len(TESTS)},
        }
        | changes
    )
    run = folder.open_run(recipe, path)
    with pipeline.working(run):
        pass
    for task_id in ("HumanEval/0", "HumanEval/1"):
        name = f"double_{task_id[-1]}"
        for sample, completion in enumerate(WRONG + RIGHT):
            record = {"task_id": task_id, "sample": sample, "completion": completion}
            # The likeliest is the first wrong one.
            append_jsonl(path / "base/humaneval/samples.jsonl", record | {"logprob": -1.0 - sample, "tokens": 2})
        for sample, text in enumerate(TESTS):
            record = {"task_id": task_id, "sample": sample, "completion": text.replace("NAME", name), "tokens": 30}
            append_jsonl(path / "base/humaneval/selection/tests.jsonl", record)
    return run


def test_codet_chooses_what_agrees_with_the_models_tests_and_says_what_it_cost(
    small_model: Path, benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", small_model, benchmark)
    selection = run.path / "base/humaneval/selection"
    pipeline.execute(run)
    summary = pipeline.score(run)
    codet, majority, logprob = summary["selections"]
    assert set(codet) == set(Selection.__annotations__)
    assert codet["plain"] == majority["plain"] == logprob["plain"] == 3 / 8
    assert summary["scores"][0]["pass_at_k"]["1"]["estimate"] == 3 / 8
    assert (codet["method"], codet["estimate"], codet["best"]) == ("codet", 1.0, 1.0)
    assert codet["difference"] == 5 / 8
    assert (majority["method"], majority["estimate"]) == ("majority", 1.0)
    assert (logprob["method"], logprob["estimate"]) == ("logprob", 0.0)
    # Six tests of each of two problems on eight different solutions; 4 texts of 30 tokens.
    assert (codet["tests"], codet["programs"], codet["tokens"]) == (12, 2 * 6 * 8, 120)
    # Their inputs are 3, 5, 0, -4 and 4.
    assert (majority["tests"], majority["programs"]) == (10, 2 * 5 * 8)
    assert (logprob["programs"], logprob["tokens"]) == (0, 0)
    choices = json.loads((selection / "choices.json").read_text())
    assert choices["codet"] == {"HumanEval/0": [5, 6, 7], "HumanEval/1": [5, 6, 7]}
    assert choices["logprob"] == {"HumanEval/0": [0], "HumanEval/1": [0]}

    print_summary(summary)
    shown = capsys.readouterr().out
    assert "Selection: pass@1 in % of what was chosen" in shown
    assert all(line in shown for line in ("37.5", "100.0", "+62.5"))
    assert 'id="methods"' in pipeline.report(run).read_text()

    # Running again runs nothing; a torn end is made good.
    before = {path: path.read_bytes() for path in run.path.rglob("*.jsonl")}
    matrix = selection / "matrix.jsonl"
    whole = {(r["task_id"], r["sample"]): r["passed"] for r in read_appended(matrix)}
    pipeline.execute(run)
    assert {path: path.read_bytes() for path in run.path.rglob("*.jsonl")} == before
    matrix.write_bytes(before[matrix][: len(before[matrix]) // 2])
    with pytest.raises(FlexError, match=r"verdicts are missing .*`flexlora execute` makes them"):
        pipeline.score(run)
    pipeline.execute(run)
    assert {(r["task_id"], r["sample"]): r["passed"] for r in read_appended(matrix)} == whole
    assert pipeline.score(run)["selections"] == summary["selections"]


def test_the_choice_is_the_same_whatever_the_benchmarks_tests_say(
    small_model: Path, benchmark: Path, tmp_path: Path
) -> None:
    changes = {"selection": {"methods": ["codet"], "test_samples": len(TESTS)}}
    honest = make_run(tmp_path / "honest", small_model, benchmark, **changes)
    pipeline.execute(honest)
    pipeline.score(honest)
    data = benchmark / "humaneval.jsonl"
    data.write_text(data.read_text().replace("candidate(2) == 4", "candidate(2) == 6"))
    other = make_run(tmp_path / "other", small_model, benchmark, **changes)
    pipeline.execute(other)
    assert pipeline.score(other)["selections"][0]["estimate"] == 0.0
    for file in ("choices.json", "matrix.jsonl"):
        one, two = ((run.path / "base/humaneval/selection" / file).read_text().count("true") for run in (honest, other))
        assert one == two
    choices = [json.loads((run.path / "base/humaneval/selection/choices.json").read_text()) for run in (honest, other)]
    assert choices[0] == choices[1]


def test_tests_that_are_missing_are_asked_for_before_anything_runs(
    small_model: Path, benchmark: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", small_model, benchmark)
    (run.path / "base/humaneval/selection/tests.jsonl").unlink()
    with pytest.raises(FlexError, match="4 completions are missing; `flexlora generate"):
        pipeline.execute(run)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"sampling": {"n": 1}}, "chooses among completions, and sampling.n is 1"),
        ({"selection": ["codet", "codet"]}, "codet, codet names one twice"),
        ({"selection": "oracle"}, "selection.methods"),
        ({"selection": {"temperature": 0.0, "methods": ["codet"]}}, "would all be the same"),
        ({"repair": 2}, "repair.rounds"),
        ({"repair": True}, "repair"),
        ({"prompting": "cot"}, "prompting.style"),
        ({"prompting": {"stile": "plan"}}, "unknown key; did you mean 'style'"),
    ],
)
def test_recipes_that_cannot_select_are_refused(change: dict[str, Any], part: str) -> None:
    recipe = {"model": "m", "variants": ["base"], "tasks": ["humaneval"], "selection": ["logprob"]}
    recipe |= {"sampling": {"n": 2, "temperature": 0.8}}
    assert from_dict(recipe).selection.methods == ("logprob",)
    assert from_dict(recipe | {"repair": 1, "prompting": "plan"}).repair.rounds == 1
    with pytest.raises(UsageError) as caught:
        from_dict(recipe | change)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"tasks": ["multipl-e/humaneval/java"]}, "which FLeX reads in py, js, ts, not in java"),
        ({"tasks": [{"name": "mbpp", "prompt_style": "three-shot"}]}, "shows the tests that it is scored by"),
        ({"prompting": "chat"}, "has none; take the model's instruct variant"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    changes: dict[str, Any], part: str, small_model: Path, benchmark: Path, tmp_path: Path
) -> None:
    recipe = {"model": str(small_model), "data_dir": str(benchmark), "variants": ["base"], "tasks": ["humaneval"]}
    recipe |= {"sampling": {"n": 2, "temperature": 0.8}, "selection": ["codet", "logprob"]}
    with pytest.raises(UsageError) as caught:
        pipeline.start(recipe | changes, tmp_path / "run", executes=False)
    assert part in str(caught.value)
