"""The recipe `demo` and the embedded model: what a newcomer runs first."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexlora import pipeline, recipe
from flexlora.errors import UsageError
from flexlora.models import identity, place
from flexlora.recipe import ModelSource
from flexlora.report import print_summary
from flexlora.tiny import TINY_MODEL

LANGUAGES = ["py", "java", "js", "cpp"]


def test_the_demo_is_what_the_readme_says() -> None:
    demo = recipe.load("demo")
    assert list(demo.arms) == ["none", "factors", "permuted"]
    assert {source.dataset.rsplit("/", 1)[1] for source in demo.data} == {"py"}, "trained on Python only"
    assert [(task.name, task.limit) for task in demo.tasks] == [
        (f"tiny/{set_name}/{language}", 40) for set_name in ("A", "B1") for language in LANGUAGES
    ]
    assert all(source.split != "test" for source in (*demo.data, *demo.validation))
    penalties = {arm: demo.arm(arm).penalty for arm in demo.arms}
    assert penalties["none"].lam == 0
    assert (penalties["factors"].control, penalties["permuted"].control) == ("none", "permuted")
    assert penalties["permuted"] == penalties["factors"].model_copy(update={"control": "permuted"})


@pytest.mark.slow
def test_a_short_demo_runs_to_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["train.max_steps=3", "train.eval_steps=3", "data=[{dataset: tiny/B1/py, limit: 60}]", "validation=[]"]
    short.append("tasks=[{name: tiny/A/py, limit: 3}, {name: tiny/B1/java, limit: 3}]")
    run = pipeline.run_recipe("demo", tmp_path / "demo", short)
    summary = pipeline.score(run)
    assert [score["problems"] for score in summary["scores"]] == [3] * 8
    print_summary(summary)
    said = capsys.readouterr().out
    assert "permuted" in said
    assert "three million parameters" in " ".join(said.split())
    assert "three million parameters" in (run.path / "report.html").read_text()


def test_the_embedded_model_is_named_and_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert recipe.load("demo").model == "tiny"
    assert recipe.load("demo", ["model=./tiny"]).model == str(tmp_path / "tiny")
    assert place(ModelSource(name="tiny")) == str(TINY_MODEL)
    assert place(ModelSource(name="gpt2")) == "gpt2"
    known = identity(ModelSource(name="tiny"))
    assert known["model"] == "tiny", "a run is continued wherever FLeX is installed"
    assert known["sha256"] == identity(ModelSource(name=str(TINY_MODEL)))["sha256"]


def test_any_recipe_can_evaluate_its_base_only() -> None:
    assert recipe.load("demo", ["variants=[base]"]).arm_names() == ()


def test_a_recipe_that_evaluates_the_base_only_trains_nothing(tmp_path: Path) -> None:
    run = pipeline.run_recipe("tiny-base", tmp_path / "run", ["tasks=[{name: tiny/A/js, limit: 2}]"])
    assert [(score["arm"], score["variant"]) for score in pipeline.score(run)["scores"]] == [(None, "base")]
    assert not list(run.path.rglob("train"))
    _, plan = pipeline.start("tiny-base", tmp_path / "other")
    assert plan.lines()[-1] == "nothing is trained"


def test_an_adapter_needs_data() -> None:
    with pytest.raises(UsageError, match="nothing to train on"):
        recipe.load("tiny-base", ["variants=[base, adapter]"])
