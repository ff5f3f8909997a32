"""C#: `mcs /d:DEBUG`, then `mono`; a failed `Debug.Assert` and an unhandled exception show on standard error.

One known harness looks for "Fail" alone and passes programs that crash: that rule is `judge_compat`. It is the one by
which the published figures of Qwen2.5-Coder were reached, 8 of whose passes of 77 are unhandled exceptions.
"""

from __future__ import annotations

import re
from pathlib import Path

from flexlora.execution.languages.language import (
    Language,
    MemoryLimit,
    Toolchain,
    ToolchainMissing,
    by_exit_code,
    find_tool,
    tool_version,
)
from flexlora.execution.outcome import Outcome
from flexlora.execution.verdict import Status

NUMERICS = "/usr/lib/mono/4.5/System.Numerics.dll"
FAILED = re.compile(r"DefaultTraceListener\.Fail|Unhandled Exception")


def probe() -> Toolchain:
    tools = {name: find_tool(name) for name in ("mcs", "mono")}
    if not Path(NUMERICS).exists():
        raise ToolchainMissing(f"{NUMERICS} is missing")
    return Toolchain(tool_version(tools["mono"], "--version"), tools, ("/etc/mono",))


def judge(outcome: Outcome) -> Status:
    return Status.EXCEPTION if FAILED.search(outcome.stderr) else by_exit_code(outcome)


def judge_compat(outcome: Outcome) -> Status:
    return Status.EXCEPTION if "Fail" in outcome.stderr else Status.OK


LANGUAGE = Language(
    code="cs",
    name="C#",
    extension="cs",
    probe=probe,
    install="apt-get install mono-mcs mono-runtime libmono-system-core4.0-cil libmono-system-numerics4.0-cil",
    compile=lambda toolchain, _: [toolchain.tools["mcs"], "/d:DEBUG", "-r:System.Numerics.dll", "program.cs"],
    run=lambda toolchain, _: [toolchain.tools["mono"], "program.exe"],
    environment={
        "MONO_TRACE_LISTENER": "Console.Error",
        "MONO_THREADS_PER_CPU": "1",
    },
    memory_bytes=1 << 30,
    memory_limit=MemoryLimit.DATA,
    memory_error=re.compile(r"System\.OutOfMemoryException|Could not allocate"),
    judge=judge,
    judge_compat=judge_compat,
    known_good="""\
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Numerics;
class Problem {
    public static void Main(string[] args) {
        Debug.Assert(new List<int>(new int[]{3, 1, 2}).OrderBy(x => x).SequenceEqual(new int[]{1, 2, 3}));
        Debug.Assert(BigInteger.Pow(2, 70).ToString() == "1180591620717411303424");
    }
}
""",
    known_bad="""\
using System.Diagnostics;
class Problem {
    public static void Main(string[] args) {
        Debug.Assert(1 + 1 == 3);
    }
}
""",
)
