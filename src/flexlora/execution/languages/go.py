"""Go: `go test`, which compiles, vets and runs; it tells on standard output what became of it.

Everything Go writes goes to the scratch folder, and Go asks no network. Go libraries that Debian packages are found.

Vetting (and, from Go 1.20 on, compiling) the standard library costs far more than the program. Warm: it is done once,
and each program starts with links to Go's build cache.
"""

from __future__ import annotations

import re
from pathlib import Path

from flexlora.execution.languages.language import (
    Language,
    MemoryLimit,
    Toolchain,
    Warm,
    by_exit_code,
    find_tool,
    tool_version,
    warm_folder,
)
from flexlora.execution.outcome import Outcome
from flexlora.execution.verdict import Status

# What a test prints reaches us on go's standard output.
OUT_OF_MEMORY = re.compile(r"^fatal error: (runtime: )?(out of memory|cannot allocate memory)", re.MULTILINE)
ENVIRONMENT = {
    "GOCACHE": "/scratch/go-build",
    "GOPATH": "/scratch/go:/usr/share/gocode",
    "GO111MODULE": "off",
    "GOPROXY": "off",
    "GOTOOLCHAIN": "local",
    "GOTELEMETRY": "off",
    "GOENV": "off",
    "CGO_ENABLED": "0",
    "GOMAXPROCS": "1",
}
TESTIFY = Path("/usr/share/gocode/src/github.com/stretchr/testify")
CACHE = f"{warm_folder('go')}/build"


def probe() -> Toolchain:
    go = find_tool("go")
    return Toolchain(tool_version(go, "version"), {"go": go})


def judge(outcome: Outcome) -> Status:
    if "[build failed]" in outcome.stdout or "[setup failed]" in outcome.stdout:
        return Status.SYNTAX_ERROR
    if outcome.exit_code != 0 and OUT_OF_MEMORY.search(outcome.stdout):
        return Status.OUT_OF_MEMORY
    return Status.EXCEPTION if "FAIL" in outcome.stdout else by_exit_code(outcome)


LANGUAGE = Language(
    code="go",
    name="Go",
    extension="go",
    probe=probe,
    install="apt-get install golang-go",
    stem=lambda _: "program_test",
    run=lambda toolchain, _: [toolchain.tools["go"], "test", "program_test.go"],
    warm=Warm(
        sources=("usual_test.go", "testify_test.go"),
        build=lambda toolchain: [
            [
                *("env", *(f"{name}={value}" for name, value in ENVIRONMENT.items()), f"GOCACHE={CACHE}"),
                *(toolchain.tools["go"], "test", file),
            ]
            for file in ("usual_test.go", *(["testify_test.go"] if TESTIFY.is_dir() else []))
        ],
        run=lambda toolchain, _: [
            *("/bin/sh", "-c", f'cp -rs {CACHE} "$GOCACHE"; exec "$@"', "sh"),
            *(toolchain.tools["go"], "test", "program_test.go"),
        ],
    ),
    environment=ENVIRONMENT,
    run_timeout_s=30.0,
    memory_bytes=2 << 30,
    memory_limit=MemoryLimit.DATA,
    memory_error=OUT_OF_MEMORY,
    judge=judge,
    known_good="""\
package add_test

import (
    "fmt"
    "testing"
)

func TestAdd(t *testing.T) {
    if fmt.Sprintf("%v", []int{1 + 2}) != "[3]" {
        t.Errorf("expected 3")
    }
}
""",
    known_bad="""\
package add_test

import "testing"

func TestAdd(t *testing.T) {
    t.Errorf("expected 3")
}
""",
)
