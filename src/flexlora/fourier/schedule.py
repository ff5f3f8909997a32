"""How strong the penalty is at each optimizer step.

- `constant`: lambda.
- `linear`: rises linearly from 0 to lambda over `warmup_steps` steps, then stays.
- `cosine`: the same rise (none with `warmup_steps` 0), then falls to 0 along half a cosine until `total_steps`.
- `target`: a controller that holds the share of energy above tau at `target`. After each step's measurement

      lambda <- lambda * (share / target) ** rate,   share / target first clipped to [1/2, 2],

  and lambda is kept within a factor of 1000 of its first value: multiplicative, since what lambda is needed spans
  orders of magnitude; a higher rate follows faster and swings more. While there is no energy to have a share of, or it
  is not finite, lambda stays.
"""

from __future__ import annotations

import math
from typing import Any, Literal

ScheduleName = Literal["constant", "linear", "cosine", "target"]
REACH = 1000.0


class Schedule:
    """The strength at the step that comes next; `advance` moves on by one step.

    Args:
        name: see the module.
        lam: lambda, at least 0.
        warmup_steps: for `linear` (at least 1) and `cosine`.
        total_steps: for `cosine`, the optimizer steps of the whole training; it may be set later, before the end of
            the warm-up.
        target: for `target`, the share of energy above tau to hold, between 0 and 1.
        rate: for `target`, the exponent.
        most: for `target`, what lambda does not exceed.

    Raises:
        ValueError: an option is out of range, missing, or means nothing with this schedule.
    """

    def __init__(
        self,
        name: ScheduleName = "constant",
        *,
        lam: float,
        warmup_steps: int = 0,
        total_steps: int | None = None,
        target: float | None = None,
        rate: float = 0.1,
        most: float = math.inf,
    ) -> None:
        if not (isinstance(lam, int | float) and lam >= 0 and math.isfinite(lam)):
            raise ValueError(f"lam must be a number of at least 0; got {lam!r}")
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps must be at least 0; got {warmup_steps}")
        if name == "linear" and not warmup_steps:
            raise ValueError("schedule 'linear' rises over warmup_steps steps, which must be at least 1; got 0")
        if warmup_steps and name not in ("linear", "cosine"):
            raise ValueError(f"warmup_steps is for the schedules 'linear' and 'cosine'; the schedule is {name!r}")
        if rate != 0.1 and name != "target":
            raise ValueError(f"rate {rate} is for the schedule 'target'; the schedule is {name!r}")
        if total_steps is not None and name != "cosine":
            raise ValueError(f"total_steps {total_steps} is for the schedule 'cosine'; the schedule is {name!r}")
        if (target is None) == (name == "target"):
            raise ValueError(f"schedule 'target' needs a target, and no other takes one; got {name!r} and {target}")
        if target is not None and not (0 < target < 1 and lam > 0 and rate > 0):
            raise ValueError(
                f"schedule 'target' needs a target between 0 and 1, a first lam and a rate above 0; got {target}, "
                f"{lam} and {rate}"
            )
        self.name, self.lam, self.warmup_steps, self.total_steps = name, lam, warmup_steps, total_steps
        self.target, self.rate, self._most = target, rate, most
        self.restart()

    def restart(self) -> None:
        """Back to the first step."""
        self.step = 0
        self._controlled = self.lam

    @property
    def strength(self) -> float:
        """Lambda at the next step.

        Raises:
            ValueError: `cosine` without `total_steps`.
        """
        if self.name == "target":
            return self._controlled
        if self.step < self.warmup_steps:
            return self.lam * self.step / self.warmup_steps
        if self.name != "cosine":
            return self.lam
        if self.total_steps is None or self.total_steps <= self.warmup_steps:
            raise ValueError(
                "schedule 'cosine' needs total_steps, the optimizer steps of the whole training, more than "
                f"warmup_steps ({self.warmup_steps}); got {self.total_steps}"
            )
        progress = min(1.0, (self.step - self.warmup_steps) / (self.total_steps - self.warmup_steps))
        return self.lam * (1 + math.cos(math.pi * progress)) / 2

    def advance(self, share: float | None = None) -> None:
        """One optimizer step was made; `share` is that of the energy above tau, which `target` acts on, if known."""
        self.step += 1
        if self.target is not None and share is not None and math.isfinite(share):
            ratio = min(2.0, max(0.5, share / self.target))
            low, high = self.lam / REACH, min(self.lam * REACH, self._most)
            self._controlled = min(high, max(low, self._controlled * ratio**self.rate))

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"step": self.step, "controlled": self._controlled}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.step, self._controlled = int(state["step"]), float(state["controlled"])
