"""D: `dmd` or LDC's `ldmd2`, which takes the same options, then the program's unit tests; the verdict is the exit code.

MultiPL-E calls `rdmd`, which compiles and runs in one command and must not say "Error:"; with two, a failed compile is
the SyntaxError.
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
    dmd = find_tool("ldmd2", "dmd")
    return Toolchain(tool_version(dmd, "--version"), {"dmd": dmd}, ("/etc/ldc2.conf",))


LANGUAGE = Language(
    code="d",
    name="D",
    extension="d",
    probe=probe,
    install="apt-get install ldc",
    compile=lambda toolchain, _: [toolchain.tools["dmd"], "-unittest", "-main", "-of=program", "program.d"],
    run=lambda *_: ["./program"],
    memory_bytes=1 << 30,
    memory_limit=MemoryLimit.ADDRESS_SPACE,
    memory_error=re.compile(r"core\.exception\.OutOfMemoryError"),
    judge=by_exit_code,
    known_good="""\
import std.algorithm;
unittest
{
    assert([3, 1, 2].sort.release == [1, 2, 3]);
}
void main(){}
""",
    known_bad="""\
unittest
{
    assert(1 + 1 == 3);
}
void main(){}
""",
)
