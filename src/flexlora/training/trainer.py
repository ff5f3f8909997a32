"""`FourierTrainer`: TRL's `SFTTrainer` with the Fourier penalty and Sophia-G; the main job trains without padding."""

from __future__ import annotations

from trl import SFTTrainer

from flexlora.training.checkpoints import WholeCheckpoints
from flexlora.training.divergence import StopWhenDiverged
from flexlora.training.full_factors import FullFactors
from flexlora.training.mixin import FourierMixin
from flexlora.training.sharded import ShardedTraining
from flexlora.training.sharing import SharedSteps
from flexlora.training.sophia import SophiaMixin
from flexlora.training.supervised import SupervisedLogits


class FourierTrainer(
    WholeCheckpoints,
    StopWhenDiverged,
    FourierMixin,
    SophiaMixin,
    FullFactors,
    SFTTrainer,  # type: ignore[misc]  # TRL has no types
):
    """`SFTTrainer` that takes a `penalty` and `sophia`, and stops when training diverges; see the mixins.

    Checkpoints are written aside and renamed. An adapter on a quantised base keeps its dtype.

    A column `key` of the training dataset names the examples, for messages.
    """


class RecipeTrainer(SharedSteps, ShardedTraining, FourierTrainer):
    """`FourierTrainer` as recipes use it, with any number of processes, each with the whole model or a part of it."""


class PaddingFreeTrainer(SupervisedLogits, RecipeTrainer):
    """`RecipeTrainer` on rows without padding, as `DocumentCollator` makes them."""
