"""`flexlora spectrum` as a user meets it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from flexlora.adapters import add_lora, lora_pairs
from flexlora.cli import main
from flexlora.errors import UsageError
from flexlora.files import write_json, write_whole
from flexlora.fourier import FourierPenalty
from flexlora.recipe import Lora


@pytest.fixture(scope="module")
def run(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two arms: random factors, and the same after descending the penalty."""
    run = tmp_path_factory.mktemp("runs") / "demo"
    write_whole(
        run / "recipe.yaml", "model: m\ndata: [{dataset: mbpp}]\ntasks: [mbpp]\narms: {plain: {}, fourier: {}}\n"
    )
    write_json(run / "environment.json", {})
    model = add_lora(AutoModelForCausalLM.from_pretrained(small_model), Lora(), seed=0)
    for pair in lora_pairs(model):
        torch.nn.init.normal_(pair.B)
    model.save_pretrained(run / "plain" / "train" / "adapter")
    penalty = FourierPenalty(model, lam=0.45)
    penalty.add_gradient()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0).step()
    model.save_pretrained(run / "fourier" / "train" / "adapter")
    return run


def spectrum(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Standard output of the command in this process, which has loaded the libraries already."""
    monkeypatch.setattr(sys, "argv", ["flexlora", "spectrum", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None), capsys.readouterr().err
    return capsys.readouterr().out


def test_a_runs_arms_side_by_side_as_a_table_a_picture_and_json(run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flexlora", "spectrum", str(run), "--plot", str(tmp_path / "spectra.png")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "demo/plain" in shown.stdout
    assert "demo/fourier" in shown.stdout
    assert (tmp_path / "spectra.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert list(found) == ["demo/plain", "demo/fourier"]
    for factor in ("A", "B"):
        plain, fourier = (one["total"][factor] for one in found.values())
        assert plain["high_share"] == pytest.approx(plain["noise_high_share"], abs=0.05)
        assert fourier["high_share"] < 0.02  # a tenth of the amplitude is left, a hundredth of the energy
        assert fourier["centroid"] < 0.3 < 0.45 < plain["centroid"]
        assert sum(plain["bands"]) == pytest.approx(plain["energy"])
    one = found["demo/plain"]
    assert sum(parts["A"]["energy"] for parts in one["modules"].values()) == pytest.approx(one["total"]["A"]["energy"])
    assert set(one["kinds"]) == {"gate_proj", "up_proj", "down_proj"}
    assert len(one["modules"]) == 6
    assert (one["view"], one["tau"], len(one["edges"])) == ("factors", 0.5, 17)


def test_views_thresholds_and_bands_are_taken(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def found(*options: object) -> Any:
        return json.loads(spectrum(monkeypatch, capsys, run / "plain/train/adapter", "--json", *options))["demo/plain"]

    delta = found("--view", "delta", "--bands", 4)["total"]["dW"]
    assert [len(delta["bands"]), len(delta["cells"]), len(delta["cells"][0])] == [4, 4, 4]
    assert delta["noise_high_share"] == pytest.approx(0.75, abs=0.05)
    assert found("--tau", 0.25)["total"]["A"]["noise_high_share"] == pytest.approx(0.75, abs=0.05)
    by_row, by_column = (found("--flatten", how)["total"]["B"]["bands"] for how in ("row", "column"))
    assert sum(by_row) == pytest.approx(sum(by_column))
    assert by_row != pytest.approx(by_column)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--tau", "1.5"], "between 0 and 1; got 1.5"),
        (["--bands", "0"], "between 1 and 1024; got 0"),
        (["--view", "rows", "--flatten", "column"], "flattens nothing"),
        (["--plot", "/nowhere/x.png"], "/nowhere does not exist"),
        (["--plot", "x.svg"], "ends in .png"),
    ],
)
def test_wrong_options_are_refused_before_the_adapters_are_read(
    options: list[str], part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr("flexlora.spectra.find_adapters", never)
    monkeypatch.setattr(sys, "argv", ["flexlora", "spectrum", "whatever", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == UsageError.exit_code
    assert part in capsys.readouterr().err
