"""Code out of answers as instruct models write them, and its place in the program."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from flexlora.data import Problem
from flexlora.data.answers import code_of, without_thoughts
from flexlora.data.prompting import prompted
from flexlora.data.syntax import SYNTAX, signature_line
from flexlora.data.tasks import load_problems
from flexlora.files import read_jsonl
from flexlora.recipe import Task

PROMPT = 'from typing import List\n\n\ndef double(x: int) -> int:\n    """Double x."""\n'
WHOLE = 'def double(x: int) -> int:\n    """Double x."""\n    return 2 * x\n'
TESTS = "\nassert double(2) == 4\n"


def chat(prompt: str = PROMPT, suffix: str = TESTS, language: str = "py", stops: tuple[str, ...] = ()) -> Problem:
    plain = Problem(
        task="t",
        task_id="t/0",
        language=language,
        prompt=prompt,
        prompt_style="verbatim",
        stop_tokens=stops,
        prefix=prompt,
        suffix=suffix,
    )
    return prompted(plain, "chat")


def passes(program: str) -> bool:
    """Whether one of this file's own Python programs does what its tests say."""
    exec(compile(ast.parse(program), "program", "exec"), {"__name__": "__main__"})
    return True


# The manners in which published instruct models answer HumanEval's questions.
ANSWERS = {
    "a fence with prose around it": f"Sure! Here is the completed function:\n\n```python\n{WHOLE}```\n\nIt multiplies.",
    "several blocks, an example last": f"```python\n{WHOLE}```\nExample usage:\n```python\nprint(double(1 / 0))\n```\n",
    "a first try that is corrected": f"```python\n{WHOLE.replace('2', '3')}```\nWait, fixed:\n```python\n{WHOLE}```",
    "a fence without a language": f"```\n{WHOLE}```",
    "an upper-case tag and Windows' line ends": f"```Python\n{WHOLE}```".replace("\n", "\r\n"),
    "a fence that is not closed": f"Here:\n```python\n{WHOLE}",
    "the closing fence on the last line of code": f"```python\n{WHOLE.rstrip()}```",
    "a fence in a list": "1. Multiply:\n\n" + textwrap.indent(f"```python\n{WHOLE}```", "   "),
    "tildes": f"~~~py\n{WHOLE}~~~",
    "the whole prompt repeated": f"```python\n{PROMPT}    return 2 * x\n```",
    "an answer that goes on from an opened fence": f"{WHOLE}```\nThis doubles the number.",
    "no fence, prose after": f"{WHOLE}\nThis function doubles x, as it's asked.",
    "no fence, prose before": f"Here's the function:\n\n{WHOLE}",
    "the body alone": "```python\n    return 2 * x\n```",
    "the body alone, dedented": "```python\nreturn 2 * x\n```",
    "a body with a function of its own": "```python\ndef twice(y):\n    return 2 * y\n\nreturn twice(x)\n```",
    "the body without a fence": "    return 2 * x\n",
    "thoughts": f"<think>\nMaybe\n```python\ndef double(x): return 0\n```\n</think>\n\n```python\n{WHOLE}```",
    "thoughts whose opening stood in the prompt": f"Try ```def double``` first.\n</think>\n```python\n{WHOLE}```",
    "Code Llama's tags": f" [PYTHON]\n{WHOLE}[/PYTHON]\n[TESTS]\nassert double(1) == 3\n[/TESTS]",
    "a class around the method": "```python\nclass Solution:\n    def double(self, x):\n        return 2 * x\n```",
    "tests of the model's own that are wrong": f"```python\n{WHOLE}\nassert double(1) == 3\nprint(double())\n```",
    "a main part": f"```python\n{WHOLE}\nif __name__ == '__main__':\n    raise SystemExit(1)\n```",
    "a fence within the docstring": f"```python\n{WHOLE.replace('Double x.', 'Double x.  ```double(1)```')}```",
    "a helper and an import": "```python\nimport math\n\ndef two():\n    return int(math.sqrt(4))\n\n\n"
    "def double(x):\n    return two() * x\n```",
    "a plan before the code": f"1. Take x.\n2. Multiply it by 2.\n\n```python\n{WHOLE}```",
    "another language's block first": f"```bash\npip install nothing\n```\n```python\n{WHOLE}```",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_the_code_in_an_answer_becomes_the_program(answer: str) -> None:
    assert passes(chat().program(answer))


def test_helpers_and_imports_of_the_prompt_are_there_whatever_the_answer_repeats() -> None:
    prompt = "import math\n\ndef root(x):\n    return math.sqrt(x)\n\ndef double(x):\n"
    program = chat(prompt).program("```python\ndef double(x):\n    return 2 * x + 0 * int(root(4))\n```")
    assert passes(program)


def test_an_answer_that_never_stops_thinking_has_no_code() -> None:
    assert without_thoughts("<think>\ndef double(x): return 2 * x") == ""
    with pytest.raises(AssertionError):
        passes(chat().program("<think>\n    return 2 * x"))


def test_a_question_in_words_is_answered_by_the_whole_block_and_nothing_is_dropped() -> None:
    code = "n = int(input())\nprint(2 * n)\nassert n < 10\n"
    assert chat(prompt="", suffix="").program(f"Read n.\n```python\n{code}```") == code


def test_the_last_block_that_defines_the_function_is_taken_else_the_longest() -> None:
    blocks = (
        "```python\nx = 1\n```\n```python\ndef f():\n    return 1\n```\n```js\nfunction f() { return 22222222 }\n```"
    )
    assert code_of(blocks, "py", "f") == "def f():\n    return 1\n"
    assert code_of(blocks, "py", None) == "def f():\n    return 1\n"
    assert code_of(blocks, "js", "f") == "function f() { return 22222222 }\n"


JAVA = "import java.util.*;\n\nclass Problem {\n    // Double x.\n    public static long twice(long x) {\n"
JAVA_TESTS = "\n    }\n    public static void main(String[] args) {\n    assert(twice(2L) == 4L);\n    }\n}\n"
OTHERS = {
    "Java, the whole class": (
        *("java", JAVA, JAVA_TESTS),
        f"```java\n{JAVA}        return 2 * x;\n    }}\n}}\n```",
        JAVA + "        return 2 * x;" + JAVA_TESTS,
    ),
    "Java, another class, an import, a helper after it, a main": (
        *("java", JAVA, JAVA_TESTS),
        "```java\nimport java.util.stream.*;\n\npublic class Solution {\n    public static long twice(long x) {\n"
        "        return two() * x;\n    }\n\n    private static long two() {\n        return 2;\n    }\n\n"
        "    public static void main(String[] args) {\n        System.out.println(twice(1));\n    }\n}\n```",
        "import java.util.stream.*;\nimport java.util.*;\n\nclass Problem {\n    // Double x.\n"
        "    private static long two() {\n        return 2;\n    }\n    public static long twice(long x) {\n"
        "        return two() * x;" + JAVA_TESTS,
    ),
    "Java, the method alone, without static": (
        *("java", JAVA, JAVA_TESTS),
        "```java\npublic long twice(long x) { return 2 * x; }\n```",
        "import java.util.*;\n\nclass Problem {\n    // Double x.\npublic static long twice(long x) { return 2 * x; "
        + JAVA_TESTS,
    ),
    "Java, the body alone": (
        *("java", JAVA, JAVA_TESTS),
        "```java\n        return 2 * x;\n    }\n}\n```",
        JAVA + "        return 2 * x;" + JAVA_TESTS,
    ),
    "JavaScript keeps its closing brace, as the tests do not begin with it": (
        *("js", "//Double x.\nfunction twice(x){\n", "\nassert.equal(twice(2), 4);\n"),
        "```javascript\nfunction twice(x) {\n  if (x) {\n    return 2 * x;\n  }\n  return 0;\n}\n\n"
        "console.log(twice(1));\n```",
        "//Double x.\nfunction twice(x) {\n  if (x) {\n    return 2 * x;\n  }\n  return 0;\n}\n"
        "\nassert.equal(twice(2), 4);\n",
    ),
    "JavaScript, an arrow function": (
        *("js", "function twice(x){\n", "\ntests();\n"),
        "```js\nconst twice = (x) => {\n  return 2 * x;\n};\n```",
        "const twice = (x) => {\n  return 2 * x;\n};\n\ntests();\n",
    ),
    "Go, imports between the package and the function": (
        *("go", 'package p_test\n\nimport (\n    "testing"\n    "fmt"\n)\n\n// Doc.\nfunc twice(x int) int {\n',
          "\nfunc TestTwice(t *testing.T) {}\n"),
        '```go\npackage main\n\nimport (\n\t"fmt"\n\t"sort"\n)\n\nfunc twice(x int) int {\n\tsort.Ints(nil)\n'
        "\treturn 2 * x\n}\n\nfunc main() {\n\tfmt.Println(twice(1))\n}\n```",
        'package p_test\nimport "sort"\n\nimport (\n    "testing"\n    "fmt"\n)\n\n// Doc.\n'
        "func twice(x int) int {\n\tsort.Ints(nil)\n\treturn 2 * x\n}\n\nfunc TestTwice(t *testing.T) {}\n",
    ),
    "Ruby": (
        *("rb", "# Doc.\ndef twice(x)\n", "\nrequire 'test/unit'\n"),
        "```ruby\ndef twice(x)\n  if x > 0\n    return 2 * x\n  end\n  0\nend\n\nputs twice(1)\n```",
        "# Doc.\ndef twice(x)\n  if x > 0\n    return 2 * x\n  end\n  0\nend\n\nrequire 'test/unit'\n",
    ),
    "Racket": (
        *("rkt", "#lang racket\n\n;; Doc.\n(define (twice x)\n", "\n(require rackunit)\n"),
        "```racket\n#lang racket\n\n(define (twice x)\n  (* 2 x))\n\n(display (twice 1))\n```",
        "#lang racket\n\n;; Doc.\n(define (twice x)\n  (* 2 x))\n\n(require rackunit)\n",
    ),
    "C++ with the brace on a line of its own": (
        *("cpp", "#include<bits/stdc++.h>\n// Doc.\nlong twice(long x) {\n", "\n}\nint main() {\n}\n"),
        "```cpp\n#include <vector>\nusing namespace std;\n\nlong twice(long x)\n{\n    return 2 * x;\n}\n\n"
        "int main()\n{\n    return 1;\n}\n```",
        "#include<bits/stdc++.h>\n// Doc.\n#include <vector>\nusing namespace std;\n\nlong twice(long x)\n{\n"
        "    return 2 * x;\n\n}\nint main() {\n}\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("language", "prompt", "tests", "answer", "program"), OTHERS.values(), ids=OTHERS.keys())
def test_functions_of_other_languages_take_their_place_before_the_tests(
    language: str, prompt: str, tests: str, answer: str, program: str
) -> None:
    made = chat(prompt, tests, language, ("\n    }\n",)).program(answer)

    def lines(text: str) -> list[str]:
        return [line.rstrip() for line in text.split("\n") if line.strip()]

    assert lines(made) == lines(program)


def published(language: str, data_dir: Path) -> Iterator[tuple[Problem, str]]:
    """Problems of a language, each with the rest of its function as a real model wrote it and its authors passed it."""
    problems = {p.task_id: p for p in load_problems(Task(name=f"multipl-e/humaneval/{language}"), data_dir)[0]}
    for _, record in read_jsonl(data_dir / f"labelled/qwen2.5-coder-1.5b-{language}.jsonl"):
        problem = problems.get(record["task_id"])
        program, _, tests = record["program"].partition(problem.suffix.strip()[:60] if problem else "\0")
        signature = problem.prefix.rstrip().split("\n")[-1] if problem else ""
        if record["passed"] and problem and tests and signature in program:
            yield problem, program[program.rfind(signature) + len(signature) :]


CLOSED_BY = {"java": ("    }\n", "}\n"), "cs": ("    }\n", "}\n"), "cpp": ("}\n", ""), "sh": ("}\n", "")}


@pytest.mark.parametrize("language", ["java", "cpp", "cs", "js", "ts", "php", "sh"])
def test_functions_that_a_real_model_wrote_are_the_same_program_as_an_answer(language: str, data_dir: Path) -> None:
    seen = 0
    for problem, rest in published(language, data_dir):
        function_end, class_end = CLOSED_BY.get(language, ("", ""))
        at = signature_line(language, problem.prefix)
        begun = problem.prefix.rstrip().split("\n")
        whole = "\n".join(begun) + rest.rstrip() + "\n" + function_end + class_end
        alone = textwrap.dedent("\n".join(begun[at:]) + rest.rstrip() + "\n" + function_end)
        expected = [line.strip() for line in ("\n".join(begun) + rest + problem.suffix).split("\n") if line.strip()]
        for code in (whole, alone):
            answer = f"Sure! Here it is:\n\n```{SYNTAX[language].tags[0]}\n{code}```\n\nIt works because of `x`."
            program = prompted(problem, "chat").program(answer)
            assert [line.strip() for line in program.split("\n") if line.strip()] == expected
        seen += 1
    assert seen > 30
