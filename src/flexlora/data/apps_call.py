"""Runs inside the sandbox, after a solution: calls its function and writes the value. The package does not import it.

`solution` and `function` are given: the solution's global names, and the function or method of `Solution` to call. The
arguments are a JSON list on standard input. What the solution prints goes to standard error from here on, so that the
last line of standard output is the value, as JSON; nothing here knows what is expected.
"""

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    solution: dict[str, object] = {}
    function = ""


def as_json(value):  # type: ignore[no-untyped-def]  # its source becomes part of programs, which need no typing
    """What JSON has no word for: numpy's values are those that they stand for, of anything else its kind is written."""
    return value.tolist() if hasattr(value, "tolist") else {"no JSON value": type(value).__name__}


def call() -> None:
    """Read the arguments, call, write the value."""
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    sys.stdout.flush()
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    arguments = json.loads(sys.stdin.read())
    if arguments and isinstance(arguments[0], dict) and all(key.lstrip("-").isdigit() for key in arguments[0]):
        arguments[0] = {int(key): value for key, value in arguments[0].items()}  # JSON's keys are texts
    owner = solution.get("Solution")
    found = getattr(owner(), function, None) if callable(owner) else None
    found = found or solution.get(function)
    if not callable(found):
        raise SystemExit(f"the program has no function {function!r}")
    value = found(*arguments)
    answer.write("\n" + json.dumps(value, default=as_json) + "\n")
    answer.close()


call()
