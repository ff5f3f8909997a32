"""`log.jsonl`: what a training logs, with the time and the memory that it took; both go on where it is resumed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from flexlora.files import append_jsonl, read_appended, write_whole
from flexlora.training.peak_memory import peak_gb, reset_peak

LOGGED = (
    "loss",
    "grad_norm",
    "learning_rate",
    "mean_token_accuracy",
    "penalty",
    "high_frequency_share",
    "lam",
    "clipped_fraction",
    "h_mean",
    "h_max",
    "h_zero_fraction",
    "eval_loss",
    "eval_mean_token_accuracy",
)
MEASURED = ("train_s", "peak_memory_gb")
"""Fields in which the logs of two equal trainings differ."""


class LogFile(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Appends what the trainer logs to `log.jsonl`; on resume, lines after the checkpoint are taken back first.

    Time is that of optimizer steps, with their batches, estimates of curvature and logging; not that of loading,
    validation and checkpoints. Checkpoints fall on logging steps, so their lines hold what a resumed training
    begins from; steps that a kill undid do not count. What early stopping has kept is the last line, and not from here.
    """

    def __init__(self, path: Path, upto: int) -> None:
        self.path = path
        records = [record for record in read_appended(path) if record["step"] <= upto and "kept_step" not in record]
        self.written = {(record["step"], "eval_loss" in record) for record in records}
        self.train_s: float = max((record.get("train_s", 0.0) for record in records), default=0.0)
        self.peak: float | None = max((record.get("peak_memory_gb") or 0.0 for record in records), default=0.0) or None
        self._since = time.monotonic()
        self._counts_memory = False
        if path.exists():
            write_whole(path, "".join(json.dumps(record) + "\n" for record in records))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer with the model in its place and restored."""
        self._counts_memory = reset_peak()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer before it fetches the first batch."""
        self._since = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer after every optimizer step."""
        self._count()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Called by the trainer with training figures, validation figures, or the final summary (left out)."""
        figures = {key: logs[key] for key in LOGGED if key in logs}
        kind = (state.global_step, "eval_loss" in logs)
        if "loss" in logs:
            self._count()  # reading the loss waited for what a GPU still had to do
        if not figures or kind in self.written or not ({"loss", "eval_loss"} & figures.keys()):
            return
        self.written.add(kind)
        if self._counts_memory:
            self.peak = max(self.peak or 0.0, round(peak_gb(), 4))
        measured = {"train_s": round(self.train_s, 3), "peak_memory_gb": self.peak}
        append_jsonl(self.path, {"step": state.global_step, "epoch": state.epoch, **figures, **measured})

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer after a validation, which does not count."""
        self._since = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer after a checkpoint, which does not count."""
        self._since = time.monotonic()

    def _count(self) -> None:
        now = time.monotonic()
        self.train_s += now - self._since
        self._since = now
