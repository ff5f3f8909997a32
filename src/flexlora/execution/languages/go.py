"""Go: `go test`, which compiles, vets and runs; it tells on standard output what became of it.

Everything Go writes goes to the scratch folder, and Go asks no network. Go libraries that Debian packages are found.

Vetting (and, from Go 1.20 on, compiling) the standard library costs far more than the program. So it is done once in a
process, and each sandbox starts with a copy of Go's build cache: 0.4 instead of 2.4 CPU seconds a program.
"""

from __future__ import annotations

import atexit
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from flexlora.execution.languages.language import (
    TOOL_PATH,
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
CACHES = "/var/tmp"
"""Not /tmp, which the sandbox has for itself."""
USUAL = """\
package usual_test

import (
    _ "bytes"
    _ "container/heap"
    _ "crypto/md5"
    _ "errors"
    _ "fmt"
    _ "math"
    _ "math/big"
    _ "math/rand"
    _ "reflect"
    _ "regexp"
    _ "sort"
    _ "strconv"
    _ "strings"
    _ "testing"
    _ "time"
    _ "unicode"
)
"""
"""A program with the packages that solutions import."""


def probe() -> Toolchain:
    go = find_tool("go")
    version = tool_version(go, "version")
    try:
        cache = tempfile.mkdtemp(prefix="flexlora-go-", dir=CACHES)
    except OSError as error:
        raise ToolchainMissing(f"Go's build cache cannot be kept in {CACHES} ({error.strerror})") from error
    atexit.register(shutil.rmtree, cache, ignore_errors=True)
    Path(cache).chmod(0o755)  # the sandbox is another user's
    fill(cache, go, USUAL)
    return Toolchain(version, {"go": go}, (cache,))


def fill(cache: str, go: str, source: str) -> None:
    """Put what a trusted program imports into a build cache."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "usual_test.go").write_text(source)
        environment = {**ENVIRONMENT, "PATH": TOOL_PATH, "HOME": folder, "GOCACHE": cache}
        subprocess.run([go, "test", "usual_test.go"], cwd=folder, env=environment, capture_output=True, check=False)


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
    run=lambda toolchain, _: [
        *("sh", "-c", 'cp -r "$0" "$GOCACHE"; exec "$@"'),
        *(toolchain.binds[0], toolchain.tools["go"], "test", "program_test.go"),
    ],
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
