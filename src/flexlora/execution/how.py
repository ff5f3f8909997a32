"""Where programs run, and the keyword arguments of `execute` for those who pass them on."""

from __future__ import annotations

from typing import TypedDict

from flexlora.execution.choice import Choice
from flexlora.execution.runner import Mode
from flexlora.execution.sandbox import Sandbox


class Executor(Choice):
    """Where programs run. The verdict is the same."""

    LOCAL = "local"
    """On this machine."""
    RAY = "ray"
    """On all nodes of a Ray cluster that runs already (`pip install 'flexlora[ray]'`); see `ray_pool`."""


class How(TypedDict, total=False):
    """How programs are run; `execute` says what each means."""

    workers: int | None
    mode: Mode | str
    cache: bool
    compat: bool
    sandbox: Sandbox | str
    executor: Executor | str
