"""C++: `g++ -std=c++17`, then the program; MultiPL-E's verdict is the exit code.

mold links where it is installed: it makes the same program sooner.
"""

from __future__ import annotations

import re

from flexlora.execution.languages.language import (
    MOLD,
    Language,
    MemoryLimit,
    Toolchain,
    by_exit_code,
    fast_linker,
    find_tool,
    tool_version,
)


def probe() -> Toolchain:
    tools = {"g++": find_tool("g++")}
    return Toolchain(tool_version(tools["g++"], "--version"), tools | fast_linker())


LANGUAGE = Language(
    code="cpp",
    name="C++",
    extension="cpp",
    probe=probe,
    install="apt-get install g++ mold",
    compile=lambda toolchain, _: [
        *(toolchain.tools["g++"], "-std=c++17", "program.cpp", "-o", "program"),
        *(MOLD if "mold" in toolchain.tools else ()),
    ],
    run=lambda *_: ["./program"],
    memory_bytes=1 << 30,
    memory_limit=MemoryLimit.ADDRESS_SPACE,
    memory_error=re.compile(r"terminate called .*'std::bad_alloc'|out of memory allocating|virtual memory exhausted"),
    judge=by_exit_code,
    known_good="""\
#include<assert.h>
#include<bits/stdc++.h>
int main() {
    std::vector<long> v({3, 1, 2});
    std::sort(v.begin(), v.end());
    assert(v == std::vector<long>({1, 2, 3}));
}
""",
    known_bad="#include<assert.h>\nint main() { assert(1 + 1 == 3); }\n",
)
