"""C++: `g++ -std=c++17`, then the program; MultiPL-E's verdict is the exit code.

Warm: <bits/stdc++.h> compiled once beforehand, and mold, which links the same program sooner.
"""

from __future__ import annotations

import re

from flexlora.execution.languages.language import (
    MOLD,
    Language,
    MemoryLimit,
    Toolchain,
    Warm,
    by_exit_code,
    fast_linker,
    find_tool,
    tool_version,
    warm_folder,
)

PLAIN = ("-std=c++17", "program.cpp", "-o", "program")
# Only standard headers and comments before it: then it makes no difference that it comes first.
STARTS_WITH_ALL_HEADERS = re.compile(
    r"\A(?:\s|//[^\n\\]*\n|/\*.*?\*/|#[ \t]*include[ \t]*<[a-z_./0-9]+>[ \t]*\n)*"
    r"#[ \t]*include[ \t]*<bits/stdc\+\+\.h>[ \t]*$",
    re.DOTALL | re.MULTILINE,
)


def probe() -> Toolchain:
    tools = {"g++": find_tool("g++")}
    return Toolchain(tool_version(tools["g++"], "--version"), tools | fast_linker())


def compile_fast(toolchain: Toolchain, source: str) -> list[str]:
    header = ("-include", f"{warm_folder('cpp')}/all.h") if STARTS_WITH_ALL_HEADERS.match(source) else ()
    return [toolchain.tools["g++"], *header, *PLAIN, *(MOLD if "mold" in toolchain.tools else ())]


LANGUAGE = Language(
    code="cpp",
    name="C++",
    extension="cpp",
    probe=probe,
    install="apt-get install g++ mold",
    compile=lambda toolchain, _: [toolchain.tools["g++"], *PLAIN],
    run=lambda *_: ["./program"],
    warm=Warm(
        build=lambda toolchain: [
            ["/bin/sh", "-c", "echo '#include <bits/stdc++.h>' > all.h"],
            [toolchain.tools["g++"], "-std=c++17", "-x", "c++-header", "all.h", "-o", "all.h.gch"],
        ],
        compile=compile_fast,
    ),
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
