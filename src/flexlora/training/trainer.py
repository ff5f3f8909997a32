"""`FourierTrainer`: TRL's `SFTTrainer` with the Fourier penalty and Sophia-G, as the main job trains."""

from __future__ import annotations

import math

from trl import SFTTrainer

from flexlora.errors import FlexError
from flexlora.training.mixin import FourierMixin
from flexlora.training.sophia import SophiaMixin


class FourierTrainer(FourierMixin, SophiaMixin, SFTTrainer):  # type: ignore[misc]
    """`SFTTrainer` that takes a `penalty` and `sophia`, see the mixins, and stops when the loss is not a number."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Stop when the loss is no longer a number."""
        if not math.isfinite(logs.get("loss", 0.0)):
            raise FlexError(
                f"training: the loss is {logs['loss']} at step {self.state.global_step}. Lower the learning rate "
                f"({self.args.learning_rate}) or use another precision; checkpoints up to here are kept."
            )
        super().log(logs, start_time)
