"""Python: run by the system's `python3`, isolated from user packages; MultiPL-E's verdict is the exit code."""

from __future__ import annotations

import re
import sys

from flexlora.execution.languages.language import (
    Language,
    MemoryLimit,
    Toolchain,
    ToolchainMissing,
    Warm,
    by_exit_code,
    find_tool,
    inside,
    tool_version,
)
from flexlora.execution.outcome import Outcome
from flexlora.execution.verdict import Status

# The interpreter prints a file that it cannot parse without a traceback header; an error raised by a running
# program's own `compile` or `exec` has one.
NOT_PARSED = re.compile(
    r"\A(?!Traceback \(most recent).*^(SyntaxError|IndentationError|TabError): ", re.DOTALL | re.MULTILINE
)


def probe() -> Toolchain:
    try:
        python = find_tool("python3")
        binds: tuple[str, ...] = ()
    except ToolchainMissing:
        python = f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
        binds = (sys.base_prefix,)
    return Toolchain(tool_version(python, "--version"), {"python3": python}, binds)


def judge(outcome: Outcome) -> Status:
    if outcome.exit_code == 1 and NOT_PARSED.search(outcome.stderr):
        return Status.SYNTAX_ERROR
    return by_exit_code(outcome)


LANGUAGE = Language(
    code="py",
    name="Python",
    extension="py",
    probe=probe,
    install="apt-get install python3",
    # -I keeps the scratch folder off the module path, so that no file a program writes shadows a module.
    run=lambda toolchain, _: [toolchain.tools["python3"], "-I", inside("python_main.py")],
    proves_end=True,
    warm=Warm(run=lambda *_: None),
    memory_bytes=1 << 30,
    memory_limit=MemoryLimit.ADDRESS_SPACE,
    memory_error=re.compile(r"^MemoryError\b", re.MULTILINE),
    judge=judge,
    known_good="assert sorted([3, 1, 2]) == [1, 2, 3]\n",
    known_bad="assert sorted([3, 1, 2]) == [3, 2, 1]\n",
)
