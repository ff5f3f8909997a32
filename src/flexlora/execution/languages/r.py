"""R: `Rscript`; MultiPL-E's verdict is the exit code."""

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
    rscript = find_tool("Rscript")
    return Toolchain(tool_version(rscript, "--version"), {"Rscript": rscript}, ("/etc/R",))


LANGUAGE = Language(
    code="r",
    name="R",
    extension="r",
    probe=probe,
    install="apt-get install r-base-core",
    run=lambda toolchain, _: [toolchain.tools["Rscript"], "program.r"],
    memory_bytes=1 << 30,
    memory_limit=MemoryLimit.DATA,
    memory_error=re.compile(r"^Error: cannot allocate|memory exhausted", re.MULTILINE),
    judge=by_exit_code,
    known_good="""\
test_humaneval <- function() {
    candidate <- sort
    stopifnot(isTRUE(all.equal(candidate(c(3, 1, 2)), c(1, 2, 3))))
}
test_humaneval()
""",
    known_bad="stopifnot(isTRUE(all.equal(1 + 1, 3)))\n",
)
