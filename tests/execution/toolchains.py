"""Which languages a test runs: those whose toolchain is here, and what that means where one is missing."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

import pytest
from _pytest.mark import ParameterSet

from flexlora.execution.languages import LANGUAGES, ToolchainMissing, toolchain

LIGHT = frozenset({"py", "java", "cpp", "js", "ts", "php", "sh", "lua", "rb", "pl"})
"""Installed by `make setup`; in CI a missing one is an error."""
ALL = bool(os.environ.get("FLEXLORA_ALL_TOOLCHAINS"))
"""Set by `make test-languages`: everything that can be installed must be there, and nothing is left out."""


def each(codes: Iterable[str] = LANGUAGES, thorough: Collection[str] = ()) -> list[ParameterSet]:
    """Languages as parameters; the heavy ones are marked `toolchains`, and left to `make test-languages`.

    Args:
        thorough: those that are left to it too, since they take long.
    """
    return [
        pytest.param(
            code,
            marks=[pytest.mark.toolchains] * (code not in LIGHT) + [pytest.mark.thorough] * (code in thorough),
        )
        for code in codes
    ]


def need(code: str) -> None:
    """Skip the test where the toolchain is missing; fail where it must not be."""
    try:
        toolchain(code)
    except ToolchainMissing as missing:
        if ALL and LANGUAGES[code].verified:
            pytest.fail(str(missing))
        pytest.skip(f"{code}: {missing}")
