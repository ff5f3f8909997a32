from dataclasses import fields
from pathlib import Path

import pytest

from flexlora.data.tasks import load_problems
from flexlora.errors import UsageError
from flexlora.execution import execute
from flexlora.execution.verdict import Program
from flexlora.recipe import Task
from flexlora.selection import WRITTEN, Question, ask_for_tests, inputs_in, question, read_tests
from flexlora.selection.question import require_language


def asked(language: str = "py", text: str = 'def double(x):\n    """Double x."""\n') -> Question:
    return Question(
        task="t", task_id="t/0", language=language, function="double", text=text, begins_function=True, timeout_s=None
    )


def sources(texts: list[str], language: str = "py", chat: bool = False, most: int = 20) -> list[str]:
    return [test.source for test in read_tests(asked(language), texts, most, chat)]


def test_a_question_has_no_field_for_the_tests(benchmark: Path) -> None:
    problem = load_problems(Task(name="humaneval"), benchmark)[0][0]
    made = question(problem)
    assert "suffix" not in {field.name for field in fields(Question)}
    assert not any("check(candidate)" in str(getattr(made, field.name)) for field in fields(Question))
    assert (made.function, made.begins_function) == ("double_0", True)


def test_mbpp_names_its_function_in_the_test_that_it_shows_which_is_not_the_models(benchmark: Path) -> None:
    problem = load_problems(Task(name="mbpp", limit=1), benchmark)[0][0]
    made = question(problem)
    assert (made.function, made.begins_function) == ("add_11", False)
    assert ask_for_tests(made, chat=False).prompt.endswith('"""\n# check the correctness of add_11\nassert')
    texts = [" add_11( 1 )==12\nassert add_11(2) == 13\n"]
    assert [test.source for test in read_tests(made, texts, 20, False)] == ["assert add_11(2) == 13"]
    with pytest.raises(UsageError, match="three-shot shows the tests that it is scored by"):
        question(load_problems(Task(name="mbpp", prompt_style="three-shot"), benchmark)[0][0])


def test_the_first_five_assertions_of_each_text_count_the_commonest_first() -> None:
    many = "".join(f" double({i}) == {2 * i}\nassert" for i in range(9))
    assert sources([many]) == [f"assert double({i}) == {2 * i}" for i in range(5)]
    texts = [" double(1) == 2\n", " double(3) == 6\nassert double(1)==2, 'because'\n", " double(1) == 2"]
    found = read_tests(asked(), texts, 1, False)
    assert [(test.source, test.written, test.calls) for test in found] == [("assert double(1) == 2", 3, ("double(1)",))]


def test_what_is_no_whole_assertion_about_the_function_is_left_out() -> None:
    assert sources([" double(1) == (2\n", " True\n", " other(1) == 2\n", " double(\n    4\n) == 8\n", ""]) == [
        "assert double(4) == 8"
    ]
    assert sources([" double(1) == 2\n    assert double(2) == 4\n  x = double(3)\n"]) == [
        "assert double(1) == 2",
        "assert double(2) == 4",
    ]


def test_a_majority_votes_on_the_prompts_examples_and_the_inputs_of_the_tests() -> None:
    text = 'def double(x):\n    """Double x.\n    >>> double(-1)\n    -2\n    >>> other(1)\n    """\n'
    tests = read_tests(asked(text=text), [" double(1) == double(0) + 2\n", " double(-1) == -2\n"], 20, False)
    assert inputs_in(asked(text=text), tests, 20) == ["double(-1)", "double(1)", "double(0)"]
    assert inputs_in(asked(text=text), tests, 2) == ["double(-1)", "double(1)"]
    java_script = "//>>> double([1, 2])\n// [2, 4]\nfunction double(x){\n"
    assert inputs_in(asked("js", java_script), [], 20) == ["double([1, 2])"]


def test_a_chat_answers_in_a_fence() -> None:
    answer = "Here you are:\n```python\nassert double(1) == 2  # one\nassert double(0) == 0\n```\nassert nothing"
    assert sources([answer, "assert double(2) == 4"], chat=True) == [
        "assert double(1) == 2",
        "assert double(0) == 0",
        "assert double(2) == 4",
    ]
    problem = ask_for_tests(asked(), chat=True)
    assert problem.answer == "chat"
    assert problem.prompt_style == "tests+chat"
    assert "like `assert double(...) == ...`" in problem.prompt


JS = "//Double x.\nfunction double(x){\n"


def test_assertions_of_javascript_are_lines() -> None:
    assert ask_for_tests(asked("js", JS), chat=False).prompt.endswith(
        "function double(x){\n}\n\nconst assert = require('node:assert');\n\n// check the correctness of double\n"
        "assert.deepEqual(double("
    )
    texts = [
        "1), 2);\nassert.deepEqual(double(\"(a\"), '(a(a'); // text\nconsole.assert(double(2) === 4)\n"
        "assert.equal(double(3),\n6);\nassert.deepEqual(other(1), 2);\nassert(double(5) === 10) || x;\n"
    ]
    found = read_tests(asked("js"), texts, 20, False)
    assert [test.source for test in found] == [
        "assert.deepEqual(double(1), 2)",
        "assert.deepEqual(double(\"(a\"), '(a(a')",
        "assert(double(2) === 4)",
    ]
    assert [test.calls for test in found] == [("double(1)",), ('double("(a")',), ("double(2)",)]


def test_a_language_without_readable_tests_is_refused_with_what_works() -> None:
    with pytest.raises(UsageError, match=r"codet has the model write tests, .* in py, js, ts, not in java"):
        require_language("java", WRITTEN, "codet")


SOLUTIONS = {
    "py": ("def double(x):\n    return 2 * x\n", "assert double(2) == 4", "assert double(2) == 5", "4"),
    "js": (
        "const assert = 1;\nfunction double(x) {\n  return 2 * x;\n}\n",
        *("assert.deepEqual(double(2), 4)", "assert.deepEqual(double(2), 5)", "4"),
    ),
    "ts": (
        "function double(x: number): number {\n  return 2 * x;\n}\n",
        *("assert.deepEqual(double(2), 4)", "assert.deepEqual(double(2), 5)", "4"),
    ),
}


@pytest.mark.parametrize("language", ["py", "js", pytest.param("ts", marks=pytest.mark.thorough)])
def test_an_assertion_fails_a_solution_that_it_contradicts_and_a_call_shows_its_value(language: str) -> None:
    from flexlora.execution.languages import ToolchainMissing, toolchain

    try:
        toolchain(language)
    except ToolchainMissing as missing:
        pytest.skip(str(missing))
    solution, right, wrong, value = SOLUTIONS[language]
    written = WRITTEN[language]
    programs = [written.run(solution, right), written.run(solution, wrong), written.show(solution, "double(2)")]
    verdicts = sorted(
        execute([Program("t", i, language, source) for i, source in enumerate(programs)]), key=lambda v: v.sample
    )
    assert [verdict.passed for verdict in verdicts] == [True, False, True]
    assert verdicts[2].stdout.strip() == value
