"""EvalPlus's rules for right answers (its v0.3.1), run inside the sandbox at the end of a program; see `evalplus.py`.

The text of this file is part of every program of `humaneval+` and `mbpp+`. So it needs the standard library only: where
the programs run there need not be a numpy.
"""

from __future__ import annotations

import copy
import importlib.util
import math
import pickle
import signal
import sys
import time
import types
from collections.abc import Callable
from typing import Any

LEAST_S, FACTOR = 1.0, 4.0
"""Each input may take as long as this, or so many times as long as the reference, in processor time."""

AS_SETS = (
    *("similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly"),
    *("larg_nnum", "intersection_array", "find_dissimilar", "Diff"),
)
"""Functions of MBPP whose answers are in no order."""
IF_ANY = ("check_str", "text_match_three", "text_starta_endb")
"""Functions of MBPP that answer with something or with None."""


def run(
    candidate: Callable[..., Any], reference_source: str, entry_point: str, pickled: bytes, atol: float, dataset: str
) -> None:
    """Fail unless the candidate answers as the reference does on all inputs.

    Args:
        candidate: the function of the program.
        reference_source: a program that defines the same function.
        pickled: the inputs, a list of lists of arguments.
        atol: absolute tolerance; with 0, floats still get 1e-6.
        dataset: `humaneval` or `mbpp`.
    """
    names: dict[str, Any] = {"__name__": "reference"}
    exec(reference_source, names)
    signal.signal(signal.SIGPROF, _out_of_time)
    for given in pickle.loads(pickled):
        started = time.process_time()
        expected = names[entry_point](*copy.deepcopy(given))
        limit = max(LEAST_S, FACTOR * (time.process_time() - started))
        signal.setitimer(signal.ITIMER_PROF, limit)
        try:
            answer = candidate(*given)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        if not agree(given, answer, expected, atol, entry_point, dataset):
            shown = f"arguments {given!r:.200}, answer {answer!r:.200}, expected {expected!r:.200}"
            raise AssertionError(shown)


def agree(given: list[Any], answer: Any, expected: Any, atol: float, entry_point: str, dataset: str) -> bool:
    """Whether an answer counts as the expected one."""
    if dataset == "humaneval" and entry_point == "find_zero":
        return bool(abs(sum(factor * math.pow(answer, power) for power, factor in enumerate(given[0]))) <= atol)
    exact = bool(answer == expected)
    if dataset == "mbpp":
        if entry_point == "are_equivalent":
            exact = True
        elif entry_point == "sum_div":
            exact = exact or answer == 0
        elif entry_point == "surface_Area":
            exact = exact or abs(answer - _surface_of_pyramid(*given)) <= atol
        elif entry_point == "digit_distance_nums":
            exact = exact or answer == _distance_of_digits(*given)
        elif entry_point in AS_SETS:
            exact = set(answer) == set(expected)
        elif entry_point in IF_ANY:
            exact = (answer if isinstance(answer, bool) else answer is not None) == (expected is not None)
    if atol == 0 and _floats(expected):
        atol = 1e-6
    if exact or atol == 0:
        return exact
    return type(answer) is type(expected) and close(answer, expected, atol)


def close(answer: Any, expected: Any, atol: float, equal_nan: bool = False) -> bool:
    """numpy's `allclose` with a relative tolerance of 1e-7, on numbers and lists of them; else False."""
    if isinstance(answer, (list, tuple)) and isinstance(expected, (list, tuple)):
        pairs = zip(answer, expected, strict=False)
        return len(answer) == len(expected) and all(close(a, e, atol, equal_nan) for a, e in pairs)
    if not all(isinstance(value, (int, float, complex)) for value in (answer, expected)):
        return False
    if equal_nan and answer != answer and expected != expected:
        return True
    if answer == expected or math.inf in (abs(answer), abs(expected)):
        return bool(answer == expected)
    return bool(abs(answer - expected) <= atol + 1e-7 * abs(expected))


def stand_in_for_numpy() -> None:
    """Where there is no numpy, put a module in its place that has what the hub's tests use of it."""
    if importlib.util.find_spec("numpy") is None:
        package: Any = types.ModuleType("numpy")
        package.ndarray = type("ndarray", (), {})
        package.float32, package.float64 = "float32", "float64"
        package.testing = types.ModuleType("numpy.testing")
        package.testing.assert_allclose = _assert_allclose
        sys.modules |= {"numpy": package, "numpy.testing": package.testing}


def _assert_allclose(answer: Any, expected: Any, rtol: float = 1e-7, atol: float = 0) -> None:
    assert rtol == 1e-7
    assert close(answer, expected, atol, equal_nan=True), f"{answer!r} is not close to {expected!r}"[:500]


def _floats(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(isinstance(item, float) for item in value)
    return isinstance(value, float)


def _surface_of_pyramid(base: float, height: float) -> int:
    """The other way to read MBPP/581: `height` is the pyramid's own, not that of its sides."""
    return round(base**2 + 2 * base * math.sqrt((base / 2) ** 2 + height**2))


def _distance_of_digits(one: int, other: int) -> int:
    """The other way to read MBPP/558: digit by digit."""
    width = max(len(str(one)), len(str(other)))
    pairs = zip(str(one).zfill(width), str(other).zfill(width), strict=True)
    return sum(abs(int(a) - int(b)) for a, b in pairs)


def _out_of_time(*_: Any) -> None:
    raise TimeoutError("an input took more than four times as long as the reference, and more than a second")
