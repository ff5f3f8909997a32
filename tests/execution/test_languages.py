from __future__ import annotations

import dataclasses
from importlib import import_module
from pathlib import Path

import pytest
from programs import FAILING
from solutions import ADD, RIGHT, WRONG
from toolchains import ALL, each, need

from flexlora.data import multipl_e
from flexlora.data.multipl_e import problems
from flexlora.errors import UsageError
from flexlora.execution import doctor, require, run_program
from flexlora.execution.doctor import check
from flexlora.execution.languages import LANGUAGES, ToolchainMissing, get_language, toolchain
from flexlora.execution.languages import java as java_file
from flexlora.execution.languages.java import class_names
from flexlora.report.words import LANGUAGE_NAMES


@pytest.mark.parametrize("code", each())
def test_the_known_programs_are_judged_rightly(code: str) -> None:
    need(code)
    good, bad = (run_program(code, source) for source in (LANGUAGES[code].known_good, LANGUAGES[code].known_bad))
    assert (good.status, good.passed, good.exit_code) == ("OK", True, 0)
    assert (bad.status, bad.passed) == ("Exception", False)


def test_an_unknown_language_is_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'cobol'.*cpp, cs, .*py, "):
        get_language("cobol")


def test_all_that_is_missing_is_listed_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java_file, "JAVATUPLES", "/usr/share/java/no.jar")
    toolchain.cache_clear()
    try:
        with pytest.raises(UsageError) as caught:
            require({"java", "py", "cobol"})
    finally:
        toolchain.cache_clear()
    message = str(caught.value)
    assert "no.jar is missing" in message
    assert "apt-get install default-jdk-headless libjavatuples-java" in message
    assert "cobol" in message


def test_a_toolchain_that_does_not_work_in_the_sandbox_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = dataclasses.replace(LANGUAGES["py"], run=lambda *_: ["/opt/python/bin/python3", "program.py"])
    monkeypatch.setitem(LANGUAGES, "broken", dataclasses.replace(broken, code="broken"))
    with pytest.raises(UsageError, match=r"broken: .*does not work in the sandbox.*/opt/python"):
        require({"py", "broken"})


@pytest.mark.slow
def test_the_doctor_runs_a_good_and_a_bad_program_in_each_language(monkeypatch: pytest.MonkeyPatch) -> None:
    some = {code: LANGUAGES[code] for code in ("py", "java", "lua", "swift")}  # the last is hardly ever there
    monkeypatch.setattr(doctor, "LANGUAGES", languages := LANGUAGES if ALL else some)
    rows = {row["name"]: row for row in check()}
    assert rows["sandbox"]["ok"]
    assert "bubblewrap" in rows["sandbox"]["version"]
    assert rows.keys() == {"sandbox", *languages}
    assert rows["java"]["ok"]
    for code in languages:
        if rows[code]["found"]:
            assert (rows[code]["ok"], rows[code]["good"], rows[code]["bad"]) == (True, "OK", "Exception"), rows[code]
        else:
            assert (rows[code]["ok"], rows[code]["good"]) == (None, None)
            assert LANGUAGES[code].install in rows[code]["install"]


def test_the_doctor_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(code: str) -> None:
        raise ToolchainMissing("`tool` is not there")

    monkeypatch.setattr("flexlora.execution.doctor.toolchain", missing)
    rows = {row["name"]: row for row in check()}
    assert rows["java"]["ok"] is None
    assert "default-jdk-headless" in rows["java"]["install"]


def test_the_doctor_calls_wrong_what_misjudges(monkeypatch: pytest.MonkeyPatch) -> None:
    java = LANGUAGES["java"]
    monkeypatch.setitem(LANGUAGES, "java", dataclasses.replace(java, known_bad=java.known_good))
    for code in set(LANGUAGES) - {"java"}:
        monkeypatch.delitem(LANGUAGES, code)
    sandbox, row = check()
    assert (sandbox["ok"], row["ok"], row["found"]) == (True, False, True)


def test_a_language_is_the_file_with_its_code() -> None:
    assert set(LANGUAGES) == {"py", *multipl_e.LANGUAGES}
    for code, language in LANGUAGES.items():
        assert import_module(f"flexlora.execution.languages.{code}").LANGUAGE is language
        assert (language.code, language.name) == (code, LANGUAGE_NAMES[code])


# What a program may do wrong, in every language


@pytest.mark.parametrize("code", each(FAILING, thorough=("ts",)))
def test_programs_that_cannot_be_parsed_exit_or_never_end(code: str) -> None:
    need(code)
    program, interpreted = FAILING[code], {"js", "lua", "pl", "r", "rb", "rkt"}
    verdict = run_program(code, program.broken)
    assert verdict.status == ("Exception" if code in interpreted else "SyntaxError"), verdict
    verdict = run_program(code, program.exiting)
    assert (verdict.status, verdict.exit_code) == ("Exception", 1 if code == "go" else 3), verdict
    verdict = run_program(code, program.endless, timeout_s=1)
    assert (verdict.status, verdict.exit_code) == ("Timeout", None), verdict


@pytest.mark.slow
@pytest.mark.parametrize("code", each(FAILING, thorough=("sh", "ts")))
def test_a_program_that_hoards_memory_is_out_of_memory(code: str) -> None:
    need(code)
    verdict = run_program(code, FAILING[code].hoarding, timeout_s=60)
    assert (verdict.status, verdict.passed) == ("OutOfMemory", False), verdict


# MultiPL-E's problems, with completions written by hand


@pytest.mark.parametrize("code", each(RIGHT))
def test_right_completions_pass_and_a_wrong_one_fails(code: str, data: Path) -> None:
    need(code)
    by_name = {problem.task_id: problem for problem in problems(data, "humaneval", code, "stripped")[0]}
    for name, completion in RIGHT[code].items():
        verdict = run_program(code, by_name[name].program(completion))
        assert verdict.passed, (name, verdict)
    assert run_program(code, by_name[ADD].program(WRONG[code])).status == "Exception"


# Python


def test_a_file_that_does_not_parse_is_a_syntax_error_and_one_raised_later_is_not() -> None:
    assert run_program("py", "def f(:\n  pass").status == "SyntaxError"
    assert run_program("py", "if True:\npass").status == "SyntaxError"
    assert run_program("py", "eval('1 +')").status == "Exception"
    assert run_program("py", "raise MemoryErrors").status == "Exception"


def test_programs_may_use_exit_unicode_and_main() -> None:
    assert run_program("py", "if __name__ == '__main__': exit(0)").passed
    assert run_program("py", "print('\u00e4\u4e2d')").stdout == "\u00e4\u4e2d\n"
    assert run_program("py", "x = '\ud800'").status == "SyntaxError"  # cannot be encoded, must not crash


def test_programs_may_use_processes_and_threads() -> None:
    source = (
        "from multiprocessing import Pool\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "if __name__ == '__main__':\n"
        "  with Pool(2) as pool: assert pool.map(abs, [-1, 2]) == [1, 2]\n"
        "  with ThreadPoolExecutor(8) as pool: assert list(pool.map(abs, [-1])) == [1]\n"
    )
    verdict = run_program("py", source)
    assert verdict.passed, verdict.stderr


def test_a_long_program_goes_in_whole() -> None:
    assert run_program("py", "x = 0\n" + "x += 1\n" * 200_000 + "assert x == 200_000").passed


# Java


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("class Problem { static void main() {} }", ("Problem", "Problem")),
        (
            "class Solution { }\npublic class Main { public static void main(String[] a) {} }",
            ("Main", "Main"),
        ),
        (
            "class Pair {}\nclass Problem { class Inner {} public static void main() {} }",
            ("Problem", "Problem"),
        ),
        ("class A {}\nclass B { static class C {} public static void main() {} } class D {}", ("B", "B")),
        ("public final class X { }\nclass Problem { static void main() {} }", ("X", "Problem")),
        (
            '// public class No\n/* class Problem */ class A { String s = "public class No {"; static void main() {} }',
            ("A", "A"),
        ),
        ("class A { char c = '{'; }\npublic enum E { ; static void main() {} }", ("E", "E")),
        ("package a.b;\nclass A { static void main() {} }", ("A", "a.b.A")),
        ("/* c */ package a;\npublic class A { static public void main(String[] a) {} }", ("A", "a.A")),
        ("class A {} class B { public static final void main(String[] a) {} }", ("B", "B")),
        ('class A { String s = """' + "\\" * 10_000, ("Main", "Main")),
        ('class A { String s = """ { class B """; static void main() {} }', ("A", "A")),
        ("no java at all", ("Main", "Main")),
        ("class " + "x" * 300 + "{}", ("Main", "Main")),
    ],
)
def test_the_file_is_named_and_the_class_found(source: str, names: tuple[str, str]) -> None:
    assert class_names(source) == names


def test_java_asserts_count_and_unicode_works() -> None:
    main = "class Problem { public static void main(String[] a) { %s } }"
    assert run_program("java", main % "assert false;").status == "Exception"
    assert run_program("java", main % 'System.out.println("\u00e4\u4e2d");').stdout == "\u00e4\u4e2d\n"
    assert run_program("java", main % "System.exit(3);").exit_code == 3
    assert run_program("java", main % "int x = 0 int y;").status == "SyntaxError"


def test_programs_in_a_package_run() -> None:
    assert run_program("java", "package a.b; class A { static public void main(String[] a) {} }").passed


def test_a_jvm_without_memory_to_start_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LANGUAGES, "java", dataclasses.replace(LANGUAGES["java"], memory_bytes=100 << 20))
    assert run_program("java", LANGUAGES["java"].known_good).status == "OutOfMemory"


def test_a_message_about_memory_is_not_memory_run_out() -> None:
    main = "class Problem { public static void main(String[] a) { %s } }"
    source = main % 'System.err.println("caught java.lang.OutOfMemoryError"); System.exit(1);'
    assert run_program("java", source).status == "Exception"
