"""Cells that go on from other cells' adapters are run after them, with a stand-in for `flexlora run`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from flexlora.errors import UsageError
from flexlora.files import read_appended
from flexlora.folder import open_run
from flexlora.recipe import dumped
from flexlora.studies import processes, running
from flexlora.studies.cells import cells_of
from flexlora.studies.checking import preflights
from flexlora.studies.files import load_study
from flexlora.studies.folder import runs_of
from flexlora.studies.schema import Study

SMALL = """
recipe: demo
set: {tasks: [{name: tiny/A/py, limit: 2}]}
arms: {second: {lora: {init_adapter: "cell:first"}}, other: {}, first: {data: [{dataset: tiny/B2/py}]}}
seeds: 2
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setattr(processes, "flexlora", lambda: (sys.executable, str(Path(__file__).with_name("stand_in.py"))))
    monkeypatch.setattr(running, "write_all", lambda folder: {"failures": []})
    monkeypatch.setattr(running, "POLL_S", 0.01)
    (tmp_path / "small.yaml").write_text(SMALL)
    return load_study(tmp_path / "small.yaml")


def events(folder: Path, kind: str) -> list[str]:
    return [event["run"] for event in read_appended(folder / "events.jsonl") if event["event"] == kind]


def test_a_cell_waits_for_the_one_with_its_seed_and_is_given_its_adapter(study: Study, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    running.run_study(study, folder, workers=3)
    finished, started = events(folder, "finished"), events(folder, "started")
    order = [(event["event"], event["run"]) for event in read_appended(folder / "events.jsonl")]
    for seed in (0, 1):
        first, second = f"first,seed={seed}", f"second,seed={seed}"
        assert order.index(("finished", first)) < order.index(("started", second))
        (run,) = (run for run in runs_of(study, folder) if run.name == second)
        assert run.recipe.arm("second").lora.init_adapter == str(
            folder / "cells" / first / "first" / "train" / "adapter"
        )
    assert len(finished) == len(started) == 7
    running.run_study(study, folder)
    assert len(events(folder, "started")) == 7, "nothing is run twice"


def test_a_cell_whose_predecessor_failed_is_listed_and_tried_again_with_it(study: Study, tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "first,seed=0").write_text("fail")
    running.run_study(study, tmp_path / "out", workers=1)
    failures = {failure["cell"]: failure["error"] for failure in running.Events(tmp_path / "out").failures()}
    assert failures.keys() == {"first,seed=0", "second,seed=0"}
    assert failures["second,seed=0"] == "goes on from the adapter of first,seed=0, which failed"
    (tmp_path / "orders" / "first,seed=0").write_text("work")
    running.run_study(study, tmp_path / "out", workers=1)
    assert running.Events(tmp_path / "out").failures() == []


def test_a_study_that_is_moved_stays_finished(study: Study, tmp_path: Path) -> None:
    for run in runs_of(study, tmp_path / "there"):
        run.path.mkdir(parents=True)
        (run.path / "recipe.yaml").write_text(yaml.safe_dump(dumped(run.recipe)))
        for name in ("summary.json", "report.html"):
            (run.path / name).touch()
    (tmp_path / "there").rename(tmp_path / "here")
    assert all(run.is_finished() for run in runs_of(study, tmp_path / "here"))
    (run,) = (run for run in runs_of(study, tmp_path / "here") if run.name == "second,seed=1")
    recipe = run.path / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("first,seed=1", "first,seed=0"))
    assert not run.is_finished(), "from another cell"


def test_a_run_that_was_begun_goes_on_where_its_study_was_moved_to(study: Study, tmp_path: Path) -> None:
    (run,) = (run for run in runs_of(study, tmp_path / "there") if run.name == "second,seed=1")
    run.path.mkdir(parents=True)
    (run.path / "recipe.yaml").write_text(yaml.safe_dump(dumped(run.recipe)))
    (run.path / ".lock").touch()
    (tmp_path / "there").rename(tmp_path / "here")
    (moved,) = (run for run in runs_of(study, tmp_path / "here") if run.name == "second,seed=1")
    with pytest.raises(UsageError, match="init_adapter"):
        open_run(moved.recipe, moved.path)
    moved.prepare()
    open_run(moved.recipe, moved.path)


def test_what_is_checked_and_probed_beforehand_starts_from_the_base(study: Study) -> None:
    assert {cell.follows for cell in cells_of(study)} == {None, "first,seed=0", "first,seed=1"}
    for recipe, _ in preflights(study):
        for arm in recipe.arms:
            assert recipe.arm(arm).lora.init_adapter is None


def test_an_arm_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(SMALL.replace("cell:first", "cell:furst"))
    with pytest.raises(UsageError, match=r"cell:furst is no cells with seed 0.*name an arm with that seed"):
        load_study(tmp_path / "wrong.yaml")
