"""A real study of the tiny model from its file to its runs, and to what is written of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flexlora import pipeline
from flexlora.cli import app
from flexlora.evaluation.schema import read_summary
from flexlora.recipe import Recipe
from flexlora.studies import checking, running
from flexlora.studies.events import Events
from flexlora.studies.folder import Run, existing_study, runs_of

STUDY = {
    "recipe": "demo",
    "set": {
        "tasks": [{"name": "tiny/A/py", "limit": 2}],
        "train": {"max_steps": 1, "logging_steps": 1},
        "data": [{"dataset": "tiny/B1/py", "limit": 16}],
        "validation": [],
        "sampling": {"max_new_tokens": 20},
    },
    "arms": {"none": {"penalty": {"lam": 0.0}}, "factors": {"penalty": {"lam": 0.02}}},
    "seeds": 2,
    "analysis": {"primary": {"config": "factors", "against": "none", "tasks": ["tiny/A/py"]}},
}


class InThisProcess:
    """A worker that has imported everything: for what needs no process of its own."""

    count = 1

    def __init__(self) -> None:
        self._done: list[tuple[Run, int]] = []

    def words(self) -> str:
        return "in this process"

    def start(self, run: Run) -> None:
        folder, _ = pipeline.start(str(run.file), run.path)
        with pipeline.working(folder):
            pipeline.train(folder, probe=False)
            pipeline.generate(folder)
            pipeline.execute(folder)
            pipeline.score(folder)
            pipeline.report(folder)
        self._done.append((run, 0))

    def ended(self) -> list[tuple[Run, int]]:
        done, self._done = self._done, []
        return done

    def close(self) -> None:
        pass


def planned(recipe: Recipe, sandbox: str) -> dict[str, Any]:
    return pipeline.start(recipe, "/nowhere/run", sandbox=sandbox)[1].as_dict()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "small.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(running, "_workers", lambda *_: InThisProcess())
        patched.setattr(checking, "_planned", planned)
        options = [str(folder / "small.yaml"), "--output", str(folder / "out")]
        done = CliRunner().invoke(app, ["study", "run", *options])
    assert done.exit_code == 0, done.output
    assert "small, primary comparison: factors against none" in done.output
    return folder / "out"


@pytest.mark.slow
def test_cells_are_ordinary_runs_that_share_their_base(whole: Path) -> None:
    runs = runs_of(existing_study(whole), whole)
    assert all(run.is_finished() for run in runs)
    assert Events(whole).failures() == []
    scores = {run.name: [(s["arm"], s["variant"], s["task"]) for s in read_summary(run.path)["scores"]] for run in runs}
    tasks = ["tiny/A/py"]
    assert scores == {
        "base": [(None, "base", task) for task in tasks],
        **{
            f"{arm},seed={seed}": [(arm, "adapter", task) for task in tasks]
            for seed in (0, 1)
            for arm in ("none", "factors")
        },
    }
    adapters = {path.read_bytes() for path in whole.glob("cells/*/*/train/adapter/adapter_model.safetensors")}
    assert len(adapters) == 4, "every arm and seed trains another adapter"


@pytest.mark.slow
def test_what_they_show_is_written_and_written_again(whole: Path) -> None:
    findings = json.loads((whole / "study.json").read_text())
    assert (findings["name"], findings["cells"], findings["finished"]) == ("small", 4, 4)
    written = {name: (whole / name).read_bytes() for name in ("study.json", "results.jsonl", "report.html")}
    for name in written:
        (whole / name).unlink()
    running.report_study(whole)
    assert {name: (whole / name).read_bytes() for name in written} == written


@pytest.mark.thorough
@pytest.mark.slow
def test_the_small_evidence_in_processes_of_its_own(tmp_path: Path) -> None:
    settings = ["train.max_steps=2", "train.eval_steps=1", "train.save_steps=2", "sampling.max_new_tokens=20"]
    overrides = [part for setting in settings for part in ("--set", setting)]
    done = CliRunner().invoke(app, ["study", "run", "evidence-small", *overrides, "--output", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out" / "study.json").read_text())["finished"] == 7
    assert (tmp_path / "out" / "report.html").stat().st_size > 0
    assert all(run.is_finished() for run in runs_of(existing_study(tmp_path / "out"), tmp_path / "out"))
    assert "probe none" in (tmp_path / "out" / "logs" / "none,seed=0.log").read_text()
    assert "probe none" not in (tmp_path / "out" / "logs" / "none,seed=1.log").read_text(), "once a configuration"
