"""Spectra of adapters in the terminal: side by side, by factor and by kind of module or layer, against white noise."""

from __future__ import annotations

from collections.abc import Mapping
from math import log2

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flexlora.fourier import AdapterSpectrum, Spectrum

VIEWS = {
    "factors": "each factor flattened",
    "rows": "each row of A and each column of B",
    "delta": "the update s B A in two dimensions",
}
LEVELS = "·▁▂▃▄▅▆▇█"
"""From a quarter of white noise's power, or less, to four times; ▄ is as much as white noise."""
LABEL, LONG_LABEL = 20, 28
MOST_BARS = 64
"""Bands that are shown as a bar; more would not fit a line."""
NUMBERS = 24


def print_spectra(spectra: Mapping[str, AdapterSpectrum], console: Console | None = None, layers: bool = False) -> None:
    """Print adapters side by side, as many as fit, the rest in further tables.

    Args:
        spectra: label -> spectrum, all of equal options.
        console: where to; the terminal by default.
        layers: a row for each module in place of one for each kind of module.
    """
    console = console or Console()
    options = next(iter(spectra.values())).options
    bars = options.bands if options.bands <= MOST_BARS else 0
    across = max(1, (console.width - (LONG_LABEL if layers else LABEL) - 2) // (max(NUMBERS, bars) + 2))
    labels = list(spectra)
    for start in range(0, len(labels), across):
        shown = {label: spectra[label] for label in labels[start : start + across]}
        console.print(_table(shown, f"Power spectrum: {VIEWS[options.view]}", layers))
    legend = f"Energy · its share above tau = {options.tau:g} of Nyquist · centroid (mean frequency)."
    if bars:
        legend += (
            f" Bars: power in {bars} bands from 0 to Nyquist, against white noise: ▄ as much, █ four times or more, "
            "· a quarter or less, x no energy."
        )
    else:
        legend += f" The {options.bands} bands are too many for bars; --json and --plot have them."
    console.print(Text(legend, "dim"))


def _table(spectra: Mapping[str, AdapterSpectrum], title: str, layers: bool) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold", max_width=LONG_LABEL if layers else LABEL)
    for label in spectra:
        table.add_column(Text(label), overflow="fold")
    totals = {label: one.total() for label, one in spectra.items()}
    parts = {label: _layers(one) if layers else one.kinds() for label, one in spectra.items()}
    for factor, first in next(iter(totals.values())).items():
        noise = f"\nnoise {_percent(first.noise_high_share)} · {first.noise_centroid:.2f}"
        head = Text.assemble((factor, "bold"), (noise, "dim"))
        table.add_row(head, *(_cell(total[factor], "bold") for total in totals.values()))
        for name in dict.fromkeys(name for one in parts.values() for name in one):
            row = [_cell(one[name][factor]) if name in one else Text("not adapted", "dim") for one in parts.values()]
            table.add_row(Text(f"  {name}"), *row)
        table.add_section()
    return table


def _layers(one: AdapterSpectrum) -> dict[str, Mapping[str, Spectrum]]:
    """The spectra of each module, by names without what stands before all of them."""
    return {name.removeprefix("base_model.model.").removeprefix("model."): parts for name, parts in one.modules.items()}


def _cell(spectrum: Spectrum, style: str = "") -> Text:
    centroid = "–" if spectrum.centroid is None else f"{spectrum.centroid:.2f}"
    numbers = f"{spectrum.energy:.4g} · {_percent(spectrum.high_share)} · {centroid}"
    return Text.assemble((numbers, style), *(("\n", bar(spectrum)) if len(spectrum.bands) <= MOST_BARS else ()))


def bar(spectrum: Spectrum) -> str:
    """A character a band: its power against white noise, on a logarithmic scale from 1/4 to 4."""
    return "".join(_level(relative) for relative in spectrum.relative)


def _level(relative: float | None) -> str:
    if relative is None:
        return "x"
    if relative <= 0:
        return LEVELS[0]
    middle = len(LEVELS) // 2
    return LEVELS[min(max(round(middle + 2 * log2(relative)), 0), len(LEVELS) - 1)]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
