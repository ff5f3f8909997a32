"""A program passes only if it was seen to come to its end, in the languages that can tell."""

from __future__ import annotations

import pytest

from flexlora.execution import Mode, run_program
from flexlora.execution.languages import LANGUAGES

UNITTEST = """
import unittest
class Test(unittest.TestCase):
    def test(self): self.assertEqual(1 + 1, {result})
if __name__ == "__main__":
    unittest.main()
"""
ENDS = {
    "the last statement": ("py", "assert 1 + 1 == 2", True),
    "sys.exit as the last statement": ("py", "import sys\nassert 1 == 1\nsys.exit(0)", True),
    "exit without a code": ("py", "assert 1 == 1\nraise SystemExit", True),
    "the exit of a test framework": ("py", UNITTEST.format(result=2), True),
    "a failed test of a framework": ("py", UNITTEST.format(result=3), False),
    "an exit in the main guard": ("py", "import sys\nif __name__ == '__main__':\n    sys.exit(0)", True),
    "an exit over several lines": ("py", "import sys\nsys.exit(\n    0\n)", True),
    "an exit before the last statement": ("py", "import sys\nsys.exit(0)\nassert 1 == 1", False),
    "an exit in a branch": ("py", "import sys\nif True:\n    sys.exit(0)\nassert 1 == 1", False),
    "an exit in a function that is called last": ("py", "def f():\n    raise SystemExit(0)\nf()", False),
    "an exit in a function given to the library": ("py", "list(map(lambda x: exit(0), [1]))", False),
    "a thread that goes on": (
        "py",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(0.1,)).start()",
        True,
    ),
    "a fork that comes to the end": ("py", "import os\nif os.fork(): os._exit(0)", False),
    "a fork that waits for its child": ("py", "import os\nif os.fork() == 0: os._exit(3)\nos.wait()", True),
    "a closed pipe": ("py", "import os\nos.closerange(3, 100)", False),
    "work that node waits for": ("js", "setTimeout(() => console.log('late'), 50);", True),
    "node's exit": ("js", "process.exit(0);", False),
    "node's exit code": ("js", "process.exitCode = 1;", False),
    "a rejected promise": ("js", "Promise.reject(new Error('x'));", False),
    "Java's exit": ("java", "class Problem { public static void main(String[] a) { System.exit(0); } }", False),
    "Java's threads": (
        "java",
        "class Problem { public static void main(String[] a) { new Thread(() -> {}).start(); } }",
        True,
    ),
    "classes with the names of Java's own": (
        "java",
        "class Class { int size; }\nclass Method { }\n"
        "class Problem { public static void main(String[] a) { assert new Class().size == 0; } }",
        True,
    ),
    "assert with more of its own": (
        "js",
        "const a = require('assert');\na.near = (x, y) => a(Math.abs(x - y) < 1);\na.near(1, 1.5);",
        True,
    ),
    "a rejection that is handled": ("js", "Promise.reject(1).catch(() => {});", True),
    "an exception that is caught": ("js", "try { throw 1; } catch { }", True),
    "work begun before the exit": ("js", "process.once('beforeExit', () => setTimeout(() => {}, 1));", True),
    "an inherited main": (
        "java",
        "class Base { public static void main(String[] a) { } }\nclass Problem extends Base { }",
        True,
    ),
    "a class that fails to load": (
        "java",
        "class Problem { static int x = 1 / 0; public static void main(String[] a) { } }",
        False,
    ),
    "no main": ("java", "class Problem { void main() { } }", False),
}


@pytest.mark.parametrize("mode", [Mode.WARM, Mode.COLD])
@pytest.mark.parametrize("name", ENDS)
def test_only_who_comes_to_the_end_passes(name: str, mode: Mode) -> None:
    language, source, passes = ENDS[name]
    verdict = run_program(language, source, mode=mode)
    assert verdict.status == ("OK" if passes else "Exception"), verdict
    assert ("left before its end" in verdict.stderr) is (verdict.exit_code == 0 and not passes)


@pytest.mark.parametrize("mode", list(Mode))
def test_the_rule_of_the_public_harness_believes_the_exit_code(mode: Mode) -> None:
    assert run_program("py", "import sys\nsys.exit(0)\nassert 1 == 2", mode=mode, compat=True).passed
    assert not run_program("py", "import sys\nsys.exit(1)", mode=mode, compat=True).passed


def test_these_languages_can_tell() -> None:
    assert {code for code, language in LANGUAGES.items() if language.proves_end} == {"py", "java", "js", "ts"}


def test_what_java_says_of_a_failure_is_what_it_always_said() -> None:
    verdict = run_program("java", "class Problem { public static void main(String[] a) { assert 1 == 2 : 7; } }")
    assert verdict.stderr.startswith('Exception in thread "main" java.lang.AssertionError: 7\n\tat Problem.main(')
