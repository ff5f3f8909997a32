from typing import Any

import pytest

from flexlora.data import Problem
from flexlora.data.prompting import prompted
from flexlora.execution import execute
from flexlora.execution.verdict import Program
from flexlora.repair import key_of, repair_problem, repaired, what_went_wrong
from flexlora.repair.message import without_tests

PROMPT = 'def first(xs):\n    """The first of xs."""\n'
TESTS = """
def check(f):
    assert f([17, 2]) == 17, 'seventeen was wanted'
    assert f('secret') == 's'

check(first)
"""


def problem() -> Problem:
    return Problem(
        task="t",
        task_id="t/0",
        language="py",
        prompt=PROMPT,
        prompt_style="verbatim",
        stop_tokens=("\ndef",),
        prefix=PROMPT,
        suffix=TESTS,
    )


FAILURES = {
    "    return xs[1]\n": "A test fails: the result is wrong.",
    "    return xs[9]\n": "It fails:\n  line 3, in first\n    return xs[9]\nIndexError: list index out of range",
    "    return xs[0\n": "It fails:\n  line 3\n    return xs[0\nSyntaxError: '[' was never closed",
    "    return qqzx(xs)\n\n\nimport os\n": "It fails:\n  line 3, in first\n    return qqzx(xs)\n"
    "NameError: name 'qqzx' is not defined",
    "    assert len(xs) > 2, 'mine'\n    return xs[0]\n": "It fails:\n  line 3, in first\n"
    "    assert len(xs) > 2, 'mine'\nAssertionError: mine",
    "    return first\n    x = (\n": None,
}


RUN = "It fails when it is run against the tests."


@pytest.fixture(scope="module")
def results() -> dict[int, dict[str, Any]]:
    programs = [Program("t/0", i, "py", problem().program(completion)) for i, completion in enumerate(FAILURES)]
    return {verdict.sample: verdict.record() for verdict in execute(programs)}


def test_of_python_the_model_sees_its_own_lines_and_the_exception_and_nothing_of_the_tests(
    results: dict[int, dict[str, Any]],
) -> None:
    for sample, (completion, expected) in enumerate(FAILURES.items()):
        solution = problem().solution(completion)
        message = what_went_wrong(results[sample], "py", solution, TESTS, "errors")
        assert expected is None or message == expected
        for secret in ("17", "seventeen", "secret", "check"):
            assert secret not in message
        # What would have been shown otherwise: the same with the tests.
        everything = what_went_wrong(results[sample], "py", solution, TESTS, "all")
        assert results[sample]["stderr"].strip() in everything
    assert "f([17, 2]) == 17" in what_went_wrong(results[0], "py", "", TESTS, "all")


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ("\nif first([1, 2]) != 5:\n    raise ValueError('secret 5')\n", "A test fails: the result is wrong."),
        (
            "\nimport unittest\nunittest.TestCase().assertEqual(first([1]), 5, 'secret')\n",
            "A test fails: the result is wrong.",
        ),
        (
            "\nimport json\njson.loads('secret')\n",  # line numbers of a library are not the program's
            "It fails:\njson.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
        ),
        ("\nfirst([1]).secret\n", "It fails:\nAttributeError: 'int' object has no attribute 'secret'"),
    ],
)
def test_what_tests_raise_or_call_is_not_shown(tests: str, expected: str) -> None:
    solution = PROMPT + "    return xs[0]\n" + "\n" * 500
    (verdict,) = execute([Program("t/0", 0, "py", solution + tests)])
    assert what_went_wrong(verdict.record(), "py", solution, tests, "errors") == expected


@pytest.mark.parametrize(
    ("language", "status", "stderr", "expected"),
    [
        ("py", "Timeout", "File secret", "It did not end within the time limit."),
        ("java", "OutOfMemory", "at secret", "It ran out of memory."),
        (
            *("cpp", "SyntaxError"),
            "program.cpp:3:5: error: 'vectr' was not declared\n    3 |     vectr x;\n"
            "program.cpp:9:5: error: no match\n    9 |     assert(candidate(17) == secret);\n",
            "It does not compile:\nprogram.cpp:3:5: error: 'vectr' was not declared\n    3 |     vectr x;\n"
            "program.cpp:9:5: error: no match",
        ),
        (
            *("java", "Exception"),
            'Exception in thread "main" java.lang.ArithmeticException: / by zero\n\tat Problem.f(Problem.java:4)\n',
            'It fails when it is run: Exception in thread "main" java.lang.ArithmeticException: / by zero',
        ),
        (
            *("java", "Exception", 'Exception in thread "main" java.lang.AssertionError\n'),
            "A test fails: the result is wrong.",
        ),
        (
            *("js", "Exception"),
            "/scratch/program.js:3\n  return y;\n  ^\n\nReferenceError: y is not defined\n    at f (program.js:3)\n",
            "It fails when it is run: ReferenceError: y is not defined",
        ),
        (
            *("js", "Exception"),
            "AssertionError [ERR_ASSERTION]: Expected values to be strictly deep-equal:\n+ actual - secret\n",
            "A test fails: the result is wrong.",
        ),
        ("rb", "Exception", "Failure: test_f\n<17> expected but was <secret>", RUN),
        ("r", "Exception", "Error in f() : identical(candidate(17), secret)", RUN),
    ],
)  # fmt: skip
def test_of_other_languages_compilers_and_named_exceptions_are_shown(
    language: str, status: str, stderr: str, expected: str
) -> None:
    tests = "}\nint main() {\n    assert(candidate(17) == secret);\n}\n"
    result = {"status": status, "stderr": stderr, "stdout": ""}
    assert what_went_wrong(result, language, "", tests, "errors") == expected


def test_short_lines_of_the_tests_hide_nothing_and_long_messages_lose_their_middle() -> None:
    assert without_tests("a }\nb", "}\n)\n") == "a }\nb"
    result = {"status": "SyntaxError", "stderr": "x" * 9000 + "end", "stdout": ""}
    message = what_went_wrong(result, "cpp", "", "", "errors")
    assert len(message) < 1600
    assert message.endswith("end")


def test_a_second_answer_is_asked_for_with_the_program_the_message_and_the_prompt_again() -> None:
    asked = repair_problem(problem(), 3, "    return xs[9]\ndef more(): pass", "It fails:\nIndexError")
    assert asked.task_id == key_of("t/0", 3) == "t/0 sample 3"
    assert (asked.task, asked.prompt_style) == ("t/repair", "verbatim+repair")
    assert asked.prompt == f"{PROMPT}    return xs[9]\n\n# It fails:\n# IndexError\n# Corrected:\n\n{PROMPT}"
    assert asked.program("    return xs[0]") == problem().program("    return xs[0]")
    chat = prompted(problem(), "chat")
    again = repair_problem(chat, 0, "```python\n    return xs[9]\n```", "It fails.")
    assert again.prompt.startswith(chat.prompt)
    assert f"```python\n{PROMPT}    return xs[9]\n```\n\nIt fails." in again.prompt
    assert again.answer == "chat"


def test_what_is_mended_counts_beside_pass_at_1() -> None:
    first = {("a", 0): True, ("a", 1): False, ("b", 0): False, ("b", 1): False}
    found = repaired(first, {("a", 1): True, ("b", 0): False, ("b", 1): True}, seed=0)
    assert (found.plain, found.estimate, found.attempted, found.mended) == (0.25, 0.75, 3, 2)
