"""Warm starts: faster, and otherwise nothing changes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flexlora.errors import UsageError
from flexlora.execution import Mode, Program, Verdict, run_program, warm
from flexlora.execution.compilers import Compiler
from flexlora.execution.judge import judge
from flexlora.execution.languages import LANGUAGES, toolchain
from flexlora.execution.runner import Runner
from flexlora.execution.sandboxed import SandboxBroken
from flexlora.execution.warm import warm_binds

RESIDENT = ["java", "ts"]
TS_THOROUGH = ["java", pytest.param("ts", marks=pytest.mark.thorough)]


@pytest.fixture
def runner() -> Iterator[Runner]:
    runner = Runner(Mode.WARM)
    yield runner
    runner.close()


def verdict(runner: Runner, language: str, source: str, timeout_s: float | None = None) -> Verdict:
    program = Program("t", 0, language, source, timeout_s)
    return judge(program, runner.run(program))


def compilers_of(runner: Runner) -> dict[str, Compiler]:
    return runner._compilers


# Resident compilers


@pytest.mark.parametrize("code", RESIDENT)
def test_a_resident_compiler_compiles_one_program_after_the_other(code: str, runner: Runner) -> None:
    language = LANGUAGES[code]
    for source, passes in ((language.known_good, True), (language.known_bad, False)) * 2:
        assert verdict(runner, code, source).passed is passes
    assert compilers_of(runner).keys() == {code}


@pytest.mark.parametrize(
    ("code", "first", "second"),
    [
        (
            "java",
            "class Helper { static int f() { return 1; } } class Problem { public static void main(String[] a) {} }",
            "class Problem { public static void main(String[] a) { Helper.f(); } }",
        ),
        ("ts", "interface Helper { f: number }\nfunction g(): number { return 1; }", "const x: Helper = { f: g() };"),
    ],
)
def test_nothing_of_one_program_is_known_in_the_next(code: str, first: str, second: str, runner: Runner) -> None:
    assert verdict(runner, code, first).passed
    found = verdict(runner, code, second)
    assert found.status == "SyntaxError"
    assert "Helper" in found.stderr


@pytest.mark.parametrize("code", TS_THOROUGH)
def test_its_words_are_the_plain_commands(code: str, runner: Runner) -> None:
    source = {"java": "class Problem {\n  int f() { return x; }\n}\n", "ts": "const a: number = 'x';\n"}[code]
    warm_one = verdict(runner, code, source)
    cold = run_program(code, source, mode=Mode.COLD)
    assert (warm_one.status, warm_one.exit_code) == (cold.status, cold.exit_code) == ("SyntaxError", cold.exit_code)
    assert (warm_one.stdout + warm_one.stderr).splitlines()[0] in cold.stdout + cold.stderr


@pytest.mark.thorough
def test_a_program_that_changes_the_library_is_left_to_the_plain_command(runner: Runner) -> None:
    # `Node` is the browser's, too: tsc finds the error in its own library's file.
    source = "interface Node { value: number }\nconst node: Node | null = null;\n"
    assert verdict(runner, "ts", source).status == run_program("ts", source, mode=Mode.COLD).status
    tools, language = toolchain("ts"), LANGUAGES["ts"]
    assert language.warm is not None
    assert language.warm.compiler is not None
    compiler = Compiler(language.warm.compiler(tools), warm_binds("ts"))
    try:
        assert compiler.compile("program.ts", source.encode(), 60) is None
        assert compiler.compile("program.ts", b"const x = 1;", 60) is not None
    finally:
        compiler.sandbox.close()


@pytest.mark.parametrize("code", TS_THOROUGH)
def test_a_source_that_is_no_text_is_left_to_the_plain_command(code: str, runner: Runner) -> None:
    source = LANGUAGES[code].known_good + "// \ud800\n"
    assert verdict(runner, code, source).status == run_program(code, source, mode=Mode.COLD).status
    assert verdict(runner, code, LANGUAGES[code].known_good).passed


def deep(code: str) -> str:
    expression = "(" * 20_000 + "1" + ")" * 20_000
    if code == "java":
        return f"class Problem {{ public static void main(String[] a) {{ int x = {expression}; }} }}"
    return f"const x = {expression};"


@pytest.mark.parametrize("code", TS_THOROUGH)
def test_a_compiler_that_fails_is_replaced(code: str, runner: Runner) -> None:
    assert verdict(runner, code, LANGUAGES[code].known_good).passed
    before = compilers_of(runner)[code]
    assert verdict(runner, code, deep(code)).status == run_program(code, deep(code), mode=Mode.COLD).status
    assert verdict(runner, code, LANGUAGES[code].known_good).passed
    before.sandbox.kill()
    assert verdict(runner, code, LANGUAGES[code].known_good).passed  # by the plain command
    assert verdict(runner, code, LANGUAGES[code].known_good).passed
    assert compilers_of(runner)[code] is not before


def test_a_compiler_that_hangs_is_ended_and_the_plain_command_used(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    language = LANGUAGES["ts"]
    assert language.warm is not None
    hangs = dataclasses.replace(language.warm, compiler=lambda _: ["/bin/sh", "-c", "cat > /dev/null"])
    monkeypatch.setitem(LANGUAGES, "ts", dataclasses.replace(language, warm=hangs, compile_timeout_s=60.0))
    compiles = Compiler.compile
    # Waited for in vain; the plain command then has its own time, however loaded the machine is.
    monkeypatch.setattr(Compiler, "compile", lambda self, name, source, _: compiles(self, name, source, 0.5))
    assert verdict(runner, "ts", language.known_good).passed
    assert compilers_of(runner) == {}


@pytest.mark.parametrize("answer", [r"\377\377\377\376" + r"\377" * 99, "nonsense" * 100, ""])
def test_a_compiler_that_answers_nonsense_or_nothing_is_of_no_more_use(answer: str) -> None:
    compiler = Compiler(["/bin/sh", "-c", f"printf '{answer}'"], {})
    try:
        with pytest.raises(SandboxBroken):
            compiler.compile("a.ts", b"", 10)
    finally:
        compiler.sandbox.close()


# Python


FORKED = [
    ("print(__name__, __file__)\nimport sys; print(sys.argv, sys.flags.isolated, sys.path[:1])", 0),
    ("import inspect\ndef f():\n    return 1\nprint(inspect.getsource(f))", 0),
    ("import atexit; atexit.register(print, 'at exit'); print('first')", 0),
    ("import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()", 0),
    ("import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()", 0),
    ("import sys; sys.exit('message')", 1),
    ("exit(7)", 7),
    ("raise SystemExit(-1)", 255),
    ("raise KeyboardInterrupt", 130),
    ("import os; os.abort()", 134),
    ("def f(n): return f(n + 1)\nf(0)", 1),
    ("def f(n): return n and f(n - 1)\nprint(f(980))", 0),
    ("from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\nimport pickle\n"
     "print(pickle.loads(pickle.dumps(A(1))), A.__module__)", 0),
    ("import random; random.seed(1); print(random.random())", 0),
    ("import os, sys; print(sorted(os.environ), os.getcwd(), os.listdir('.'))", 0),
    ("import signal; print(signal.getsignal(signal.SIGPIPE), signal.getsignal(signal.SIGINT))", 0),
    ("print([n for n in globals() if not n.startswith('__')], sorted(vars(__builtins__))[:3])", 0),
    ("import sys\nsys.stdout.close()", 0),
    ("assert 1 == 2, 'text'", 1),
]  # fmt: skip


@pytest.mark.parametrize(("source", "code"), FORKED)
def test_a_forked_interpreter_behaves_as_a_new_one(source: str, code: int, runner: Runner) -> None:
    forked = verdict(runner, "py", source)
    new = run_program("py", source, mode=Mode.COLD)
    assert forked.exit_code == code
    assert dataclasses.astuple(forked)[3:8] == dataclasses.astuple(new)[3:8]


def test_a_null_byte_is_a_syntax_error(runner: Runner) -> None:
    assert verdict(runner, "py", "x = '\0'").status == run_program("py", "x = '\0'", mode=Mode.COLD).status


def test_forked_programs_share_no_random_numbers_and_no_modules(runner: Runner) -> None:
    random = "import random; print(random.random())"
    assert verdict(runner, "py", random).stdout != verdict(runner, "py", random).stdout
    assert verdict(runner, "py", "import math; math.pi = 3").passed
    assert verdict(runner, "py", "import math; assert math.pi > 3.1").passed


def test_nothing_of_an_earlier_program_is_in_the_memory_of_a_forked_one(runner: Runner, marker: str) -> None:
    secret = f"x = '{marker}'; print(x)"
    assert marker in verdict(runner, "py", secret).stdout
    head, tail = marker[:10], marker[10:]
    search = f"""
found = 0
needle = ({head!r} + {tail!r}).encode()
own = needle  # one copy is this one's
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
    for line in maps:
        span, rights = line.split()[:2]
        if "r" not in rights or "[v" in line: continue
        start, end = (int(part, 16) for part in span.split("-"))
        memory.seek(start)
        try: found += memory.read(end - start).count(needle)
        except OSError: pass
print(found)
"""
    result = verdict(runner, "py", search)
    assert result.passed, result
    # The needle itself, and the copies that the search makes of the memory that holds it; without it, none.
    nothing = search.replace("needle = (", "needle = ('no' + ")
    assert int(result.stdout) <= int(verdict(runner, "py", nothing).stdout) + 1


# What is built once


def test_a_build_is_made_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    monkeypatch.setattr(warm, "_ready", {})
    monkeypatch.setenv("FLEXLORA_CACHE", str(folder))
    _open_to_all(folder)
    (built,) = warm_binds("ts").values()
    before = {path: path.stat().st_mtime_ns for path in Path(built).rglob("*")}
    assert before
    monkeypatch.setattr(warm, "_ready", {})
    assert list(warm_binds("ts").values()) == [built]
    assert {path: path.stat().st_mtime_ns for path in Path(built).rglob("*")} == before
    assert [path.name for path in (folder / "warm").iterdir()] == [Path(built).name]  # nothing half-made


def test_a_build_that_fails_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    monkeypatch.setattr(warm, "_ready", {})
    monkeypatch.setenv("FLEXLORA_CACHE", str(folder))
    _open_to_all(folder)
    language = LANGUAGES["cpp"]
    assert language.warm is not None
    fails = dataclasses.replace(language.warm, build=lambda _: [["/bin/sh", "-c", "echo no space >&2; exit 1"]])
    monkeypatch.setitem(LANGUAGES, "cpp", dataclasses.replace(language, warm=fails))
    with pytest.raises(UsageError, match=r"cpp: .*no space.*--mode cold"):
        warm_binds("cpp")
    assert list((folder / "warm").iterdir()) == []


def _open_to_all(folder: Path) -> None:
    """As root, sandboxes run as another user, who must be able to reach what was built."""
    folder.mkdir()
    if os.geteuid() == 0:
        for parent in folder.parents[:-2]:
            parent.chmod(parent.stat().st_mode | 0o055)


@pytest.mark.parametrize(
    ("source", "first"),
    [
        ("#include<assert.h>\n#include<bits/stdc++.h>\nint main() {}", True),
        ("// text\n/* more\n */\n#include <vector>\n\n#include <bits/stdc++.h>\nint main() {}", True),
        ("#define private public\n#include <bits/stdc++.h>\nint main() {}", False),
        ("#include <vector>\nint main() {}", False),
        ("// \\\n#define x\n#include <bits/stdc++.h>\nint main() {}", False),
        ('#include "own.h"\n#include <bits/stdc++.h>\nint main() {}', False),
        ("using namespace std;\n#include <bits/stdc++.h>\nint main() {}", False),
    ],
)
def test_the_precompiled_header_stands_in_only_where_it_changes_nothing(source: str, first: bool) -> None:
    language = LANGUAGES["cpp"]
    assert language.warm is not None
    assert language.warm.compile is not None
    command = language.warm.compile(toolchain("cpp"), source)
    assert command is not None
    assert ("-include" in command) is first
