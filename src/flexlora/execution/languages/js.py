"""JavaScript: `node`; MultiPL-E's verdict is the exit code."""

from __future__ import annotations

import re

from flexlora.execution.languages.language import (
    Language,
    MemoryLimit,
    Toolchain,
    by_exit_code,
    find_tool,
    inside,
    tool_version,
)

# One thread beside the program's own: node's pools do not grow with the machine, but four programs share its cores.
NODE = ("--max-old-space-size=1024", "--v8-pool-size=1")
ENVIRONMENT = {"UV_THREADPOOL_SIZE": "1"}
MEMORY_BYTES = 2 << 30
MEMORY_ERROR = re.compile(
    r"^FATAL ERROR: .*out of memory|^RangeError: Array buffer allocation failed|Fatal process out of memory",
    re.MULTILINE,
)


def probe() -> Toolchain:
    node = find_tool("node")
    return Toolchain(tool_version(node, "--version"), {"node": node})


LANGUAGE = Language(
    code="js",
    name="JavaScript",
    extension="js",
    probe=probe,
    install="apt-get install nodejs",
    run=lambda toolchain, _: [toolchain.tools["node"], *NODE, inside("node_main.js")],
    proves_end=True,
    environment=ENVIRONMENT,
    memory_bytes=MEMORY_BYTES,
    memory_limit=MemoryLimit.DATA,
    memory_error=MEMORY_ERROR,
    judge=by_exit_code,
    known_good="""\
const assert = require('node:assert');
assert.deepEqual([3, 1, 2].sort(), [1, 2, 3]);
""",
    known_bad="""\
const assert = require('node:assert');
assert.deepEqual([3, 1, 2].sort(), [3, 2, 1]);
""",
)
