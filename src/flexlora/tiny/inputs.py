"""Arguments for the tests of a function, chosen around its constants so that mistakes show."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator
from typing import Any

from flexlora.tiny.language.interpret import Unfit, compiled
from flexlora.tiny.language.ir import Function, Letter, Num, Parameter, Value
from flexlora.tiny.language.rendering import Case
from flexlora.tiny.language.rewrite import children, is_node
from flexlora.tiny.mutants import fails, mutants

FIRST = 6
"""Tests that every problem has, where so many arguments are fit for it."""
MOST = 14
"""Tests of a problem."""
POOL = 300
"""Proposals that are looked through."""


def cases(function: Function, seed: str) -> tuple[Case, ...]:
    """The tests of a function: arguments and values.

    The first `FIRST` proposals; one with another value, where all of those have the same; and, for each mutant that
    passes them, the first that catches it, until there are `MOST`.

    Raises:
        ValueError: fewer than three arguments are fit for the function.
    """
    fit = _fit(function, seed)
    chosen = list(itertools.islice(fit, FIRST))
    if len(chosen) < 3:
        raise ValueError(f"{seed}: no arguments are fit for it")
    rest: list[Case] = []
    if len({expected for _, expected in chosen}) == 1:
        other = next((case for case in fit if case[1] != chosen[0][1]), None)
        chosen += [other] if other else []
    for mutant in mutants(function):
        if len(chosen) == MOST:
            break
        wrong = compiled(mutant.function)
        if not any(fails(wrong, case) for case in chosen):
            telling = next((case for case in rest if fails(wrong, case)), None)
            while telling is None and (case := next(fit, None)):
                rest.append(case)
                telling = case if fails(wrong, case) else None
            chosen += [telling] if telling else []
    return tuple(chosen)


def _fit(function: Function, seed: str) -> Iterator[Case]:
    """Different arguments that the function is defined on, with its values."""
    run = compiled(function)
    seen = set()
    for arguments in itertools.islice(proposals(function, random.Random(f"tests/{seed}")), POOL):
        if arguments not in seen:
            seen.add(arguments)
            with contextlib.suppress(Unfit):
                yield arguments, run(arguments)


def proposals(function: Function, generator: random.Random) -> Iterator[tuple[Value, ...]]:
    """Arguments that may suit, the most telling first."""
    constants, letters = _constants(function)
    streams = [_values(parameter, constants, letters, generator) for parameter in function.parameters]
    if len(streams) == 1:
        yield from ((value,) for value in streams[0])
    else:
        yield from _pairs([list(stream) for stream in streams], constants, generator)


def _pairs(streams: list[list[Value]], constants: list[int], generator: random.Random) -> Iterator[tuple[Value, ...]]:
    """Two numbers: equal, close together on both sides, far apart."""
    low = [value for value in streams[0] if isinstance(value, int)]
    yield low[0], low[0]
    for k in constants[:3]:
        for one in (k, k - 1, k + 1):
            if min(low) <= one:
                yield one, generator.choice(low)
    for gap in range(-20, 21):
        one = generator.choice(low)
        if min(low) <= one + gap:
            yield one, one + gap
    for _ in range(100):
        yield generator.randint(max(-12, min(low)), 12), generator.randint(max(-12, min(low)), 12)
    while True:
        one, other = generator.choice(low), generator.choice(low)
        yield generator.choice(((one, other), (min(one, other), max(one, other)), (one, one + 1), (one + 1, one)))


def _values(
    parameter: Parameter, constants: list[int], letters: list[str], generator: random.Random
) -> Iterator[Value]:
    if parameter.kind == "int":
        yield from _numbers(parameter, constants, generator)
    elif parameter.kind == "list":
        yield from _lists(parameter, constants, generator)
    else:
        yield from _strings(letters, generator)


def _numbers(parameter: Parameter, constants: list[int], generator: random.Random) -> Iterator[int]:
    def fit(value: int) -> bool:
        return parameter.low <= value <= parameter.high

    if parameter.high > 1000:  # of which the digits count
        yield from (0, 1234567890 % (parameter.high + 1))
        for k in constants[:3]:
            yield from (n for n in _digit_strings(k, generator) if fit(n))
        yield from range(1, 10)
        for _ in range(80):
            yield int("".join(generator.choice("0123456789") for _ in range(generator.randint(1, 6))))
        return
    yield from (value for value in (0, 1, 2) if fit(value))
    for k in constants[:3]:
        yield from (value for value in (k, k + 1, k - 1, -k, 2 * k) if fit(value))
    for _ in range(40):
        yield generator.randint(max(parameter.low, -25), min(parameter.high, 40))


def _digit_strings(k: int, generator: random.Random) -> Iterator[int]:
    """Numbers whose digits lie around k."""
    if 0 <= k <= 9:
        around = [d for d in (k - 1, k, k + 1) if 1 <= d <= 9]
        yield int("".join(map(str, around)))
        yield k
        yield int("".join(str(generator.choice(around)) for _ in range(4)))


def _lists(parameter: Parameter, constants: list[int], generator: random.Random) -> Iterator[tuple[int, ...]]:
    def kept(*values: int) -> tuple[int, ...]:
        return tuple(max(value, parameter.low) for value in values)

    def drawn(low: int, high: int, length: int) -> tuple[int, ...]:
        return kept(*(generator.randint(low, high) for _ in range(length)))

    yield ()
    for k in constants[:2]:
        yield kept(k + 1, k - 1, k)
    yield drawn(-9, 15, 6)
    for k in constants[:2]:
        yield kept(3 * k, k, 2 * k, -k)
        yield kept(k)
    yield drawn(1, 14, 4)
    yield kept(-3, -8, -2)
    yield drawn(-20, 30, 7)
    for k in constants[:3]:
        yield kept(k + 1)
        yield kept(k - 1)
        yield drawn(k + 1, k + 20, 3)
        yield drawn(k - 20, k - 1, 3)
        yield kept(*(2 * generator.randint(1, 8) for _ in range(3)))
        yield kept(*(2 * generator.randint(1, 8) - 1 for _ in range(3)))
    for value in range(parameter.low, 25):
        if value >= -20:
            yield (value,)
    for _ in range(60):
        yield drawn(-12, 20, generator.randint(1, 7))


def _strings(letters: list[str], generator: random.Random) -> Iterator[str]:
    yield ""
    around = sorted({chr(ord(letter) + step) for letter in letters for step in (-1, 0, 1)} & set(ALPHABET))
    if around:
        yield "".join(around)
        yield "".join(reversed(around)) + around[0]
        yield from letters
        yield "".join(generator.sample([letter for letter in ALPHABET if letter not in letters], 8))
    yield "banana"
    yield "aeioubcd"
    yield "xyzzy"
    for _ in range(20):
        yield "".join(generator.choice(ALPHABET) for _ in range(generator.randint(1, 9)))


ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def _constants(function: Function) -> tuple[list[int], list[str]]:
    """The numbers and letters in a function, those that are met most rarely first."""
    numbers: dict[int, None] = {}
    letters: dict[str, None] = {}

    def walk(node: Any) -> None:
        if isinstance(node, tuple):
            for child in node:
                walk(child)
        elif isinstance(node, Num):
            numbers[node.value] = None
        elif isinstance(node, Letter):
            letters[node.value] = None
        elif is_node(node):
            for child in children(node):
                walk(child)

    walk(function.body)
    plain = [number for number in numbers if number not in (-1, 0, 1, 2, 10, 100)]
    return [*plain, 5] if len(plain) < 2 else plain, list(letters)
