"""Estimates of a study's time: the formula, from speeds and from finished cells, and what is measured."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flexlora import recipe
from flexlora.errors import FlexError
from flexlora.studies import estimate, processes
from flexlora.studies.checking import preflights
from flexlora.studies.estimate import Rates, Work, estimate_study, seconds_of
from flexlora.studies.events import Events, last_words
from flexlora.studies.files import load_study
from flexlora.studies.probe import STEPS, small
from flexlora.studies.progress import duration, remaining
from flexlora.studies.workers import local_workers

STAND_IN = Path(__file__).with_name("stand_in.py")
RATES = Rates(
    s_per_step=0.5,
    tokens_per_s=100,
    tokens_per_completion={"py": 20, "java": 50},
    s_per_program={"py": 0.01, "java": 0.2},
    s_per_validation=3,
    start_s=10,
    petaflops_per_step=2.0,
)


def test_a_run_is_the_sum_of_its_parts() -> None:
    work = Work(steps=40, validations=2, petaflops_per_step=3.0, completions={"py": 10, "java": 20})
    assert seconds_of(work, RATES) == {
        "start": 10,
        "training": pytest.approx(40 * 0.5 * 1.5),
        "validation": 6,
        "generation": pytest.approx((10 * 20 + 20 * 50) / 100),
        "execution": pytest.approx(10 * 0.01 + 20 * 0.2),
    }
    unknown = seconds_of(Work(completions={"cpp": 1}), RATES)
    assert (unknown["generation"], unknown["execution"]) == (0.5, 0.2), "taken for the slowest"


def test_what_is_left_follows_what_runs_of_the_same_configuration_took() -> None:
    configs = {"base": "base", "a0": "a", "a1": "a", "a2": "a", "b0": "b", "b1": "b"}
    known = {"base": 1.0, "a0": 100.0, "b0": 20.0}
    assert remaining({}, configs, ["a1"], {}, 1) is None
    assert remaining(known, configs, ["a2", "b1"], {"a1": 30.0}, 1) == 100 + 20 + 70
    assert remaining(known, configs, ["a2", "b1"], {"a1": 30.0}, 2) == 100, "no sooner than the longest"
    assert remaining(known, configs, [], {"a1": 130.0}, 2) == 0, "one that takes longer is near its end"
    assert remaining({"base": 1.0, "b0": 20.0}, configs, ["a1"], {}, 1) == 20, "the mean of other cells, not the base"


def test_durations_are_in_words() -> None:
    assert [duration(s) for s in (5, 119, 120, 7199, 7200, 200000)] == [
        *("5 s", "119 s", "2.0 min", "120.0 min", "2.0 h", "2.3 days")
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(processes, "flexlora", lambda: (sys.executable, str(STAND_IN)))
    (tmp_path / "small.yaml").write_text(
        "recipe: demo\nset: {tasks: [{name: tiny/A/py, limit: 2}], validation: []}\narms: {a: {}, b: {}}\nseeds: 2\n"
    )
    return tmp_path


def test_a_dry_run_counts_writes_nothing_and_says_what_it_does_not_know(folder: Path) -> None:
    found = estimate_study(load_study(folder / "small.yaml"), folder / "out", 1, probe=False)
    assert [(run["name"], run["steps"], run["completions"]) for run in found.runs] == [
        ("base", 0, 2),
        *((name, 4, 2) for name in ("a,seed=0", "b,seed=0", "a,seed=1", "b,seed=1")),
    ]
    assert found.seconds is None
    assert any("not estimated, as nothing was measured" in line for line in found.lines())
    assert not (folder / "out").exists()


def test_finished_cells_come_before_a_measurement(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, asked = load_study(folder / "small.yaml"), list[str]()
    monkeypatch.setattr(
        estimate, "probe_rates", lambda one, *_: asked.append(one.name) or replace(RATES, petaflops_per_step=0)
    )
    measured = estimate_study(study, folder / "out", 2)
    assert asked == ["a,seed=0"], "one measurement for each model"
    # A cell: 10 s to start, 4 steps, 2 completions of 20 tokens and their programs; the base without the steps.
    assert measured.seconds == pytest.approx((4 * (10 + 4 * 0.5 + 0.4 + 0.02) + 10.42) / 2)
    (folder / "out").mkdir()
    Events(folder / "out").add("a,seed=0", "finished", resumed=False, wall_s=30.0)
    monkeypatch.setattr(estimate, "open_study", lambda *_: None)  # there is no study.yaml beside it
    found = estimate_study(study, folder / "out", 1)
    assert (found.source, found.seconds) == ("1 finished cells", 5 * 30.0)
    assert len(asked) == 1


def test_a_measurement_has_the_threads_of_a_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("flexlora.studies.workers.cores", lambda: 6)
    monkeypatch.setattr(estimate, "probe_rates", lambda _, __, threads: asked.append(threads) or RATES)
    estimate_study(load_study(folder / "small.yaml"), folder / "out", 2)
    assert asked == [3]
    made = dict[str, Any]()

    def run(command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
        made.update(how["env"], workers=recipe.read_yaml(Path(command[-1]))["execution"]["workers"])
        return subprocess.CompletedProcess(command, 1, "", "no")

    monkeypatch.undo()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(FlexError, match="speeds could not be measured"):
        estimate.probe_rates(recipe.load("demo"), threads=3)
    assert (made["OMP_NUM_THREADS"], made["workers"]) == ("3", 3)


def test_what_is_measured_is_a_small_part_of_the_recipe() -> None:
    whole = recipe.load("demo", ["variants=[adapter]"])
    whole = whole.model_copy(update={"arms": {"factors": {"penalty": {"lam": 0.1}}}})
    part = small(whole)
    assert [(task.name, task.limit) for task in part.tasks] == [
        (f"tiny/A/{language}", 40) for language in ("py", "java", "js", "cpp")
    ], "one batch a language"
    assert (part.train.max_steps, part.sampling.n, part.variants) == (STEPS, 1, ("adapter",))
    assert part.arm("factors").penalty == whole.arm("factors").penalty


def test_configurations_are_checked_as_arms_of_one_run(folder: Path) -> None:
    (folder / "grid.yaml").write_text(
        "recipe: demo\narms: {a: {}, b: {lora: {rank: 2}}}\nseeds: 3\n"
        "grid: {lora.alpha: [8, 16], sampling.max_new_tokens: [10, 20]}\n"
    )
    found = preflights(load_study(folder / "grid.yaml"))
    assert [one.sampling.max_new_tokens for one, _ in found] == [10, 20]
    for one, configs in found:
        tokens = f"max_new_tokens={one.sampling.max_new_tokens}"
        assert list(configs.values()) == [f"{arm} alpha={alpha} {tokens}" for arm in "ab" for alpha in (8, 16)]
        assert [one.arm(arm).lora.rank for arm in configs] == [8, 8, 2, 2]
        assert [one.arm(arm).lora.alpha for arm in configs] == [8, 16, 8, 16]
        assert one.variants == ("base", "adapter")


def test_workers_fit_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flexlora.studies.workers.cores", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    huge = local_workers(None, 10**15, "bubblewrap", 9)
    assert (huge.count, huge.threads) == (1, 4), "memory holds no second one"
    assert local_workers(3, 10**15, "bubblewrap", 9).threads == 1
    assert (last := local_workers(None, 10**6, "bubblewrap", 1)).count == 1, "no more than there is to do"
    assert last.threads == 4
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert local_workers(None, 10**15, "bubblewrap", 9).count == 2, "one for each GPU"


def test_last_words_are_the_error_and_not_the_progress(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("flexlora: of an earlier try\ntrain: 3 of 4\n\nflexlora: out of memory\nUse less.\n")
    assert last_words(log, 1) == "flexlora: out of memory\nUse less."
    log.write_text("one\ntwo\nthree\nfour\n")
    assert last_words(log, 1) == "two\nthree\nfour"
    assert last_words(log, -9) == "killed by signal 9: out of memory?\ntwo\nthree\nfour"
    assert last_words(tmp_path / "none", 3) == "exit code 3, and not a word"
