"""Checkpoints that are there whole or not at all: written aside, flushed to the disk, and renamed.

A kill or a full disk in a checkpoint leaves the ones before it as they were, and none that could be taken for one.
"""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.trainer_utils import rotate_checkpoints

ASIDE = ".partial"
"""Folder, beside the checkpoints, of one that is being written."""

if TYPE_CHECKING:  # what it is mixed into
    from transformers import Trainer as _Base
else:
    _Base = object


class WholeCheckpoints(_Base):  # type: ignore[misc]  # transformers has no types
    """Put before a trainer's class.

    With `metric_for_best_model` they are written in place, as the trainer then looks for earlier ones beside them.
    """

    _aside = False

    def _get_output_dir(self, *args: Any, **kwargs: Any) -> str:
        folder = Path(super()._get_output_dir(*args, **kwargs))
        return str(folder / ASIDE if self._aside else folder)

    def _save_checkpoint(self, model: Any, trial: Any = None) -> None:
        if self.args.metric_for_best_model is not None:
            super()._save_checkpoint(model, trial)
            return
        folder = Path(self._get_output_dir(trial))
        if self.args.should_save:
            shutil.rmtree(folder / ASIDE, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self._aside = True
        try:
            super()._save_checkpoint(model, trial)
        except BaseException:
            shutil.rmtree(folder / ASIDE, ignore_errors=True)  # what fills a full disk
            raise
        finally:
            self._aside = False
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            _publish(folder / ASIDE, folder, f"checkpoint-{self.state.global_step}")
            rotate_checkpoints(output_dir=str(folder), save_total_limit=self.args.save_total_limit)
        self.accelerator.wait_for_everyone()


def _publish(aside: Path, folder: Path, name: str) -> None:
    """Flush a checkpoint and move it to its place, whatever stands there."""
    for path in [*(aside / name).rglob("*"), aside / name]:
        _flush(path)
    shutil.rmtree(folder / name, ignore_errors=True)
    (aside / name).rename(folder / name)
    _flush(folder)
    shutil.rmtree(aside, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def last_checkpoint(folder: Path, before: float = math.inf) -> Path | None:
    """The newest checkpoint before a step; None where there is none."""
    found = (path for path in folder.glob("checkpoint-*") if step_of(path) < before)
    return max(found, key=step_of, default=None)


def step_of(checkpoint: Path | None) -> int:
    """The step after which a checkpoint was written; 0 without one."""
    return 0 if checkpoint is None else int(checkpoint.name.rsplit("-", 1)[1])
