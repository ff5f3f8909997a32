"""Swift: `swiftc`, then the program; MultiPL-E's verdict is the exit code.

Not verified: the commands follow MultiPL-E and were never run here.
"""

from __future__ import annotations

import re

from flexlora.execution.languages.language import (
    Language,
    MemoryLimit,
    Toolchain,
    by_exit_code,
    find_tool,
    tool_version,
)


def probe() -> Toolchain:
    swiftc = find_tool("swiftc")
    return Toolchain(tool_version(swiftc, "--version"), {"swiftc": swiftc})


LANGUAGE = Language(
    code="swift",
    name="Swift",
    extension="swift",
    probe=probe,
    install="unpack a release of Swift over / (its files lie in usr)",
    compile=lambda toolchain, _: [toolchain.tools["swiftc"], "program.swift", "-o", "program"],
    run=lambda *_: ["./program"],
    compile_timeout_s=45.0,
    memory_bytes=2 << 30,
    memory_limit=MemoryLimit.DATA,
    memory_error=re.compile(r"swift_slowAlloc|failed to allocate|out of memory", re.IGNORECASE),
    judge=by_exit_code,
    known_good="assert([3, 1, 2].sorted() == [1, 2, 3])\n",
    known_bad="assert(1 + 1 == 3)\n",
    verified=False,
)
