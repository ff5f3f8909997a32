"""Training an adapter: completion-only loss by TRL's `SFTTrainer`, with the Fourier penalty and Sophia-G."""

from flexlora.training.engines import refuse_engines
from flexlora.training.mixin import FourierMixin
from flexlora.training.probe import Probe, probe_steps
from flexlora.training.sophia import SophiaMixin
from flexlora.training.stage import train_adapter
from flexlora.training.tokens import Tokens, tokenise
from flexlora.training.trainer import FourierTrainer

__all__ = [
    "FourierMixin",
    "FourierTrainer",
    "Probe",
    "SophiaMixin",
    "Tokens",
    "probe_steps",
    "refuse_engines",
    "tokenise",
    "train_adapter",
]
