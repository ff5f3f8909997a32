"""Rust: `rustc` with its default edition (2015), like MultiPL-E, then the program; the exit code is the verdict."""

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
    tools = {"rustc": find_tool("rustc"), "cc": find_tool("cc")}
    return Toolchain(tool_version(tools["rustc"], "--version"), tools | fast_linker())


LANGUAGE = Language(
    code="rs",
    name="Rust",
    extension="rs",
    probe=probe,
    install="apt-get install rustc mold",
    compile=lambda toolchain, _: [
        *(toolchain.tools["rustc"], "-C", "codegen-units=1", "program.rs", "-o", "program"),
        *(("-C", f"link-args={' '.join(MOLD)}") if "mold" in toolchain.tools else ()),
    ],
    run=lambda *_: ["./program"],
    memory_bytes=1 << 30,
    memory_limit=MemoryLimit.DATA,
    memory_error=re.compile(r"^memory allocation of \d+ bytes failed", re.MULTILINE),
    judge=by_exit_code,
    known_good="""\
use std::collections::HashMap;

fn main() {
    let counts = HashMap::from([(String::from("a"), 1isize)]);
    assert_eq!(counts["a"], 1);
}
""",
    known_bad="fn main() { assert_eq!(1 + 1, 3); }\n",
)
