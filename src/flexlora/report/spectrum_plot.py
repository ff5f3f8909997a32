"""Spectra of adapters as a picture (paper.txt Figure 5): power by frequency against white noise, one curve an adapter.

For the view `delta` also the 2-D map of each adapter. Needs matplotlib, which the extra `plots` brings.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from io import BytesIO
from math import ceil, log2
from pathlib import Path
from typing import Any

from flexlora.errors import UsageError
from flexlora.files import write_whole
from flexlora.fourier import AdapterSpectrum, Spectrum

COLOURS = ("#1f66c9", "#c2570c", "#14713c", "#7a3fb3", "#b3266b", "#5d626d")
"""Those of the report's arms; beyond them they begin again, with other dashes."""
DASHES: tuple[Any, ...] = ("solid", (0, (7, 3)), (0, (2, 2)), (0, (9, 3, 2, 3)), (0, (4, 4)), (0, (12, 3)))
MAPS_A_ROW = 4
REACH = 4
"""The maps' colours end at 2^4 times and at a 2^4th of white noise."""


def check_plot(path: Path) -> None:
    """Refuse a plot that could not be written, before any work.

    Raises:
        UsageError: matplotlib is not installed, the name does not end in .png, or its folder cannot be written.
    """
    require_matplotlib("--plot")
    if path.is_dir():
        raise UsageError(f"--plot {path}: is a folder; name a file in it.")
    if path.suffix.lower() != ".png":
        raise UsageError(f"--plot {path}: plots are written as PNG; give a name that ends in .png.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageError(f"--plot {path}: the folder {path.parent} does not exist or cannot be written.")


def require_matplotlib(what: str) -> None:
    """Refuse what needs it where it is missing.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        raise UsageError(f"{what} needs matplotlib, which is not installed: pip install 'flexlora[plots]'.") from error


def plot_spectra(spectra: Mapping[str, AdapterSpectrum], path: Path) -> None:
    """Draw adapters' spectra, summed over their modules, to a PNG file, which is replaced where it exists.

    Args:
        spectra: label -> spectrum, all of equal options.
        path: the file.

    Raises:
        FlexError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    totals = {_plain_text(label): one.total() for label, one in spectra.items()}
    options = next(iter(spectra.values())).options
    factors = list(next(iter(totals.values())))
    maps = list(totals) if options.view == "delta" else []
    rows = ceil(len(maps) / MAPS_A_ROW)
    figure = Figure(figsize=(5.2 * max(len(factors), 2), 4.2 + 3.6 * rows), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    above: Any = figure
    below: Any = None
    if maps:
        halves: Any = figure.subfigures(2, 1, height_ratios=[4.2, 3.6 * rows])
        above, below = halves
    axes = above.subplots(1, len(factors), squeeze=False, sharey=True)[0]
    powers = [value for total in totals.values() for one in total.values() for value in one.relative if value]
    for factor, ax in zip(factors, axes, strict=True):
        _draw_bands(ax, {label: total[factor] for label, total in totals.items()}, options.edges, options.tau)
        _scale(ax, min(powers, default=1.0), max(powers, default=1.0))
        ax.set_title(
            {"A": "A, by frequency", "B": "B, by frequency"}.get(factor, "dW = s B A, by the higher frequency")
        )
    axes[0].set_ylabel("power / white noise's")
    if below is not None:
        _draw_maps(below, {label: totals[label]["dW"] for label in maps}, rows, options.tau)
    written = BytesIO()
    figure.savefig(written, format="png")
    write_whole(path, written.getvalue())


def _plain_text(label: str) -> str:
    """A label that matplotlib reads neither as mathematics ($) nor as one to leave out of the legend (_ first)."""
    return (" " if label.startswith("_") else "") + label.replace("$", r"\$")


def _draw_bands(ax: Any, spectra: Mapping[str, Spectrum], edges: tuple[float, ...], tau: float) -> None:
    ax.axvspan(tau, 1, color="#1b1d22", alpha=0.05, linewidth=0)
    ax.axhline(1, color="#5d626d", linewidth=1, linestyle=(0, (4, 3)))
    for i, (label, spectrum) in enumerate(spectra.items()):
        drawn = [value if value else float("nan") for value in spectrum.relative]
        numbers = f"{100 * spectrum.high_share:.1f} % above τ, energy {spectrum.energy:.3g}"
        dashes = DASHES[(i + i // len(COLOURS)) % len(DASHES)]
        ax.stairs(drawn, edges, baseline=None, color=COLOURS[i % len(COLOURS)], linestyle=dashes, linewidth=1.9,
                  label=f"{label}: {numbers}")  # fmt: skip
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"frequency (1 = Nyquist); shaded: above τ = {tau:g}")
    ax.grid(alpha=0.25)
    noise = next(iter(spectra.values())).noise_high_share
    ax.plot(
        [], [], color="#5d626d", linewidth=1, linestyle=(0, (4, 3)), label=f"white noise: {100 * noise:.1f} % above τ"
    )
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=8, frameon=False)


def _scale(ax: Any, lowest: float, highest: float) -> None:
    """Powers of two a person can read, and never an axis so narrow that noise looks like structure."""
    low, high = min(-1, int(log2(lowest) - 1)), max(1, ceil(log2(highest)))
    step = max(1, ceil((high - low) / 8))
    ax.set_yscale("log", base=2)
    ax.set_ylim(2.0**low, 2.0**high)
    ax.set_yticks([2.0**power for power in range(ceil(low / step) * step, high + 1, step)])
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:g}")


def _draw_maps(figure: Any, spectra: Mapping[str, Spectrum], rows: int, tau: float) -> None:
    """Energy of each cell against white noise, on one scale for all adapters."""
    axes = figure.subplots(rows, min(len(spectra), MAPS_A_ROW), squeeze=False, sharex=True, sharey=True)
    logs = {
        label: [[log2(cell) if cell else float("nan") for cell in row] for row in spectrum.relative_cells]
        for label, spectrum in spectra.items()
    }
    image = None
    for ax, (label, cells) in zip(axes.flat, logs.items(), strict=False):
        image = ax.imshow(
            cells, origin="lower", extent=(0, 1, 0, 1), cmap="RdBu_r", vmin=-REACH, vmax=REACH, interpolation="none"
        )
        ax.plot([0, tau, tau], [tau, tau, 0], color="#1b1d22", linewidth=1, linestyle=(0, (4, 3)))
        ax.set_title(label, fontsize=10)
        ax.set_xlabel("input frequency")
    for ax in axes.flat[len(logs) :]:
        ax.set_axis_off()
    axes[0][0].set_ylabel("output frequency")
    bar = figure.colorbar(image, ax=axes, label="power / white noise's", shrink=0.8, extend="both")
    bar.set_ticks(range(-REACH, REACH + 1), labels=[_power(exponent) for exponent in range(-REACH, REACH + 1)])


def _power(exponent: int) -> str:
    return f"{2**exponent}" if exponent >= 0 else f"1/{2**-exponent}"
