"""TypeScript: `tsc --target esnext`, of which any diagnostic fails, then `node`; the verdict is the exit code."""

from __future__ import annotations

from flexlora.execution.languages.js import ENVIRONMENT, MEMORY_BYTES, MEMORY_ERROR, NODE
from flexlora.execution.languages.language import (
    Language,
    MemoryLimit,
    Toolchain,
    Warm,
    by_exit_code,
    find_tool,
    inside,
    tool_version,
    warm_folder,
)

OPTIONS = ("--target", "esnext")


def probe() -> Toolchain:
    tools = {name: find_tool(name) for name in ("tsc", "node")}
    return Toolchain(tool_version(tools["tsc"], "--version"), tools)


LANGUAGE = Language(
    code="ts",
    name="TypeScript",
    extension="ts",
    probe=probe,
    install="apt-get install nodejs npm && npm install -g typescript@5.9",
    compile=lambda toolchain, _: [
        *(toolchain.tools["node"], *NODE, toolchain.tools["tsc"]),
        *(*OPTIONS, "program.ts"),
    ],
    run=lambda toolchain, _: [toolchain.tools["node"], *NODE, inside("node_main.js")],
    proves_end=True,
    warm=Warm(
        sources=("resident_compiler.js",),
        build=lambda _: [],
        compiler=lambda toolchain: [
            *(toolchain.tools["node"], "--max-old-space-size=1024", f"{warm_folder('ts')}/resident_compiler.js"),
            *(toolchain.tools["tsc"], *OPTIONS),
        ],
    ),
    environment=ENVIRONMENT,
    memory_bytes=MEMORY_BYTES,
    memory_limit=MemoryLimit.DATA,
    memory_error=MEMORY_ERROR,
    judge=by_exit_code,
    known_good="""\
declare var require: any;
const assert = require('node:assert');
function sorted(numbers: number[]): number[] { return numbers.sort(); }
assert.deepEqual(sorted([3, 1, 2]), [1, 2, 3]);
""",
    known_bad="""\
declare var require: any;
const assert = require('node:assert');
assert.deepEqual([3, 1, 2].sort(), [3, 2, 1]);
""",
)
