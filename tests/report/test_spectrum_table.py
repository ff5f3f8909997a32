import io
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from rich.console import Console

from flexlora.errors import UsageError
from flexlora.fourier import AdapterSpectrum, Spectrum, SpectrumOptions, adapter_spectrum
from flexlora.report.spectrum import bar, print_spectra
from flexlora.report.spectrum_plot import check_plot, plot_spectra


@dataclass
class Pair:
    module: str
    A: torch.Tensor
    B: torch.Tensor
    scaling: float = 1.0


def waves(*bands: int, n: int = 64) -> torch.Tensor:
    """A row whose energy lies in the middle of the named bands of 16, each as much."""
    t = torch.arange(n, dtype=torch.float64)
    return sum((torch.cos(math.pi * (band + 0.5) / 16 * t) for band in bands), torch.zeros(n))[None]


def spectrum(*bands: int, view: str = "factors", module: str = "layers.0.mlp.up_proj") -> AdapterSpectrum:
    A = waves(*bands)
    return adapter_spectrum([Pair(module, A, A.mT)], SpectrumOptions(view=view))  # type: ignore[arg-type]


def printed(width: int, spectra: dict[str, AdapterSpectrum]) -> str:
    text = io.StringIO()
    print_spectra(spectra, Console(file=text, width=width))
    return text.getvalue()


def test_a_bar_has_a_character_a_band_on_a_logarithmic_scale() -> None:
    assert bar(spectrum(3).total()["A"]) == "···█············"
    noise = adapter_spectrum([Pair("m", torch.randn(64, 512), torch.zeros(9, 64))], SpectrumOptions()).total()
    assert bar(noise["A"]) == "▄" * 16
    assert bar(noise["B"]) == "x" * 16
    four = {"directions": (1.0,) * 4, "high": 0, "moment": 0, "directions_high": 2, "directions_moment": 2}
    assert bar(Spectrum(bands=(2, 1, 0.5, 0.5), **four)) == "▆▄▂▂"  # type: ignore[arg-type]


def test_layers_have_a_row_each_by_their_short_names() -> None:
    first, second = (waves(band) for band in (2, 12))
    pairs = [Pair(f"base_model.model.model.layers.{i}.mlp.up_proj", w, w.mT) for i, w in enumerate((first, second))]
    text = io.StringIO()
    one = adapter_spectrum(pairs, SpectrumOptions())
    print_spectra({"run": one}, Console(file=text, width=100), layers=True)
    rows = [line for line in text.getvalue().splitlines() if "layers." in line]
    assert [row.split()[0] for row in rows] == ["layers.0.mlp.up_proj", "layers.1.mlp.up_proj"] * 2  # of A and of B
    assert "0.0 % · 0.16" in rows[0]
    assert "100.0 % · 0.78" in rows[1]


def test_adapters_stand_side_by_side_with_the_noise_beside_them() -> None:
    text = printed(100, {"run/plain": spectrum(2, 12), "run/fourier": spectrum(2)})
    lines = text.splitlines()
    heading = next(line for line in lines if "run/plain" in line)
    assert "run/fourier" in heading
    of_a = next(line for line in lines if line.strip().startswith("A "))
    assert "64 · 50.0 % · 0.47" in of_a  # half of the energy in band 12, half in band 2
    assert "32 · 0.0 % · 0.16" in of_a
    # Of the 64 directions 31 have frequencies above one half.
    assert "noise 48.4 % · 0.50" in text
    assert text.count("up_proj") == 2


def test_what_does_not_fit_goes_into_further_tables_and_missing_kinds_are_said() -> None:
    spectra = {f"adapter{i}": spectrum(i) for i in range(5)}
    spectra["other"] = spectrum(1, module="layers.0.self_attn.q_proj")
    text = printed(80, spectra)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert text.count("Power spectrum") == 3
    assert all(label in text for label in spectra)
    assert "not adapted" in text


@pytest.mark.parametrize("view", ["factors", "rows", "delta"])
def test_a_plot_is_a_picture_of_every_adapter(view: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: (drawn.append(self), file.write(b"png"))[0])
    path = tmp_path / "spectra.png"
    path.write_text("an older picture")
    plot_spectra({"plain [a]": spectrum(2, 12, view=view), "_fourier": spectrum(2, view=view)}, path)
    assert path.read_bytes() == b"png"
    (figure,) = drawn
    curves = [ax for ax in figure.axes if ax.get_legend() is not None]
    assert len(curves) == (1 if view == "delta" else 2)
    texts = [text.get_text() for text in curves[0].get_legend().get_texts()]
    assert any(text.startswith("plain [a]: ") for text in texts)
    assert any(text.startswith(" _fourier: ") for text in texts)
    steps = curves[0].patches[1].get_data().values
    assert steps[2] == pytest.approx(spectrum(2, 12, view=view).total()["dW" if view == "delta" else "A"].relative[2])
    assert sum(bool(ax.images) for ax in figure.axes) == (2 if view == "delta" else 0)


def test_a_plot_is_a_png(tmp_path: Path) -> None:
    plot_spectra({"$\\frac{$": spectrum(2)}, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_plot(tmp_path / "new.png")
    (tmp_path / "folder.png").mkdir()
    for name, part in (
        ("x.pdf", "ends in .png"),
        ("folder.png", "is a folder"),
        ("nowhere/x.png", "does not exist or cannot be written"),
    ):
        with pytest.raises(UsageError, match=part):
            check_plot(tmp_path / name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'flexlora\[plots\]'"):
        check_plot(tmp_path / "new.png")


def test_more_bands_than_a_line_holds_are_told_and_not_drawn() -> None:
    text = io.StringIO()
    row = waves(3)
    many = adapter_spectrum([Pair("layers.0.mlp.up_proj", row, row.mT)], SpectrumOptions(bands=500))
    print_spectra({"run": many}, Console(file=text, width=200))
    assert "500 bands are too many for bars" in text.getvalue()
    assert not set("▁▂▃▅▆▇█") & set(text.getvalue())


def test_all_panels_have_room_for_every_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A's panel shares its axis with B's, which must not cut off what only A has."""
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: (drawn.append(figure), save(figure, *a, **k)))
    noise = torch.randn(64, 512)
    plot_spectra({"run": adapter_spectrum([Pair("m", waves(2, n=512), noise)], SpectrumOptions())}, tmp_path / "p.png")
    for axes in drawn[0].axes:
        assert axes.get_ylim()[1] >= 16  # all of A's energy is in one band of sixteen
