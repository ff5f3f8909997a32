"""`EarlyStopping`: ends a training whose validation loss no longer falls, and keeps the adapter of the lowest one.

Which validation was the lowest is read from `log.jsonl`, so that a resumed training goes on as an undisturbed one. The
adapter is written at each new lowest loss, to `best/step-N`; those before it go when a checkpoint has been written,
behind which no training can fall back. Transformers' own callback needs checkpoints at the very steps of validations,
and keeps the whole checkpoint of the best one beside the last.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from flexlora import processes
from flexlora.adapters.saved import WEIGHTS
from flexlora.errors import FlexError
from flexlora.files import Record, append_jsonl
from flexlora.training.saving import save_adapter
from flexlora.training.sharded import whole_adapter


class EarlyStopping(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Every process has one, and the first writes.

    Args:
        folder: the arm's `train` folder.
        patience: validations in a row without a new lowest loss, after which training ends.
        records: lines of the log up to the checkpoint that training goes on from; none of a new training.

    Raises:
        FlexError: the adapter of the lowest validation loss so far is no longer there.
    """

    def __init__(self, folder: Path, patience: int, records: Iterable[Record]) -> None:
        self.folder, self.patience = folder, patience
        self.step, self.best, self.best_step, self.without = 0, math.inf, 0, 0
        for record in records:
            if "eval_loss" in record:
                self._is_new_lowest(record["step"], record["eval_loss"])
        processes.once(lambda: self._remove(later_than=self.step))
        if self.best_step and not processes.once((self._kept / WEIGHTS).is_file):
            raise FlexError(
                f"{self._kept}: is missing, the adapter of the lowest validation loss so far, so training cannot go "
                "on. Start anew with another --output, or --overwrite."
            )

    @property
    def stops(self) -> bool:
        """Whether patience is over."""
        return self.without >= self.patience

    @property
    def _kept(self) -> Path:
        return self.folder / "best" / f"step-{self.best_step}"

    def _is_new_lowest(self, step: int, loss: float) -> bool:
        """Take note of a validation; one that is no number is no improvement."""
        self.step = step
        if not loss < self.best:
            self.without += 1
            return False
        self.best, self.best_step, self.without = loss, step, 0
        return True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer after every optimizer step: the last one before an end is logged, wherever it comes."""
        if state.global_step % args.eval_steps == 0:
            control.should_log = True

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, model: Any = None, **kwargs: Any
    ) -> None:
        """Called by the trainer after a validation; the same step may be validated again at the end."""
        if state.global_step <= self.step:
            return
        loss = processes.once(lambda: float(metrics["eval_loss"]))
        if self._is_new_lowest(state.global_step, loss):
            weights = whole_adapter(model)
            processes.once(lambda: save_adapter(model, self._kept, weights))
        if self.stops:
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer after a checkpoint."""
        processes.once(lambda: self._remove(earlier_than=self.best_step))

    def finish(self, adapter: Path, planned: int) -> str:
        """Make the kept adapter the training's, with a line in the log; every process calls it.

        Args:
            adapter: where it belongs.
            planned: steps of the whole training.

        Returns:
            What happened, in words.

        Raises:
            FlexError: no validation loss was a number.
        """
        if not self.best_step:
            raise FlexError(
                f"{self.folder}: no validation loss was a number, so that train.early_stopping has no adapter to keep. "
                "Look at the validation data, or set train.early_stopping to null."
            )
        early = self.step < planned
        said = (
            f"{'stopped' if early else 'ended'} at step {self.step} of {planned}; kept is the adapter of step "
            f"{self.best_step}, with the lowest validation loss ({self.best:.4g})"
        )

        def publish() -> None:
            record = {"step": self.step, "kept_step": self.best_step, "stopped_early": early}
            append_jsonl(self.folder / "log.jsonl", record)
            self._kept.rename(adapter)
            shutil.rmtree(self.folder / "best")

        processes.once(publish)
        return said

    def _remove(self, later_than: float = math.inf, earlier_than: float = 0) -> None:
        for path in (self.folder / "best").glob("step-*"):
            if not earlier_than <= int(path.name.removeprefix("step-")) <= later_than:
                shutil.rmtree(path)
