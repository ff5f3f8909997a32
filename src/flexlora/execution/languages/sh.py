"""Bash: `bash`; MultiPL-E's verdict is the exit code, and "syntax error" on standard error is a SyntaxError.

Programs find the commands that this system has in /usr/bin; a published verdict may rest on another set of them.
"""

from __future__ import annotations

import re
from operator import attrgetter

from flexlora.execution.languages.language import (
    Language,
    MemoryLimit,
    Toolchain,
    find_tool,
    syntax_error_if,
    tool_version,
)


def probe() -> Toolchain:
    bash = find_tool("bash")
    return Toolchain(tool_version(bash, "--version"), {"bash": bash})


LANGUAGE = Language(
    code="sh",
    name="Bash",
    extension="sh",
    probe=probe,
    install="apt-get install bash",
    run=lambda toolchain, _: [toolchain.tools["bash"], "program.sh"],
    memory_bytes=1 << 30,
    memory_limit=MemoryLimit.ADDRESS_SPACE,
    memory_error=re.compile(r"(xmalloc|xrealloc).*: cannot allocate|fork: Cannot allocate memory", re.IGNORECASE),
    judge=syntax_error_if("syntax error", attrgetter("stderr")),
    known_good="""\
#!/bin/bash
add() {
    echo "$(($1 + $2))"
}
set -e
run_test() {
    [[ $(add "1" "2") = "3" ]]
}
run_test
""",
    known_bad="#!/bin/bash\nset -e\n[[ $((1 + 1)) = 3 ]]\n",
)
