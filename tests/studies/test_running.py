"""Studies are run, stopped and continued, with a stand-in for `flexlora run`; a real one is in `test_whole_study`."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from flexlora.errors import FlexError, UsageError
from flexlora.files import read_appended
from flexlora.recipe import dumped
from flexlora.studies import processes, progress, running
from flexlora.studies.events import Events
from flexlora.studies.files import load_study
from flexlora.studies.folder import OVERWRITING, begin_study, folder_of, locked_study, runs_of
from flexlora.studies.schema import Study
from flexlora.studies.workers import LocalWorkers

STAND_IN = Path(__file__).with_name("stand_in.py")
SMALL = "recipe: demo\nset: {tasks: [{name: tiny/A/py, limit: 2}]}\narms: {a: {}, b: {lora: {rank: 4}}}\nseeds: 2\n"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / "small.yaml").write_text(SMALL)
    return load_study(tmp_path / "small.yaml")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """`flexlora run` in little, and nothing of what comes after the runs."""
    monkeypatch.setattr(processes, "flexlora", lambda: (sys.executable, str(STAND_IN)))
    monkeypatch.setattr(running, "write_all", lambda folder: {"failures": []})
    monkeypatch.setattr(running, "POLL_S", 0.01)


@pytest.fixture
def tell(tmp_path: Path) -> Callable[[str, str], None]:
    """Tell the stand-in what to do in a run."""

    def tell(run: str, order: str) -> None:
        (tmp_path / "orders").mkdir(exist_ok=True)
        (tmp_path / "orders" / run).write_text(order)

    return tell


def begun(folder: Path) -> dict[str, int]:
    """Run -> how often it was started."""
    return {path.parent.name: len(path.read_text().splitlines()) for path in folder.glob("*/*/begun")}


def test_every_run_is_run_once_bases_first_then_seed_by_seed(study: Study, tmp_path: Path) -> None:
    running.run_study(study, tmp_path / "out", workers=1)
    events = read_appended(tmp_path / "out" / "events.jsonl")
    started = [event["run"] for event in events if event["event"] == "started"]
    assert started == ["base", "a,seed=0", "b,seed=0", "a,seed=1", "b,seed=1"]
    running.run_study(study, tmp_path / "out", workers=1)
    assert begun(tmp_path / "out") == dict.fromkeys(started, 1), "nothing is run twice"


def test_a_failed_run_is_listed_keeps_no_other_and_is_tried_again(
    study: Study, tmp_path: Path, tell: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    tell("a,seed=0", "fail")
    tell("b,seed=1", "die")
    running.run_study(study, tmp_path / "out", workers=2)
    said = capsys.readouterr().err
    assert "FAILED a,seed=0: flexlora: the loss is nan" in said
    assert "3 of 5 finished" in said
    failures = {failure["cell"]: failure for failure in running.Events(tmp_path / "out").failures()}
    assert failures["a,seed=0"]["error"] == "flexlora: the loss is nan\nLower the rate."
    assert failures["a,seed=0"]["log"] == "logs/a,seed=0.log"
    assert failures["b,seed=1"]["error"] == "killed by signal 9: out of memory?"
    for run in failures:
        tell(run, "work")
    running.run_study(study, tmp_path / "out", workers=2)
    assert running.Events(tmp_path / "out").failures() == []
    assert begun(tmp_path / "out") == {"base": 1, "a,seed=0": 2, "b,seed=0": 1, "a,seed=1": 1, "b,seed=1": 2}


def test_a_run_whose_files_cannot_be_written_keeps_no_other_from_running(study: Study, tmp_path: Path) -> None:
    in_the_way = tmp_path / "out" / "cells" / "a,seed=0" / "report.html"
    with locked_study(tmp_path / "out"):
        begin_study(study, tmp_path / "out")
    in_the_way.mkdir(parents=True)
    running.run_study(study, tmp_path / "out", workers=1)
    (failure,) = running.Events(tmp_path / "out").failures()
    assert failure["cell"] == "a,seed=0"
    assert "report.html" in failure["error"]
    assert begun(tmp_path / "out") == {"base": 1, "b,seed=0": 1, "a,seed=1": 1, "b,seed=1": 1}
    in_the_way.rmdir()
    running.run_study(study, tmp_path / "out", workers=1)
    assert running.Events(tmp_path / "out").failures() == []


def test_a_copy_without_hidden_files_is_still_a_study(study: Study, tmp_path: Path) -> None:
    running.run_study(study, tmp_path / "out", workers=2)
    (tmp_path / "out" / ".lock").unlink()
    (tmp_path / "out").rename(tmp_path / "copy")
    assert folder_of(str(tmp_path / "copy")) == tmp_path / "copy"
    running.report_study(tmp_path / "copy")


def test_without_one_finished_cell_there_is_nothing_to_show(
    study: Study, tmp_path: Path, tell: Callable[[str, str], None]
) -> None:
    for run in runs_of(study, tmp_path / "out")[1:]:
        tell(run.name, "fail")
    with pytest.raises(FlexError, match=r"(?s)no cell could be finished.*- a,seed=0, see logs.*the loss is nan"):
        running.run_study(study, tmp_path / "out")
    with pytest.raises(FlexError, match="no cell is finished yet"):
        running.report_study(tmp_path / "out")


def test_what_is_wrong_is_said_before_anything_is_run(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL + "grid: {data: {good: [{dataset: mbpp}], bad: [{dataset: nowhere}]}}\n")
    with pytest.raises(UsageError, match=r"^data: nowhere is missing$"):
        running.run_study(load_study(tmp_path / "small.yaml"), tmp_path / "out")
    assert not list((tmp_path / "out").glob("[a-z]*")), "not even study.yaml is written"


def test_a_run_directory_of_another_recipe_is_not_taken_for_finished(study: Study, tmp_path: Path) -> None:
    run = runs_of(study, tmp_path / "out")[-1]
    assert not run.is_finished()
    run.path.mkdir(parents=True)
    recipe = yaml.safe_dump(dumped(run.recipe))
    (run.path / "recipe.yaml").write_text(recipe.replace("workers: null", "workers: 3"))
    (run.path / "summary.json").touch()
    assert not run.is_finished()
    (run.path / "report.html").touch()
    assert run.is_finished(), "how many programs run at a time changes nothing"
    assert "warmup_steps: 0\n" in recipe
    (run.path / "recipe.yaml").write_text(recipe.replace("  warmup_steps: 0\n", ""))
    assert run.is_finished(), "of an older FLeX, which did not have a key yet"
    (run.path / "recipe.yaml").write_text(recipe.replace("rank: 4", "rank: 5"))
    assert not run.is_finished()
    (run.path / "recipe.yaml").write_text(recipe)
    run.prepare()
    assert not run.is_finished(), "what is begun again is finished only when it has ended again"


def finish(study: Study, folder: Path) -> None:
    """What a finished study has, without running it."""
    with locked_study(folder):
        begin_study(study, folder)
    for run in runs_of(study, folder):
        run.path.mkdir(parents=True)
        (run.path / "recipe.yaml").write_text(yaml.safe_dump(dumped(run.recipe)))
        for name in ("summary.json", "report.html"):
            (run.path / name).touch()


def test_after_an_overwriting_that_was_killed_all_is_run_anew(study: Study, tmp_path: Path) -> None:
    finish(study, tmp_path / "out")
    (tmp_path / "out" / OVERWRITING).touch()
    running.run_study(study, tmp_path / "out", workers=2)
    assert begun(tmp_path / "out") == dict.fromkeys((run.name for run in runs_of(study, tmp_path / "out")), 1)
    assert all(run.is_finished() for run in runs_of(study, tmp_path / "out"))


def test_what_cannot_be_deleted_is_not_overwritten_in_part(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(study, tmp_path / "out")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(FlexError, match=r"out/bases: cannot be deleted \(Permission denied\). Delete it by hand"):
        begin_study(study, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / OVERWRITING).exists(), "the next run goes on with it"


def test_a_directory_named_as_a_study_is_continued(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(study, tmp_path / "out")
    assert folder_of(str(tmp_path / "out")) == tmp_path / "out"
    assert folder_of(str(tmp_path / "small.yaml")) is None
    assert folder_of("demo") is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").rename(tmp_path / "controls")
    assert folder_of("controls") is None, "the packaged one"
    assert folder_of("./controls") == Path("controls")


def test_what_a_run_says_is_no_markup(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=120)
    monkeypatch.setattr(progress, "console", screen)
    runs = runs_of(study, tmp_path / "out")
    shown = progress.Progress(runs, runs, LocalWorkers(1, (), "none"), Events(tmp_path / "out"))
    runs[0].log.parent.mkdir(parents=True)
    runs[0].log.write_text("[1/3] loss [/red]\n")
    shown.started(runs[0])
    shown.failed(runs[1], "KeyError: [/bold]")
    screen.print(shown._table())
    said = screen.file.getvalue()
    assert "[1/3] loss [/red]" in said
    assert "KeyError: [/bold]" in said


def test_a_run_that_was_finished_all_the_same_has_not_failed(tmp_path: Path) -> None:
    events = Events(tmp_path)
    for run in ("a", "b"):
        events.add(run, "failed", resumed=False, wall_s=1.0, error="lost")
    assert [failure["cell"] for failure in events.failures({"a"})] == ["b"]


def test_gpus_and_threads_are_shared_out(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-5")
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("flexlora.studies.workers.cores", lambda: 6)
    running.run_study(study, tmp_path / "out")
    seen = {tuple(path.read_text().split()[1:]) for path in (tmp_path / "out").glob("*/*/begun")}
    assert seen == {("3", "4"), ("3", "GPU-5")}, "two at a time, one for each GPU"


HOLDER = """
import sys
from pathlib import Path
from flexlora.recipe import dumped
from flexlora.studies import processes, running
from flexlora.studies.files import load_study
processes.flexlora = lambda: (sys.executable, {stand_in!r})
running.run_study(load_study({study!r}), Path({out!r}), workers=1)
"""


@pytest.fixture
def other(tmp_path: Path, study: Study, tell: Callable[[str, str], None]) -> Any:
    """Another process that runs the study, and is in the midst of `b,seed=0`."""
    tell("b,seed=0", "wait")
    script = HOLDER.format(stand_in=str(STAND_IN), study=str(tmp_path / "small.yaml"), out=str(tmp_path / "out"))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    mark = tmp_path / "out" / "cells" / "b,seed=0" / "begun"
    while not (mark.exists() and mark.read_text()):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_a_killed_study_takes_its_runs_along_and_continues(
    other: subprocess.Popen[str], study: Study, tmp_path: Path, tell: Callable[[str, str], None]
) -> None:
    with pytest.raises(UsageError, match="another process is running this study"):
        running.run_study(study, tmp_path / "out", workers=1)
    child = int((tmp_path / "out" / "cells" / "b,seed=0" / "begun").read_text().split()[0])
    other.send_signal(signal.SIGKILL)
    other.wait()
    while not gone(child):  # nobody but the kernel ends it, as it is told to wait for ever
        time.sleep(0.02)
    tell("b,seed=0", "work")
    running.run_study(study, tmp_path / "out", workers=1)
    assert begun(tmp_path / "out") == {"base": 1, "a,seed=0": 1, "b,seed=0": 2, "a,seed=1": 1, "b,seed=1": 1}
    assert all(run.is_finished() for run in runs_of(study, tmp_path / "out"))
    timed = running.Events(tmp_path / "out").seconds()
    assert "b,seed=0" not in timed, "what went on with something says nothing of a whole run's time"
    assert "a,seed=1" in timed


def test_ctrl_c_ends_the_runs(other: subprocess.Popen[str], tmp_path: Path) -> None:
    child = int((tmp_path / "out" / "cells" / "b,seed=0" / "begun").read_text().split()[0])
    assert os.getsid(child) != os.getsid(other.pid), "the terminal does not interrupt it as well"
    other.send_signal(signal.SIGINT)
    assert other.wait() != 0
    assert gone(child)
