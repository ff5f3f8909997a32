"""Saved adapters are found by folder, run directory or hub id."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.test_saved import save
from flexlora.errors import UsageError
from flexlora.files import write_json, write_whole
from flexlora.spectra import find_adapters
from small_models import make_model
from standin_hub import StandInHub


def make_run(path: Path, arms: tuple[str, ...]) -> Path:
    listed = ", ".join(f"{arm}: {{}}" for arm in arms)
    write_whole(path / "recipe.yaml", f"model: m\ndata: [{{dataset: mbpp}}]\ntasks: [mbpp]\narms: {{{listed}}}\n")
    write_json(path / "environment.json", {})
    return path


def test_a_run_names_its_trained_arms_in_the_recipes_order(small_model: Path, tmp_path: Path) -> None:
    adapters = [save(small_model, tmp_path / name) for name in ("one", "two")]
    run = make_run(tmp_path / "run", ("plain", "fourier", "later"))
    with pytest.raises(UsageError, match=r"no arm of this run is trained yet. `flexlora train"):
        find_adapters([str(run)])
    for arm, adapter in zip(("fourier", "plain"), adapters, strict=True):
        (run / arm / "train").mkdir(parents=True)
        adapter.rename(run / arm / "train" / "adapter")
    found = find_adapters([str(run)])
    assert list(found) == ["run/plain", "run/fourier"]
    assert found["run/fourier"] == run / "fourier" / "train" / "adapter"
    # An arm's folder by itself has the same label; naming it twice is refused.
    assert list(find_adapters([str(run / "plain" / "train" / "adapter")])) == ["run/plain"]
    with pytest.raises(UsageError, match="named twice"):
        find_adapters([str(run), str(run / "plain" / "train" / "adapter")])


def test_two_runs_of_one_name_keep_their_adapters_apart(small_model: Path, tmp_path: Path) -> None:
    for place in ("a", "b"):
        save(small_model, tmp_path / place / "run" / "main" / "train" / "adapter")
    found = find_adapters(str(tmp_path / place / "run" / "main" / "train" / "adapter") for place in ("a", "b"))
    assert len(found) == 2


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "nothing", "runs/typo"])
def test_names_that_lead_nowhere_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("looked for on the hub")

    monkeypatch.setattr("flexlora.adapters.saved.snapshot_download", never)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match="there is no such folder"):
        find_adapters([name])


def test_a_folder_above_an_adapter_is_refused_with_the_adapter(small_model: Path, tmp_path: Path) -> None:
    save(small_model, tmp_path / "run" / "main" / "train" / "adapter")
    with pytest.raises(UsageError, match=r"There is .*/run/main/train/adapter"):
        find_adapters([str(tmp_path / "run" / "main")])


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither an adapter \(it has no adapter_config.json\) nor a run"):
        find_adapters([str(tmp_path)])


CODE = """
import sys
from flexlora.adapters import saved_pairs
from flexlora.errors import UsageError
from flexlora.spectra import find_adapters
for name in ("me/adapter", "me/model"):
    try:
        (folder,) = find_adapters([name]).values()
        print(len(saved_pairs(folder)))
    except UsageError as error:
        print(error)
"""


@pytest.mark.thorough
def test_an_adapter_comes_from_the_hub(tmp_path: Path) -> None:
    model = make_model(tmp_path / "hub" / "models" / "me" / "model", "llama")
    save(model, tmp_path / "hub" / "models" / "me" / "adapter")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    with StandInHub(tmp_path / "hub") as hub:
        environment = kept | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            [sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=False, timeout=300
        )
    count, refused = done.stdout.splitlines()
    assert count == "4"
    assert "'me/model'" in refused
    assert "needs adapter_config.json and adapter_model.safetensors" in refused
    assert not any("model.safetensors" in one and "adapter_model" not in one for one in hub.requests)
