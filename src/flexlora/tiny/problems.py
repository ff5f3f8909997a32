"""Generated problems in Python and Java: "Return the sum of the squares of the numbers above 7 in values."

Each problem loops over a list or over 1 to n, keeps the numbers that meet a condition, maps them, and adds them to a
total or takes them away. Set `a` is made of known words; in set `b` exactly one word (a condition or a map) is new: no
document that the model is built from holds it. Prompts, stop tokens and tests follow MultiPL-E, so that everything else
treats this as one more such benchmark. Sets and splits are disjoint by problem and the same everywhere: they depend on
nothing but this file.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flexlora.data.types import Example, Problem
from flexlora.errors import UsageError

LANGUAGES = ("py", "java")
SETS = ("a", "b")
SPLITS = ("train", "validation", "test")
HELD_OUT = 60  # problems in each of validation and test


@dataclass(frozen=True, slots=True)
class Part:
    """A word of the description, its code (the same in both languages), and what it computes."""

    words: str
    code: str
    value: Callable[[int], int]
    constant: int = 5
    """The number in it, around which tests look for mistakes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One problem; everything else about it follows."""

    source: str
    reduce: str
    condition: Part
    map: Part

    def __str__(self) -> str:
        return " ".join((self.source, self.reduce, self.condition.words, self.map.words))


MAPS = (
    Part("", "v", lambda v: v),
    Part("squares", "v * v", lambda v: v * v),
    Part("doubles", "v * 2", lambda v: v * 2),
    Part("negatives", "-v", lambda v: -v),
)
NEW_MAPS = (
    Part("cubes", "v * v * v", lambda v: v**3),
    Part("triples", "v * 3", lambda v: v * 3),
    Part("successors", "v + 1", lambda v: v + 1),
    Part("predecessors", "v - 1", lambda v: v - 1),
)
CONSTANTS = range(2, 10)
CONDITIONS = (
    Part("even", "v % 2 == 0", lambda v: v % 2 == 0),
    Part("odd", "v % 2 != 0", lambda v: v % 2 != 0),
    *(Part(f"above {k}", f"v > {k}", lambda v, k=k: v > k, k) for k in CONSTANTS),  # type: ignore[misc]
    *(Part(f"below {k}", f"v < {k}", lambda v, k=k: v < k, k) for k in CONSTANTS),  # type: ignore[misc]
    *(Part(f"divisible by {k}", f"v % {k} == 0", lambda v, k=k: v % k == 0, k) for k in CONSTANTS),  # type: ignore[misc]
)
NEW_CONDITIONS = (
    *(Part(f"equal to {k}", f"v == {k}", lambda v, k=k: v == k, k) for k in CONSTANTS),  # type: ignore[misc]
    *(Part(f"other than {k}", f"v != {k}", lambda v, k=k: v != k, k) for k in CONSTANTS),  # type: ignore[misc]
    *(Part(f"at least {k}", f"v >= {k}", lambda v, k=k: v >= k, k) for k in CONSTANTS),  # type: ignore[misc]
)


def problems(set_name: str, language: str, split: str = "test") -> list[Problem]:
    """The problems of a set and split in a language, as MultiPL-E would have them.

    Raises:
        UsageError: there is no such set, language or split.
    """
    _check(set_name, language, split)
    return [
        Problem(
            task=f"tiny/{set_name}/{language}",
            task_id=_task_id(set_name, key),
            language=language,
            prompt=prompt(key, language),
            prompt_style="verbatim",
            stop_tokens=("\ndef", "\nclass", "\nassert", "\n#") if language == "py" else ("\n    }\n",),
            prefix=prompt(key, language),
            suffix=tests(key, language),
        )
        for key in keys(set_name, split)
    ]


def examples(set_name: str, language: str, split: str = "train") -> list[Example]:
    """Training pairs of a set and split: the prompt of a problem, and its reference body.

    Raises:
        UsageError: there is no such set, language or split.
    """
    _check(set_name, language, split)
    return [
        Example(
            source=f"tiny/{set_name}/{language}",
            key=_task_id(set_name, key),
            prompt=prompt(key, language),
            completion=body(key, language),
        )
        for key in keys(set_name, split)
    ]


def keys(set_name: str, split: str) -> list[Key]:
    """The problems of one split."""
    mixed = _mixed(set_name)
    if split == "train":
        return mixed[2 * HELD_OUT :]
    return mixed[:HELD_OUT] if split == "test" else mixed[HELD_OUT : 2 * HELD_OUT]


def prompt(key: Key, language: str, name: str | None = None) -> str:
    """What the model is shown: description and signature, up to the line's end before the body."""
    name = name or function_name(str(key))
    if language == "py":
        return f'def {name}({_argument(key)}):\n    """{describe(key)}"""\n'
    kind = "ArrayList<Long>" if key.source == "list" else "long"
    return (
        "import java.util.*;\nclass Problem {\n"
        f"    // {describe(key)}\n    public static long {name}({kind} {_argument(key)}) {{\n"
    )


def body(key: Key, language: str) -> str:
    """The reference solution's body, as a completion of `prompt`; in Java up to the method's closing brace."""
    operator = "+=" if key.reduce == "sum" else "-="
    if language == "py":
        loop = "for v in values:" if key.source == "list" else "for v in range(1, n + 1):"
        return (
            f"    total = 0\n    {loop}\n        if {key.condition.code}:\n"
            f"            total {operator} {key.map.code}\n    return total\n"
        )
    loop = "for (long v : values) {" if key.source == "list" else "for (long v = 1; v <= n; v++) {"
    return (
        f"        long total = 0;\n        {loop}\n            if ({key.condition.code}) {{\n"
        f"                total {operator} {key.map.code};\n            }}\n        }}\n        return total;\n    }}\n"
    )


def tests(key: Key, language: str) -> str:
    """What follows the completion in a program: assertions, and in Java the brace that the stop token cut."""
    name = function_name(str(key))
    k = key.condition.constant
    cases: tuple[tuple[int, ...] | int, ...] = (0, 1, k - 1, k, k + 1, 3 * k + 1, 20)
    if key.source == "list":
        cases = ((), (k,), (k - 1, k, k + 1), (-3, -k, 2 * k, 7 * k, 100), tuple(range(11)))
    if language == "py":
        return "\n" + "".join(f"assert {name}({_python(case)}) == {solve(key, case)}\n" for case in cases)
    lines = "".join(f"    assert({name}({_java(case)}) == ({solve(key, case)}l));\n" for case in cases)
    return "\n    }\n    public static void main(String[] args) {\n" + lines + "    }\n}\n"


def solve(key: Key, argument: tuple[int, ...] | int) -> int:
    """The answer, computed without any of the code above."""
    numbers: Iterable[int] = argument if isinstance(argument, tuple) else range(1, argument + 1)
    total = sum(key.map.value(v) for v in numbers if key.condition.value(v))
    return total if key.reduce == "sum" else -total


def describe(key: Key) -> str:
    """The description in English."""
    where = "in values" if key.source == "list" else "from 1 to n"
    of = f"the {key.map.words} of the" if key.map.words else "the"
    if " " in key.condition.words:
        return f"Return the {key.reduce} of {of} numbers {key.condition.words} {where}."
    return f"Return the {key.reduce} of {of} {key.condition.words} numbers {where}."


def function_name(seed: str) -> str:
    """A made-up name that says nothing about the problem."""
    generator = random.Random(f"name/{seed}")
    return "".join(generator.choice("bdfgklmnprstvz") + generator.choice("aeiou") for _ in range(3))


@functools.cache
def _mixed(set_name: str) -> list[Key]:
    known = [(condition, part) for condition in CONDITIONS for part in MAPS]
    new = [(condition, part) for condition in CONDITIONS for part in NEW_MAPS]
    new += [(condition, part) for condition in NEW_CONDITIONS for part in MAPS]
    made = [
        Key(source=source, reduce=reduce, condition=condition, map=part)
        for condition, part in (known if set_name == "a" else new)
        for source in ("list", "range")
        for reduce in ("sum", "negative sum")
    ]
    random.Random(f"tiny/{set_name}").shuffle(made)
    return made


def _task_id(set_name: str, key: Key) -> str:
    return f"tiny/{set_name}/{str(key).strip().replace(' ', '-')}"


def _argument(key: Key) -> str:
    return "values" if key.source == "list" else "n"


def _python(case: tuple[int, ...] | int) -> str:
    return str(list(case)) if isinstance(case, tuple) else str(case)


def _java(case: tuple[int, ...] | int) -> str:
    if isinstance(case, tuple):
        return f"(new ArrayList<Long>(Arrays.asList({', '.join(f'(long){v}l' for v in case)})))"
    return f"({case}l)"


def _check(set_name: str, language: str, split: str) -> None:
    for what, value, known in (("set", set_name, SETS), ("language", language, LANGUAGES), ("split", split, SPLITS)):
        if value not in known:
            raise UsageError(f"tiny: no {what} {value!r}; there are {', '.join(known)}.")
