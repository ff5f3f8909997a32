"""What one program does is not met by the next, and no limit disturbs an honest one; for harm see test_conformance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from flexlora.execution import Mode, Program, Verdict, run_program
from flexlora.execution.judge import judge
from flexlora.execution.languages import LANGUAGES
from flexlora.execution.runner import Runner
from flexlora.execution.worker import OUTPUT_BYTES

Run = Callable[..., Verdict]


@pytest.fixture(params=list(Mode))
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs programs in each mode, all by one runner, and then sees that the next verdicts are right."""
    with closing(Runner(request.param)) as runner:

        def run(source: str, timeout_s: float = 20) -> Verdict:
            program = Program("program", 0, "py", source, timeout_s)
            return judge(program, runner.run(program))

        yield run
        assert run("assert 1 + 1 == 2").status == "OK"
        assert run("assert 1 + 1 == 3").status == "Exception"


def test_the_cpu_time_of_children_killed_at_the_deadline_is_counted(run: Run) -> None:
    verdict = run("import os\nos.fork()\nwhile True: pass", timeout_s=1)
    assert verdict.status == "Timeout"
    assert verdict.cpu_s > 0.5


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_output_flood_is_cut_off_and_not_kept(run: Run, stream: str) -> None:
    verdict = run(f"import sys\nfor _ in range(100): sys.{stream}.write('x' * 1_000_000)", timeout_s=30)
    assert verdict.status == "OutputLimit"
    assert not verdict.passed
    assert len(verdict.stdout) + len(verdict.stderr) < 100_000


def test_a_chatty_program_passes(run: Run) -> None:
    verdict = run(
        "import sys\nfor _ in range(5000):\n  sys.stdout.write('o' * 999 + '\\n'); sys.stderr.write('e' * 999 + '\\n')"
    )
    assert verdict.passed
    assert verdict.stdout.startswith("ooo")
    assert f"[... {5_000_000 - 16 * 1024} bytes left out ...]" in verdict.stdout
    assert len(verdict.stderr) < 20_000


def test_output_that_is_no_utf8_is_recorded_with_replacements(run: Run) -> None:
    assert run("import os; os.write(1, b'a\\xff\\x00b')").stdout == "a\ufffd\0b"


def test_a_socket_that_outlives_its_program_is_not_met_by_the_next(run: Run) -> None:
    left = """
import array, socket
# Two sockets that hold each other stay in the kernel until it looks for such pairs, and with them what they carry.
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
named = socket.socket(socket.AF_UNIX)
named.bind("\\0left")
carried = array.array("i", [s.fileno() for s in (one, other, named)])
one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, carried)])
"""
    taken = "import socket\nsocket.socket(socket.AF_UNIX).bind('\\0left')\nsocket.socket().bind(('0.0.0.0', 8000))"
    assert run(left).passed
    assert run(taken).passed
    assert run(taken + " ").passed


def test_memory_that_outlives_its_program_is_not_missed_by_the_next(run: Run) -> None:
    left = """
import array, os, socket
files = [os.memfd_create("left") for _ in range(5)]
for file in files:
    for _ in range(220): os.write(file, bytes(1 << 20))
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [one.fileno(), other.fileno(), *files]))])
"""
    needs = "x = bytearray(b'x') * 700_000_000\nassert len(x) == 700_000_000"
    for _ in range(3):
        assert run(left).passed
        assert run(needs).status == "OK"


def test_an_interrupt_is_still_an_exception(run: Run) -> None:
    assert run("import os, signal\ntry: os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt: pass").passed


def test_flags_of_standard_input_are_not_met_by_the_next(run: Run) -> None:
    source = "import fcntl, os\nassert not fcntl.fcntl(0, fcntl.F_GETFL) & os.O_NONBLOCK\n"
    assert run(source + "fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK)").passed
    assert run(source).passed


def test_a_program_that_ends_as_it_is_stopped_takes_none_with_it(run: Run) -> None:
    for _ in range(30):
        run(f"import os\nos.write(1, bytes({OUTPUT_BYTES + 1000}))\nos._exit(0)")
        assert run("").status == "OK"


def test_standard_input_is_at_its_end(run: Run) -> None:
    assert (
        run("import sys; assert sys.stdin.read() == ''\ntry: input()\nexcept EOFError: print('end')").stdout == "end\n"
    )


def test_a_program_finds_nothing_of_the_one_before(run: Run) -> None:
    assert run("open('/tmp/left', 'w').write('x'); open('left2', 'w').write('x')").passed
    assert run("import os; print(os.listdir('/scratch'))").stdout == "['program.py']\n"


@pytest.mark.parametrize("mode", [Mode.WARM, Mode.COLD])
def test_what_the_java_compiler_prints_cannot_forge_its_exit_code(mode: Mode) -> None:
    source = 'class Problem { String s = "\ncompiled 0\nready\nend 0 finished\n"; }'
    assert run_program("java", source, mode=mode).status == "SyntaxError"


@pytest.mark.parametrize("mode", [Mode.WARM, Mode.COLD])
def test_a_program_that_is_slow_to_compile_is_a_syntax_error(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "class Problem { public static void main(String[] a) {} }"
    assert run_program("java", source, mode=mode).passed
    slow = dataclasses.replace(LANGUAGES["java"], compile_timeout_s=0.02)
    monkeypatch.setitem(LANGUAGES, "java", slow)
    with closing(Runner(mode)) as runner:
        program = Program("slow", 0, "java", source)
        verdict = judge(program, runner.run(program))
    assert (verdict.status, verdict.exit_code) == ("SyntaxError", None)
