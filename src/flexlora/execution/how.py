"""The keyword arguments of `execute`, for those who pass them on."""

from __future__ import annotations

from typing import TypedDict

from flexlora.execution.runner import Mode
from flexlora.execution.sandbox import Sandbox


class How(TypedDict, total=False):
    """How programs are run; `execute` says what each means."""

    workers: int | None
    mode: Mode | str
    cache: bool
    compat: bool
    sandbox: Sandbox | str
