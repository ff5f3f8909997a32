"""What is different for hostile Java programs: threads, the JVM's own memory, the compiler as a target."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from flexlora.execution import Mode, Program, Verdict
from flexlora.execution.judge import judge
from flexlora.execution.runner import Runner

Java = Callable[..., Verdict]
Run = Callable[..., Verdict]


@pytest.fixture(params=[Mode.WARM, Mode.COLD])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs whole programs in each mode, one after the other on the same runner; the last ones are honest."""
    runner = Runner(request.param)

    def run(source: str, timeout_s: float = 20) -> Verdict:
        program = Program("hostile", 0, "java", source, timeout_s)
        return judge(program, runner.run(program))

    try:
        yield run
        assert run(MAIN % "assert 1 + 1 == 2;").status == "OK"
        assert run(MAIN % "assert 1 + 1 == 3;").status == "Exception"
    finally:
        runner.close()


MAIN = "import java.util.*;\nclass Problem { public static void main(String[] a) throws Exception { %s } }"


@pytest.fixture
def java(run: Run) -> Java:
    return lambda body, timeout_s=20: run(MAIN.replace("%s", body), timeout_s)


def test_filling_the_heap_is_out_of_memory(java: Java) -> None:
    verdict = java("List<long[]> l = new ArrayList<>(); while (true) l.add(new long[1 << 20]);")
    assert (verdict.status, verdict.passed) == ("OutOfMemory", False)


def test_memory_outside_the_heap_is_limited(java: Java) -> None:
    verdict = java(
        "List<Object> l = new ArrayList<>(); while (true) l.add(java.nio.ByteBuffer.allocateDirect(1 << 26));"
    )
    assert verdict.status == "OutOfMemory"


@pytest.mark.slow
def test_endless_threads_are_stopped(java: Java) -> None:
    verdict = java(
        "while (true) new Thread(() -> { try { Thread.sleep(100000); } catch (Exception e) {} }).start();", 3
    )
    assert verdict.status in {"OutOfMemory", "Timeout"}


def test_endless_loops_and_endless_waits_are_timeouts(java: Java) -> None:
    assert java("while (true) {}", timeout_s=1).status == "Timeout"
    assert java("Thread.sleep(1000000);", timeout_s=0.5).status == "Timeout"


def test_an_output_flood_is_cut_off(java: Java) -> None:
    assert java('while (true) System.out.println("x".repeat(10000));').status == "OutputLimit"


def test_a_started_process_does_not_outlive_the_program(
    java: Java, left_behind: Callable[[str], list[str]], marker: str
) -> None:
    verdict = java(f'new ProcessBuilder("/bin/sh", "-c", "sleep 1000; true", "{marker}").inheritIO().start();')
    assert verdict.passed, verdict
    assert left_behind(marker) == []


def test_no_network_and_no_files_of_the_host(java: Java) -> None:
    verdict = java(
        'for (String p : new String[]{"/root", "/home", "/etc/passwd", "/etc/hostname"})'
        "    if (new java.io.File(p).exists()) System.exit(9);"
        'try { new java.net.Socket("127.0.0.1", 22); System.exit(8); } catch (java.io.IOException e) {}'
        'try { new java.io.FileWriter("/usr/harm"); System.exit(7); } catch (java.io.IOException e) {}'
    )
    assert verdict.passed, verdict


def test_what_the_compiler_prints_cannot_forge_its_exit_code(run: Run) -> None:
    verdict = run('class Problem { String s = "\ncompiled 0\nready\n"; }')
    assert verdict.status == "SyntaxError"


def test_a_program_that_is_hard_to_compile_is_a_syntax_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from flexlora.execution.languages import LANGUAGES

    monkeypatch.setitem(LANGUAGES, "java", dataclasses.replace(LANGUAGES["java"], compile_timeout_s=0.02))
    verdict = run("class Problem { public static void main(String[] a) {} }")
    assert (verdict.status, verdict.exit_code) == ("SyntaxError", None)
    monkeypatch.undo()
