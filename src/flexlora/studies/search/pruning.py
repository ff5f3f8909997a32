"""Which trials are stopped early, by cheap signals; Optuna's own pruners know one objective only.

- In training, after each validation: a trial whose validation loss is worse than that of every finished trial at the
  same step. A penalty may well cost some loss and win elsewhere, so that being worse than most is no reason.
- After training: a trial whose last validation loss is above the median of the finished ones, and whose target
  languages became less likely than in the median of them: worse on both sides at once.

Nothing is stopped before some trials are finished (`startup`), or where a signal is not measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

IN_TRAINING, AFTER_TRAINING = "validation loss", "likelihood"


class Stopped(Exception):
    """A trial is not worth going on with; says at which stage, and why."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Signals:
    """The cheap signals of one trial."""

    losses: Mapping[int, float] = field(default_factory=dict)
    """Optimizer step -> validation loss."""
    likelihood: float | None = None
    """Change of the target languages' negative log-likelihood from the base, in nats a token; less is better."""

    @property
    def last_loss(self) -> float | None:
        """Of the last step."""
        return self.losses[max(self.losses)] if self.losses else None


def in_training(step: int, loss: float, finished: Sequence[Signals], startup: int) -> None:
    """Raise `Stopped` where no finished trial was as bad at this step."""
    others = [one.losses[step] for one in finished if step in one.losses]
    if len(others) >= startup and loss > max(others):
        reason = f"validation loss {loss:.4g} at step {step}, worse than all {len(others)} finished trials there"
        raise Stopped(IN_TRAINING, f"{reason} (up to {max(others):.4g})")


def after_training(signals: Signals, finished: Sequence[Signals], startup: int) -> None:
    """Raise `Stopped` where a trial is worse than the median on both sides."""
    losses = [one.last_loss for one in finished if one.last_loss is not None]
    changes = [one.likelihood for one in finished if one.likelihood is not None]
    loss, change = signals.last_loss, signals.likelihood
    if loss is None or change is None or min(len(losses), len(changes)) < startup:
        return
    if loss > median(losses) and change > median(changes):
        raise Stopped(
            AFTER_TRAINING,
            f"worse than the median of {len(losses)} finished trials on both sides: validation loss {loss:.4g} "
            f"(median {median(losses):.4g}), and target languages {change:+.4f} nats a token (median "
            f"{median(changes):+.4f})",
        )
