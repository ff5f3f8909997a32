"""PHP: `php`; a file that does not parse is a SyntaxError, else MultiPL-E's verdict is the exit code.

PHP's settings are the system's, as the standard extensions are switched on there; only what the verdict reads is set:
errors are written once, to standard output.
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
    php = find_tool("php")
    return Toolchain(tool_version(php, "--version"), {"php": php}, ("/etc/php",))


LANGUAGE = Language(
    code="php",
    name="PHP",
    extension="php",
    probe=probe,
    install="apt-get install php-cli",
    run=lambda toolchain, _: [
        *(toolchain.tools["php"], "-d", "display_errors=0", "-d", "log_errors=1", "-d", "memory_limit=512M"),
        "program.php",
    ],
    memory_bytes=1 << 30,
    memory_limit=MemoryLimit.ADDRESS_SPACE,
    memory_error=re.compile(r"^PHP Fatal error:  (Allowed memory size|Out of memory)", re.MULTILINE),
    judge=syntax_error_if("PHP Parse error", attrgetter("stderr")),
    known_good="""\
<?php
function test(): void {
    if (array_map('ctype_upper', ["A", "b"]) !== [true, false]) { throw new Exception("Test failed!"); }
}
test();
""",
    known_bad="""\
<?php
if (1 + 1 !== 3) { throw new Exception("Test failed!"); }
""",
)
