"""Perl: `perl`; MultiPL-E's tests use Test::Deep. A nonzero exit code fails, and so does "ERROR" in the output."""

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
from flexlora.execution.outcome import Outcome
from flexlora.execution.verdict import Status


def probe() -> Toolchain:
    perl = find_tool("perl")
    return Toolchain(tool_version(perl, "-MTest::Deep", "-e", 'printf "%vd", $^V'), {"perl": perl})


def judge(outcome: Outcome) -> Status:
    return Status.EXCEPTION if "ERROR" in outcome.stdout + outcome.stderr else by_exit_code(outcome)


LANGUAGE = Language(
    code="pl",
    name="Perl",
    extension="pl",
    probe=probe,
    install="apt-get install perl libtest-deep-perl",
    run=lambda toolchain, _: [toolchain.tools["perl"], "program.pl"],
    memory_bytes=1 << 30,
    memory_limit=MemoryLimit.ADDRESS_SPACE,
    memory_error=re.compile(r"^Out of memory", re.MULTILINE),
    judge=judge,
    known_good="""\
use Test::Deep;
if(eq_deeply([1, {"a" => 2}], [1, {"a" => 2}])) {
    print "ok!" }else{
    exit 1;
}
""",
    known_bad="""\
use Test::Deep;
exit 1 unless eq_deeply([1, 2], [2, 1]);
""",
)
