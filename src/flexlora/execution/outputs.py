"""Whether what a program wrote is what a test expects.

Texts are equal once spaces at line ends and empty lines at the end are gone, or else token by token, where numbers of
which at least one has a fraction or an exponent may differ by 1e-6 of the greater. Values of calls are compared in the
same spirit; an expected list of one element, as APPS wraps many results, also stands for that element.

`compat` adds what APPS's own harness lets through: lines of numbers that are equal to 1e-5, and the same *set of lines*
of the same *sets of tokens*, numbers rounded to three digits, so that neither order nor repetition counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from flexlora.execution import json_values
from flexlora.execution.cases import Case, Cases
from flexlora.execution.json_values import Digits

TOLERANCE = 1e-6
AROUND_ZERO = 1e-9
"""So far from zero a number still counts as zero, of which there is no share."""
COMPAT_TOLERANCE, COMPAT_AROUND_ZERO, COMPAT_DIGITS = 1e-5, 1e-8, 3
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
SHOWN = 120


def difference(cases: Cases, case: Case, stdout: str, *, compat: bool) -> str:
    """What is wrong with an output, in words; empty where it is right."""
    compat = compat or cases.compat
    if not cases.calls:
        if same_text(stdout, case.expected) or (compat and same_text_compat(stdout, case.expected)):
            return ""
        return f"wrong output: expected {_shown(case.expected)}, found {_shown(stdout)}"
    last = stdout.rstrip().rpartition("\n")[2]
    try:
        found = json_values.read(last)
    except ValueError:
        return f"no value returned: the last line is {_shown(last)}"
    if same_value(found, case.expected, compat=compat):
        return ""
    return f"wrong value: expected {_shown(json_values.write(case.expected))}, found {_shown(last)}"


def same_text(found: str, expected: str) -> bool:
    """Whether two texts are equal but for space and the last digits of numbers."""
    if _stripped(found) == _stripped(expected):
        return True
    ours, theirs = found.split(), expected.split()
    return len(ours) == len(theirs) and all(map(_same_token, ours, theirs))


def same_text_compat(found: str, expected: str) -> bool:
    """Whether APPS's own harness lets an output pass that is not the same text."""
    ours, theirs = ([line.strip() for line in text.splitlines() if line.strip()] for text in (found, expected))
    if ours == theirs:
        return True
    numbers = [_numbers(lines) for lines in (ours, theirs)]
    if numbers[0] is not None and numbers[1] is not None and len(ours) == len(theirs):
        close = zip(numbers[0], numbers[1], strict=True)
        if all(math.isclose(a, b, rel_tol=COMPAT_TOLERANCE, abs_tol=COMPAT_AROUND_ZERO) for a, b in close):
            return True
    sets = [{frozenset(line.split()) for line in lines} for lines in (ours, theirs)]
    return sets[0] == sets[1] or _rounded(sets[0]) == _rounded(sets[1]) is not None


def same_value(found: Any, expected: Any, *, compat: bool = False) -> bool:
    """Whether a call's value is the expected one, both as `json_values.read` gives them."""
    if _same(found, expected):
        return True
    wraps = isinstance(expected, list) and (len(expected) == 1 or (compat and len(expected) > 1))
    return wraps and _same(found, expected[0])


def _same(found: Any, expected: Any) -> bool:
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(_same, found, expected))
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_same(found[key], expected[key]) for key in expected)
    if isinstance(found, Digits) or isinstance(expected, Digits):
        return type(found) is type(expected) and str(found) == str(expected)
    if isinstance(found, float) or isinstance(expected, float):
        try:
            return math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=AROUND_ZERO)
        except (TypeError, OverflowError):  # no number, or a whole one that is too great
            return False
    return bool(found == expected)


def _same_token(found: str, expected: str) -> bool:
    if found == expected:
        return True
    if not (NUMBER.fullmatch(found) and NUMBER.fullmatch(expected)):
        return False
    if WHOLE.fullmatch(found) and WHOLE.fullmatch(expected):
        return False  # whole numbers are equal or not, however great
    return math.isclose(float(found), float(expected), rel_tol=TOLERANCE, abs_tol=AROUND_ZERO)


def _stripped(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _numbers(lines: Sequence[str]) -> list[float] | None:
    return [float(line) for line in lines] if all(map(NUMBER.fullmatch, lines)) else None


def _rounded(lines: set[frozenset[str]]) -> set[frozenset[float]] | None:
    """The sets with numbers rounded; None where a token is none."""
    if not all(NUMBER.fullmatch(token) for line in lines for token in line):
        return None
    return {frozenset(round(float(token), COMPAT_DIGITS) for token in line) for line in lines}


def _shown(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
