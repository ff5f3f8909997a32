"""Racket: `racket`; MultiPL-E's tests use rackunit, which says on standard error what failed and exits with 0."""

from __future__ import annotations

import re

from flexlora.execution.languages.language import Language, MemoryLimit, Toolchain, by_silence, find_tool, tool_version


def probe() -> Toolchain:
    racket = find_tool("racket")
    return Toolchain(
        tool_version(racket, "-l", "racket/base", "-l", "rackunit", "--version"), {"racket": racket}, ("/etc/racket",)
    )


LANGUAGE = Language(
    code="rkt",
    name="Racket",
    extension="rkt",
    probe=probe,
    install="apt-get install racket",
    run=lambda toolchain, _: [toolchain.tools["racket"], "program.rkt"],
    memory_bytes=1 << 30,
    memory_limit=MemoryLimit.DATA,
    memory_error=re.compile(r"out of memory", re.IGNORECASE),
    judge=by_silence,
    known_good="""\
#lang racket
(require rackunit)
(check-within (sort (list 3 1 2) <) (list 1 2 3) 0.001)
""",
    known_bad="""\
#lang racket
(require rackunit)
(check-within (sort (list 3 1 2) <) (list 3 2 1) 0.001)
""",
)
