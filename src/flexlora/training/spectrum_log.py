"""The adapter's spectrum while it trains: a line of `train/spectrum.jsonl` at step 0, every N steps and at the end.

Each line sums over all adapted modules, in the penalty's own view: energy per band, and for each factor its energy,
share above tau and centroid, with what white noise has. The factors are read from the model at hand, after the
optimizer's step, and nothing is changed: weights and random numbers are those of a training without this log.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from flexlora import processes
from flexlora.adapters import lora_pairs
from flexlora.files import append_jsonl, read_appended, write_whole
from flexlora.fourier import AdapterSpectrum, SpectrumOptions, adapter_spectrum
from flexlora.fourier.parameters import is_sharded
from flexlora.recipe import Penalty

FIGURES = {
    "energy": "energy",
    "bands": "bands",
    "noise": "noise",
    "share": "high_share",
    "noise_share": "noise_high_share",
    "centroid": "centroid",
    "noise_centroid": "noise_centroid",
}
"""Name in a line -> name in `Spectrum.as_dict`."""


class SpectrumLog(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Appends to `spectrum.jsonl`; on resume, lines after the checkpoint are taken back first.

    Every process has one, and the first writes.

    Args:
        path: the file.
        every: optimizer steps between lines.
        penalty: whose view, threshold and flattening are used.
        upto: the step of the checkpoint that training goes on from; 0 without one.
    """

    def __init__(self, path: Path, every: int, penalty: Penalty, upto: int) -> None:
        self.path, self.every = path, every
        self.options = SpectrumOptions(view=penalty.view, tau=penalty.tau, flatten=penalty.flatten)
        self.written = processes.once(lambda: _take_back(path, upto))

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Called by the trainer before the first step, also of a resumed training."""
        if state.global_step == 0:
            self._write(state, model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Called by the trainer after every optimizer step, before it saves a checkpoint."""
        if state.global_step % self.every == 0 or state.global_step >= state.max_steps:
            self._write(state, model)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Called by the trainer after the last step, which early stopping may have made an earlier one than planned."""
        self._write(state, model)

    def _write(self, state: Any, model: Any) -> None:
        if state.global_step in self.written:
            return
        self.written.add(state.global_step)
        pairs = list(lora_pairs(model))
        first = state.is_world_process_zero
        if first or is_sharded(pairs[0].A):  # of sharded factors every process has a part
            spectrum = adapter_spectrum(pairs, self.options)
            if first:
                append_jsonl(self.path, line(state.global_step, spectrum))


def _take_back(path: Path, upto: int) -> set[int]:
    """The steps whose lines stay."""
    records = [record for record in read_appended(path) if record["step"] <= upto]
    if path.exists():
        write_whole(path, "".join(json.dumps(record) + "\n" for record in records))
    return {record["step"] for record in records}


def line(step: int, spectrum: AdapterSpectrum) -> dict[str, Any]:
    """One line of the file: every figure by factor, summed over the modules."""
    plain = {factor: total.as_dict() for factor, total in spectrum.total().items()}
    figures = {name: {factor: plain[factor][key] for factor in plain} for name, key in FIGURES.items()}
    return {"step": step, "view": spectrum.options.view, "tau": spectrum.options.tau, **figures}
