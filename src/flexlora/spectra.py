"""From the names of saved adapters to their spectra: what `flexlora spectrum` does.

An adapter is named by its folder, by a run directory (every arm that is trained), or by a hub id.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flexlora.adapters.saved import CONFIG, adapters_below, download, saved_pairs
from flexlora.errors import UsageError
from flexlora.folder import existing
from flexlora.fourier import AdapterSpectrum, SpectrumOptions, adapter_spectrum


def find_adapters(names: Iterable[str]) -> dict[str, Path]:
    """Label -> folder of every adapter named: each a folder, a run directory (all its arms), or a hub id.

    Adapters of a run are labelled RUN/ARM, others by their names as given.

    Raises:
        UsageError: there is no such adapter, it is named twice, or a run has no trained arm.
    """
    found: dict[str, Path] = {}
    for name in names:
        for label, folder in _find(name).items():
            if folder.resolve() in (path.resolve() for path in found.values()):
                raise UsageError(f"adapter {name!r}: named twice ({folder}). Name each adapter once.")
            found[str(folder) if label in found else label] = folder
    return found


def saved_spectra(names: Iterable[str], **options: Any) -> dict[str, AdapterSpectrum]:
    """Label -> spectra of saved adapters, named as for `find_adapters`.

    Args:
        names: adapters, runs or hub ids.
        **options: those of `SpectrumOptions`.

    Raises:
        UsageError: an option is out of range, or an adapter cannot be read.
    """
    try:
        chosen = SpectrumOptions(**options)
    except ValueError as error:
        raise UsageError(f"{error}.") from error
    adapters = {label: saved_pairs(folder) for label, folder in find_adapters(names).items()}
    return {label: adapter_spectrum(pairs, chosen) for label, pairs in adapters.items()}


def _find(name: str) -> dict[str, Path]:
    path = Path(name).expanduser()
    if (path / CONFIG).is_file():
        place = path.resolve()
        of_run = place.parts[-2:] == ("train", "adapter")
        return {f"{place.parts[-4]}/{place.parts[-3]}" if of_run and len(place.parts) > 4 else name: path}
    if (path / "recipe.yaml").is_file():
        run = existing(path)
        if not run.recipe.arm_names():
            raise UsageError(f"{path}: this run evaluates the base only, and has no adapter.")
        arms = {arm: run.adapter(arm) for arm in run.recipe.arm_names()}
        trained = {f"{path.resolve().name}/{arm}": folder for arm, folder in arms.items() if folder.is_dir()}
        if not trained:
            raise UsageError(f"{path}: no arm of this run is trained yet. `flexlora train {path}` does it.")
        return trained
    if path.exists():
        inside = adapters_below(path)
        hint = (
            f"There is {' and '.join(inside)}."
            if inside
            else "An adapter's folder is what PEFT's save_pretrained wrote; in a run it is RUN/ARM/train/adapter."
        )
        raise UsageError(f"{path}: neither an adapter (it has no {CONFIG}) nor a run directory. {hint}")
    return {name: download(name)}
