"""The log's time and memory, on a clock and a memory that the tests set."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flexlora.files import append_jsonl, read_appended
from flexlora.training import log, peak_memory
from flexlora.training.log import MEASURED, LogFile


class Machine:
    """A clock and a peak of memory."""

    now = 100.0
    peak: float | None = 1.0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(log, "time", SimpleNamespace(monotonic=lambda: machine.now))
    monkeypatch.setattr(log, "reset_peak", lambda: machine.peak is not None)
    monkeypatch.setattr(log, "peak_gb", lambda: machine.peak)
    return machine


def steps(file: LogFile, machine: Machine, first: int, last: int) -> None:
    """Train from one step to another: 2 s a step, logged at each second one, then 50 s of validation, a checkpoint."""

    def call(moment: str, step: int, **more: Any) -> None:
        getattr(file, moment)(None, SimpleNamespace(global_step=step, epoch=0.5), None, **more)

    call("on_train_begin", first)
    machine.now += 7  # loading
    call("on_epoch_begin", first)
    for step in range(first + 1, last + 1):
        machine.now += 2
        call("on_step_end", step)
        if step % 2 == 0:
            call("on_log", step, logs={"loss": 1.0, "other": 3})
        if step % 4 == 0:
            machine.now += 50
            call("on_log", step, logs={"eval_loss": 2.0})
            call("on_evaluate", step)
            machine.now += 30
            call("on_save", step)


def read(path: Path) -> list[tuple[int, float, float | None]]:
    return [(record["step"], *(record[name] for name in MEASURED)) for record in read_appended(path)]


def test_time_is_that_of_steps_without_loading_validation_and_checkpoints(machine: Machine, tmp_path: Path) -> None:
    steps(LogFile(tmp_path / "log.jsonl", upto=0), machine, 0, 6)
    assert read(tmp_path / "log.jsonl") == [(2, 4, 1), (4, 8, 1), (4, 8, 1), (6, 12, 1)]
    assert read_appended(tmp_path / "log.jsonl")[0].keys() == {"step", "epoch", "loss", *MEASURED}


def test_a_resumed_training_goes_on_from_the_checkpoint_s_time_and_memory(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    machine.peak = 3.0
    steps(LogFile(path, upto=0), machine, 0, 7)  # killed after step 7, with a checkpoint at step 4
    machine.now, machine.peak = 5.0, 2.0
    steps(LogFile(path, upto=4), machine, 4, 8)
    machine.peak = 4.0
    steps(LogFile(path, upto=8), machine, 8, 10)
    assert read(path) == [(2, 4, 3), (4, 8, 3), (4, 8, 3), (6, 12, 3), (8, 16, 3), (8, 16, 3), (10, 20, 4)]


def test_where_nobody_counts_memory_there_is_none(machine: Machine, tmp_path: Path) -> None:
    machine.peak = None
    steps(LogFile(tmp_path / "log.jsonl", upto=0), machine, 0, 2)
    assert read(tmp_path / "log.jsonl") == [(2, 4, None)]


def test_a_finished_training_s_validation_has_its_last_time_and_memory(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    steps(LogFile(path, upto=0), machine, 0, 2)
    file = LogFile(path, upto=2)
    machine.now += 9
    file.on_log(None, SimpleNamespace(global_step=2, epoch=1.0), None, logs={"eval_loss": 2.0})
    assert read(path) == [(2, 4, 1), (2, 4, 1)]


def test_lines_of_an_earlier_version_count_for_nothing(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_jsonl(path, {"step": 2, "loss": 1.0, "wall_s": 30.0})
    steps(LogFile(path, upto=2), machine, 2, 4)
    assert [record.get("train_s") for record in read_appended(path)] == [None, 4, 4]


@pytest.mark.skipif(not (peak_memory.PROCESS / "clear_refs").exists(), reason="no /proc of Linux")
@pytest.mark.skipif(peak_memory.torch.cuda.is_available(), reason="counts the GPU's memory here")
def test_the_peak_is_that_since_the_last_reset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not peak_memory.reset_peak():
        pytest.skip("this process may not reset its peak")
    size = 150_000_000
    held = b"1" * size
    high = peak_memory.peak_gb()
    del held
    assert high > size / 1e9
    assert peak_memory.peak_gb() > high - 0.1 * size / 1e9  # the kernel counts in rough steps
    peak_memory.reset_peak()
    assert peak_memory.peak_gb() < high - 0.9 * size / 1e9
    monkeypatch.setattr(peak_memory, "PROCESS", tmp_path / "absent")
    assert not peak_memory.reset_peak()
