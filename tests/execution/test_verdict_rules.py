"""How each language judges the end of a program, on ends written down by hand."""

from __future__ import annotations

import pytest
from toolchains import need

from flexlora.execution import Program, execute, run_program
from flexlora.execution.judge import status_of
from flexlora.execution.languages import LANGUAGES, Toolchain
from flexlora.execution.outcome import End, Outcome, Phase


def status(
    code: str, stdout: str = "", stderr: str = "", exit_code: int | None = 0, *, compat: bool = False, **facts: object
) -> str:
    fields = {"phase": Phase.RUN, "end": End.EXIT, "exit_code": exit_code, "stdout": stdout, "stderr": stderr}
    return status_of(LANGUAGES[code], Outcome(**(fields | facts)), compat=compat)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", LANGUAGES)
def test_what_all_languages_share(code: str) -> None:
    assert status(code) == "OK"
    assert status(code, exit_code=1) == "Exception"
    assert status(code, exit_code=None, end=End.TIMEOUT) == "Timeout"
    assert status(code, exit_code=None, end=End.OUTPUT_LIMIT) == "OutputLimit"
    assert status(code, exit_code=None, end=End.BROKEN) == "InfrastructureError"
    assert status(code, exit_code=137, oom_killed=True) == "OutOfMemory"
    assert status(code, exit_code=1, phase=Phase.COMPILE) == "SyntaxError"
    assert status(code, exit_code=None, phase=Phase.COMPILE, end=End.TIMEOUT) == "SyntaxError"


@pytest.mark.parametrize("code", sorted(set(LANGUAGES) - {"rkt", "scala"}))
def test_words_on_standard_error_do_not_fail_a_program_that_ended_well(code: str) -> None:
    assert status(code, stderr="warning: unused, syntax error, out of memory\n") == "OK"


@pytest.mark.parametrize(
    ("code", "stderr"),
    [
        ("cpp", "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n"),
        ("cs", "Unhandled Exception:\nSystem.OutOfMemoryException: Out of memory\n"),
        ("d", "core.exception.OutOfMemoryError@src/core/exception.d(702): Memory allocation failed\n"),
        ("java", 'Exception in thread "main" java.lang.OutOfMemoryError: Java heap space\n'),
        ("jl", "ERROR: LoadError: OutOfMemoryError()\n"),
        ("js", "\nFATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n"),
        ("js", "RangeError: Array buffer allocation failed\n    at new ArrayBuffer\n"),
        ("lua", "lua: not enough memory\n"),
        ("php", "PHP Fatal error:  Allowed memory size of 536870912 bytes exhausted (tried to allocate 9 bytes)\n"),
        ("pl", "Out of memory!\n"),
        ("py", "Traceback (most recent call last):\nMemoryError\n"),
        ("r", "Error: cannot allocate vector of size 16.0 Mb\n"),
        ("rb", "program.rb:2:in `*': failed to allocate memory (NoMemoryError)\n"),
        ("rkt", "out of memory\n"),
        ("rs", "memory allocation of 16777216 bytes failed\n"),
        ("scala", "java.lang.OutOfMemoryError: Java heap space\n"),
        ("sh", "program.sh: xrealloc: cannot allocate 1073741825 bytes\n"),
        ("ts", "\nFATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n"),
    ],
)
def test_memory_run_out_is_told_from_other_failures(code: str, stderr: str) -> None:
    assert status(code, stderr=stderr, exit_code=1) == "OutOfMemory"


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "exit_code", "expected"),
    [
        ("cs", "", "Fail: \n  at System.Diagnostics.DefaultTraceListener.Fail (System.String m)\n", 0, "Exception"),
        ("cs", "", "\nUnhandled Exception:\nSystem.FormatException: x\n", 1, "Exception"),
        ("cs", "Fail", "Fail", 0, "OK"),
        ("go", "ok  \tcommand-line-arguments\t0.1s\n", "", 0, "OK"),
        ("go", "FAIL\tcommand-line-arguments [build failed]\nFAIL\n", "undefined: x\n", 1, "SyntaxError"),
        ("go", "FAIL\tcommand-line-arguments [setup failed]\nFAIL\n", "expected 'package'\n", 1, "SyntaxError"),
        ("go", "--- FAIL: TestAdd (0.00s)\nFAIL\n", "", 1, "Exception"),
        ("go", "FAIL\nok  \tcommand-line-arguments\t0.1s\n", "", 0, "Exception"),
        ("go", "fatal error: runtime: out of memory\n\nFAIL\n", "", 1, "OutOfMemory"),
        ("php", "", "PHP Parse error:  syntax error, unexpected token\n", 255, "SyntaxError"),
        ("php", "", "PHP Fatal error:  Uncaught Exception: Test failed!\n", 255, "Exception"),
        ("pl", "ok!ERROR", "", 0, "Exception"),
        ("pl", "", "ERROR\n", 0, "Exception"),
        ("rkt", "", "--------------------\nFAILURE\n", 0, "Exception"),
        ("scala", "", "warning\n", 0, "Exception"),
        ("scala", "said", "", 0, "OK"),
        ("sh", "", "program.sh: line 3: syntax error near unexpected token `fi'\n", 2, "SyntaxError"),
    ],
)
def test_what_only_one_language_says(code: str, stdout: str, stderr: str, exit_code: int, expected: str) -> None:
    assert status(code, stdout, stderr, exit_code) == expected


def test_only_fail_counts_under_the_rule_of_published_c_sharp_figures() -> None:
    crash = "\nUnhandled Exception:\nSystem.FormatException: Input string was not in a correct format.\n"
    assert (status("cs", "", crash, 1), status("cs", "", crash, 1, compat=True)) == ("Exception", "OK")
    assert status("cs", "", "Fail: \n", 0, compat=True) == "Exception"
    assert status("cs", exit_code=None, end=End.TIMEOUT, compat=True) == "Timeout"


def test_languages_without_a_laxer_rule_are_judged_as_ever() -> None:
    assert [code for code, language in LANGUAGES.items() if language.judge_compat] == ["cs"]
    assert status("py", exit_code=1, compat=True) == "Exception"
    assert run_program("py", "assert False", compat=True).status == "Exception"


@pytest.mark.toolchains
def test_the_laxer_rule_reaches_programs() -> None:
    need("cs")
    crash = 'class Problem { public static void Main() { int.Parse("x"); } }'
    assert not run_program("cs", crash).passed
    assert run_program("cs", crash, compat=True).passed
    (verdict,) = execute([Program("t", 0, "cs", crash)], compat=True)
    assert verdict.passed


# Toolchains that we could not run


def test_the_commands_of_julia_and_swift_are_those_of_the_public_harness() -> None:
    tools = Toolchain("", {"julia": "/usr/local/bin/julia", "swiftc": "/usr/bin/swiftc"})
    julia, swift = LANGUAGES["jl"], LANGUAGES["swift"]
    assert {code for code, language in LANGUAGES.items() if not language.verified} == {"jl", "swift"}
    assert julia.compile is None
    assert julia.run(tools, "") == ["/usr/local/bin/julia", "--startup-file=no", "--threads=1", "program.jl"]
    assert swift.compile is not None
    assert swift.compile(tools, "") == ["/usr/bin/swiftc", "program.swift", "-o", "program"]
    assert swift.run(tools, "") == ["./program"]
    assert (swift.compile_timeout_s, swift.run_timeout_s, julia.run_timeout_s) == (45, 15, 15)
    assert (julia.file_name(""), swift.file_name("")) == ("program.jl", "program.swift")
