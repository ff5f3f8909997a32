"""The tests of an APPS problem: `input_output`, with `inputs`, `outputs` and, where a function is called, `fn_name`."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexlora.execution import json_values
from flexlora.execution.cases import Case, Cases

IMPORTS = """\
import sys
import time
import itertools
from itertools import accumulate, product, permutations, combinations
import collections
from collections import Counter, OrderedDict, deque, defaultdict, ChainMap
from functools import lru_cache
import math
from math import sqrt, sin, cos, tan, ceil, fabs, floor, gcd, exp, log, log2
import fractions
from typing import List, Tuple
import random
import heapq
from heapq import *
if hasattr(sys, "set_int_max_str_digits"):
    sys.set_int_max_str_digits(0)


class Numpy:
    def __getattr__(self, name):
        import numpy
        return getattr(numpy, name)


np = Numpy()
del Numpy
"""
"""What APPS's own harness puts before every solution. numpy, which costs more than most programs, comes when it is
first used; newer Pythons' limit on the digits of a number would fail solutions that are right."""


class NoTests(ValueError):
    """A problem cannot be evaluated; says why."""


@dataclass(frozen=True, slots=True)
class AppsTests:
    """What is known of a problem's tests without holding them."""

    function: str | None
    """The function, or method of `Solution`, that is called; None for programs that read standard input."""
    sha256: str

    def cases(self, text: Callable[[], str], *, compat: bool) -> Cases:
        """The tests, read with `text` whenever the program runs."""
        calls = self.function is not None
        return Cases(self.sha256, functools.partial(_cases, text), calls=calls, compat=compat)


def survey(text: str) -> AppsTests:
    """Check the text of `input_output`.

    Raises:
        NoTests: it is empty, no JSON, or has no tests.
    """
    if not text.strip():
        raise NoTests("no tests")
    function, inputs, _ = _parse(text)
    if not inputs:
        raise NoTests("no tests")
    for value in inputs if function is not None else ():
        if not isinstance(value, list):
            raise NoTests("an input is no list of arguments")
    return AppsTests(function, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())


def call_of(function: str) -> str:
    """What stands after a solution: it calls the function with what standard input holds, and writes the value."""
    return f'\n__import__("builtins").exec({_harness()!r}, {{"solution": globals(), "function": {function!r}}})\n'


@functools.cache
def _harness() -> str:
    return Path(__file__).with_name("apps_call.py").read_text("utf-8")


def _parse(text: str) -> tuple[str | None, list[Any], list[Any]]:
    try:
        found = json_values.read(text)
    except ValueError as error:
        raise NoTests("damaged JSON") from error
    if found in ({}, []):
        return None, [], []
    if not isinstance(found, dict) or not all(isinstance(found.get(name), list) for name in ("inputs", "outputs")):
        raise NoTests("no lists `inputs` and `outputs`")
    inputs, outputs, function = found["inputs"], found["outputs"], found.get("fn_name")
    if len(inputs) != len(outputs):
        raise NoTests(f"{len(inputs)} inputs but {len(outputs)} outputs")
    if function is not None and not isinstance(function, str):
        raise NoTests(f"`fn_name` is {function!r}")
    return function or None, inputs, outputs


def _cases(text: Callable[[], str]) -> list[Case]:
    function, inputs, outputs = _parse(text())
    if function is not None:
        return [
            Case(input=json_values.write(value) + "\n", expected=expected)
            for value, expected in zip(inputs, outputs, strict=True)
        ]
    return [Case(input=_text(value), expected=_text(expected)) for value, expected in zip(inputs, outputs, strict=True)]


def _text(value: Any) -> str:
    """An input or output of a program: a text, or a list of its lines."""
    if isinstance(value, list):
        return "\n".join(map(_text, value))
    return value if isinstance(value, str) else json.dumps(value)
