"""Julia: `julia`; MultiPL-E's tests use Test, and the verdict is the exit code.

Not verified: the command follows MultiPL-E and was never run here.
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
    julia = find_tool("julia")
    return Toolchain(tool_version(julia, "--version"), {"julia": julia})


LANGUAGE = Language(
    code="jl",
    name="Julia",
    extension="jl",
    probe=probe,
    install="unpack a release of Julia in /usr/local (bin, lib, share)",
    run=lambda toolchain, _: [toolchain.tools["julia"], "--startup-file=no", "--threads=1", "program.jl"],
    environment={"JULIA_DEPOT_PATH": "/scratch/.julia:"},
    memory_bytes=2 << 30,
    memory_limit=MemoryLimit.DATA,
    memory_error=re.compile(r"OutOfMemoryError"),
    judge=by_exit_code,
    known_good="""\
using Test

@testset begin
    @test(sort([3, 1, 2]) == [1, 2, 3])
end
""",
    known_bad="""\
using Test

@testset begin
    @test(1 + 1 == 3)
end
""",
    verified=False,
)
