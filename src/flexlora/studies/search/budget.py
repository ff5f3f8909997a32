"""The budget of a search: wall time of the command, trials in the folder, or both."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from flexlora.errors import UsageError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """Seconds of `2h`, `30m`, `90s`, `1h30m`.

    Raises:
        UsageError: it is none of these.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    total = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(map("".join, parts)) != text or not total:
        raise UsageError(f"--budget {text!r}: write a time such as 2h, 30m, 90s or 1h30m.")
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be spent. Time is measured on the clock of the process that asks."""

    seconds: float | None = None
    """From `started` on; None is no limit."""
    trials: int | None = None
    """In the folder, whoever made them; None is no limit."""
    clock: Callable[[], float] = field(default=time.time, repr=False)
    started: float = field(default_factory=time.time)

    def refuses(self, begun: int, durations: Sequence[float]) -> str | None:
        """Why no further trial is begun; None where one is.

        Args:
            begun: trials that are running or done, those apart that lost their process.
            durations: seconds that finished trials took; their median is what another is expected to take.
        """
        if self.trials is not None and begun >= self.trials:
            return f"{begun} of {self.trials} trials are there"
        if self.seconds is None:
            return None
        left = self.started + self.seconds - self.clock()
        expected = median(durations) if durations else 0.0
        if left <= expected:
            return f"{max(0.0, left):.0f} s are left, and a trial takes about {expected:.0f} s"
        return None
