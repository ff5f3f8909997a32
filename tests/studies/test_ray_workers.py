"""Cells as tasks of a Ray cluster: what they ask for, and two real nodes of which one is killed half-way."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flexlora.errors import UsageError
from flexlora.files import read_appended
from flexlora.studies import processes, running
from flexlora.studies.files import load_study
from flexlora.studies.folder import runs_of
from flexlora.studies.ray_workers import Demand, demand
from ray_nodes import Start, clusters, ray

STAND_IN = Path(__file__).with_name("stand_in.py")
SMALL = "recipe: demo\nset: {tasks: [{name: tiny/A/py, limit: 2}]}\narms: {a: {}, b: {lora: {rank: 4}}}\nseeds: 2\n"


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    with clusters(monkeypatch) as start:
        yield start


@pytest.mark.parametrize(
    ("nodes", "wanted", "expected"),
    [
        ([{"CPU": 8}, {"CPU": 4}], None, Demand(at_a_time=12, cpus=1, gpus=0)),
        ([{"CPU": 8}, {"CPU": 4}], 3, Demand(at_a_time=3, cpus=4, gpus=0)),
        ([{"CPU": 8}, {"CPU": 4}], 1, Demand(at_a_time=1, cpus=8, gpus=0)),
        ([{"CPU": 64}, {"CPU": 32, "GPU": 4}, {"CPU": 16, "GPU": 4}], None, Demand(at_a_time=8, cpus=4, gpus=1)),
        ([{"CPU": 2, "GPU": 4}], 2, Demand(at_a_time=2, cpus=1, gpus=1)),
    ],
)
def test_a_cell_asks_for_its_share(nodes: list[dict[str, float]], wanted: int | None, expected: Demand) -> None:
    assert demand(nodes, wanted) == expected


def test_a_cluster_without_cpus_is_refused() -> None:
    with pytest.raises(UsageError, match="no CPUs"):
        demand([{"CPU": 0}], None)


@pytest.mark.thorough
@pytest.mark.slow
def test_a_study_goes_on_where_a_node_is_killed(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "flexlora", lambda: (sys.executable, str(STAND_IN)))
    monkeypatch.setattr(running, "write_all", lambda folder: {"failures": []})
    (tmp_path / "small.yaml").write_text(SMALL)
    study = load_study(tmp_path / "small.yaml")
    (tmp_path / "orders").mkdir()
    for run in runs_of(study, tmp_path / "out"):
        (tmp_path / "orders" / run.name).write_text("wait")
    nodes = start()
    killed: dict[str, list[str]] = {}

    def kill_one() -> None:
        began: list[Path] = []
        while len(began) < 2:
            time.sleep(0.1)
            began = [path for path in tmp_path.glob("out/*/*/begun") if path.read_text()]
        nodes.kill_other()
        killed["meanwhile"] = [path.parent.name for path in began]
        for order in (tmp_path / "orders").iterdir():
            order.write_text("work")

    watch = threading.Thread(target=kill_one)
    watch.start()
    try:
        running.run_study(study, tmp_path / "out", executor="ray")
    finally:
        watch.join()
    assert not ray.is_initialized()
    assert "2 at a time on 2 nodes of a Ray cluster (1 CPU each)" in capsys.readouterr().err
    assert all(run.is_finished() for run in runs_of(study, tmp_path / "out"))
    assert running.Events(tmp_path / "out").failures() == []
    started = {path.parent.name: len(path.read_text().splitlines()) for path in tmp_path.glob("out/*/*/begun")}
    assert sorted(started[name] for name in killed["meanwhile"]) == [1, 2], "that of the lost node was started anew"
    events = [event["event"] for event in read_appended(tmp_path / "out" / "events.jsonl")]
    assert (events.count("started"), events.count("finished")) == (5, 5)


@pytest.mark.thorough
@pytest.mark.slow
def test_a_node_that_does_not_see_the_folder_is_named(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flexlora.studies.ray_workers import RayWorkers

    start()
    real = Path.touch
    monkeypatch.setattr(Path, "touch", lambda self: None if self.name.startswith(".shared-") else real(self))
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
    with pytest.raises(UsageError, match=r"(?s)127\.0\.0\.2 .*does not see .*127\.0\.0\.3 .*does not see .*share"):
        RayWorkers(None, "bubblewrap", tmp_path)
    assert not ray.is_initialized()
