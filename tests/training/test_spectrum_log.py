"""The log of spectra: what a line holds, when one is written, and that training does not notice."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from flexlora.adapters import add_lora, lora_pairs
from flexlora.files import append_jsonl, read_appended
from flexlora.recipe import Lora, Penalty, Recipe, from_dict
from flexlora.spectra import saved_spectra
from flexlora.training import train_adapter
from flexlora.training.spectrum_log import SpectrumLog


def state(step: int, last: int = 100, main: bool = True) -> Any:
    return SimpleNamespace(global_step=step, max_steps=last, is_world_process_zero=main)


@pytest.fixture
def model(small_model: Path) -> Any:
    adapted = add_lora(AutoModelForCausalLM.from_pretrained(small_model), Lora(), seed=0)
    for pair in lora_pairs(adapted):
        torch.nn.init.normal_(pair.B)
    return adapted


@pytest.mark.parametrize(
    ("penalty", "factors"),
    [({}, {"A", "B"}), ({"view": "rows", "tau": 0.25}, {"A", "B"}), ({"view": "delta"}, {"dW"})],
)
def test_a_line_has_every_figure_in_the_penaltys_view(
    penalty: dict[str, Any], factors: set[str], model: Any, tmp_path: Path
) -> None:
    chosen = Penalty(**penalty)
    SpectrumLog(tmp_path / "s.jsonl", 5, chosen, upto=0).on_step_end(None, state(10), None, model=model)
    (line,) = read_appended(tmp_path / "s.jsonl")
    assert (line["step"], line["view"], line["tau"]) == (10, chosen.view, chosen.tau)
    for name in ("energy", "bands", "noise", "share", "noise_share", "centroid", "noise_centroid"):
        assert set(line[name]) == factors
    model.save_pretrained(tmp_path / "adapter")
    (saved,) = saved_spectra([str(tmp_path / "adapter")], view=chosen.view, tau=chosen.tau).values()
    for factor, spectrum in saved.total().items():
        assert line["bands"][factor] == pytest.approx(spectrum.bands)
        assert line["share"][factor] == pytest.approx(spectrum.high_share)
        assert len(line["noise"][factor]) == 16


def test_lines_are_written_at_the_start_every_so_many_steps_and_at_the_end(model: Any, tmp_path: Path) -> None:
    log = SpectrumLog(tmp_path / "s.jsonl", 4, Penalty(), upto=0)
    log.on_train_begin(None, state(0, 10), None, model=model)
    for step in range(1, 11):
        log.on_step_end(None, state(step, 10), None, model=model)
    log.on_step_end(None, state(10, 10), None, model=model)
    assert [line["step"] for line in read_appended(tmp_path / "s.jsonl")] == [0, 4, 8, 10]
    other = SpectrumLog(tmp_path / "other.jsonl", 1, Penalty(), upto=0)
    other.on_step_end(None, state(1, main=False), None, model=model)
    assert not (tmp_path / "other.jsonl").exists()


def test_resuming_takes_back_the_lines_after_the_checkpoint(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    for step in (0, 4, 8):
        append_jsonl(path, {"step": step, "kept": True})
    log = SpectrumLog(path, 4, Penalty(), upto=6)
    log.on_train_begin(None, state(6), None, model=model)
    assert [line["step"] for line in read_appended(path)] == [0, 4]
    log.on_step_end(None, state(8), None, model=model)
    assert "kept" not in read_appended(path)[-1]


@pytest.fixture
def recipe(benchmark: Path, small_model: Path) -> Recipe:
    return from_dict(
        {
            "model": str(small_model),
            "data_dir": str(benchmark),
            "data": [{"dataset": "mbpp"}],
            "tasks": ["humaneval"],
            "lora": {"dropout": 0.1},
            "penalty": {"lam": 5.0},
            "optimizer": {"learning_rate": 0.01},
            "train": {"max_steps": 12, "max_length": 96, "spectrum_steps": 6, "scheduler": "constant"},
            "arms": {"fourier": {}, "plain": {"penalty": {"lam": 0}}, "silent": {"train": {"spectrum_steps": None}}},
        }
    )


def test_the_log_shows_the_penalty_at_work_and_changes_nothing(recipe: Recipe, tmp_path: Path) -> None:
    adapters = {arm: train_adapter(recipe.arm(arm), tmp_path / arm) for arm in recipe.arm_names()}
    logs = {arm: read_appended(tmp_path / arm / "spectrum.jsonl") for arm in adapters}
    assert [line["step"] for line in logs["fourier"]] == [0, 6, 12]
    assert not (tmp_path / "silent" / "spectrum.jsonl").exists()
    for arm in ("fourier", "plain"):
        start, *_, end = logs[arm]
        assert start["share"]["A"] == pytest.approx(start["noise_share"]["A"], abs=0.03)  # A begins as white noise
        assert (start["energy"]["B"], start["centroid"]["B"]) == (0, None)
        (saved,) = saved_spectra([str(adapters[arm])]).values()
        assert end["bands"]["B"] == pytest.approx(saved.total()["B"].bands)
    assert logs["fourier"][-1]["share"]["A"] < logs["plain"][-1]["share"]["A"] - 0.05
    with_log, without = (load_file(adapters[arm] / "adapter_model.safetensors") for arm in ("fourier", "silent"))
    assert all(torch.equal(with_log[name], without[name]) for name in with_log)
