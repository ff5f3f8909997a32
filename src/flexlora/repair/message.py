"""What a model is shown of its program that failed, and what it is not.

With `errors`, the default, the benchmark's tests are not shown:

- Timeouts, memory and output limits: that they were met.
- Python: the type and message of the exception, and of its traceback the lines of the model's own code; of an
  assertion of the tests only that one failed. The message of an exception may hold a value that a test passed in
  (`KeyError: 'x'`).
- A program that does not compile: what the compiler says, without lines that quote the tests.
- Java, C#, JavaScript, TypeScript, PHP: the type and message of an exception that is no assertion.
- Other languages: that the program fails when it is run. What their test libraries print holds the values expected.

With `all` the program's whole output is shown, and with it the tests that the second answer is scored by: that measures
debugging with the tests at hand, and is not to be compared with anything else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LONGEST = 1500
"""Characters of what is shown."""
SHORTEST_LINE = 4
"""Characters; shorter lines of the tests (`}`) are not looked for."""
NAMED_EXCEPTIONS = frozenset(("java", "cs", "js", "ts", "php"))
EXCEPTION = re.compile(
    r'^(?:Exception in thread "[^"]*" |(?:PHP )?Fatal error: +Uncaught )?[\w.]*(?:Error|Exception)\b[^\n]*',
    re.MULTILINE,
)
FRAME = re.compile(r'^  File "(?P<file>[^"\n]*)", line (?P<line>\d+)')
WRONG = "A test fails: the result is wrong."
LIMITS = {
    "Timeout": "It did not end within the time limit.",
    "OutOfMemory": "It ran out of memory.",
    "OutputLimit": "It wrote more output than is allowed.",
}


def what_went_wrong(result: Mapping[str, Any], language: str, solution: str, tests: str, show: str) -> str:
    """The message for one result of a program that failed.

    Args:
        result: its line of `results.jsonl`.
        solution: the program without its tests; its lines are the model's to see.
        tests: what followed it.
        show: `errors` or `all`.
    """
    status, stderr = str(result["status"]), str(result["stderr"])
    if (cases := result.get("tests")) and not result["exit_code"] and status not in LIMITS and not stderr.strip():
        return WRONG if show == "errors" else _cut(f"It fails: {cases['reason']}")
    output = stderr if stderr.strip() else str(result["stdout"])
    if show == "all":
        return _cut(f"{LIMITS.get(status, 'It fails:')}\n{output}".strip())
    if status in LIMITS:
        return LIMITS[status]
    if language == "py":
        return _cut(_of_python(stderr, solution.count("\n") + 1, tests))
    if status == "SyntaxError":
        return _cut(f"It does not compile:\n{without_tests(output, tests)}".strip())
    found = EXCEPTION.search(stderr) if language in NAMED_EXCEPTIONS else None
    if found is None or "assert" in found[0].lower():
        return WRONG if found else "It fails when it is run against the tests."
    return _cut(f"It fails when it is run: {without_tests(found[0], tests).strip()}")


def without_tests(text: str, tests: str) -> str:
    """The lines of a text that quote no line of the tests."""
    secret = {line.strip() for line in tests.split("\n") if len(line.strip()) >= SHORTEST_LINE}
    return "\n".join(line for line in text.split("\n") if not any(one in line for one in secret))


def _of_python(stderr: str, own_lines: int, tests: str) -> str:
    """The last exception, with those lines of its traceback that are the model's own."""
    lines = stderr.rstrip().split("\n")
    starts = [at for at, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    lines = lines[starts[-1] + 1 :] if starts else lines
    frames = [at for at, line in enumerate(lines) if FRAME.match(line)]
    if not frames:
        return "It fails when it is run against the tests."
    error = next((at for at in range(frames[-1] + 1, len(lines)) if lines[at] and lines[at][0] != " "), len(lines))
    shown, in_tests, source = ["It fails:"], False, ""
    for at, end in zip(frames, [*frames[1:], error], strict=True):
        number = _line_of_program(lines[at])
        if number is None:
            continue  # of a library
        in_tests, source = number > own_lines, "".join(lines[at + 1 : at + 2]).strip()
        if not in_tests:
            shown.append(re.sub(r'^  File "[^"]*", ', "  ", lines[at]))
            shown += [line for line in lines[at + 1 : end] if line.strip(" ^~")]
    # What a test says of its own accord holds what it expects.
    if in_tests and ("".join(lines[error:]).startswith("AssertionError") or source.startswith(("assert", "raise"))):
        return WRONG
    return without_tests("\n".join([*shown, *lines[error:]]), tests).strip()


def _line_of_program(frame: str) -> int | None:
    found = FRAME.match(frame)
    return int(found["line"]) if found and found["file"].rsplit("/", 1)[-1] == "program.py" else None


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}\n[...]\n{text[-LONGEST // 2 :]}"
