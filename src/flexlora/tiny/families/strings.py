"""Loops over the letters of a string."""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

from flexlora.tiny.language.ir import (
    Binary,
    Block,
    Bool,
    Compare,
    Empty,
    Expr,
    ForEach,
    Function,
    If,
    In,
    Let,
    Letter,
    Not,
    Num,
    Parameter,
    Return,
    Update,
    Var,
)
from flexlora.tiny.language.rewrite import both
from flexlora.tiny.parts import ASK, Part, Puzzle
from flexlora.tiny.parts import Condition as NumberCondition

C, RESULT, TEXT = Var("c"), Var("result"), Var("text")
PARAMETER = Parameter("text", "str")
LETTERS = Part(op="", words=("letters",))
IN_TEXT = Part(op="", words=("the {} in text", "the {} of text"))


class Condition(NumberCondition):
    """Which letters are meant; `code` asks it of `c`."""


def _compare(op: Literal["==", "!=", "<", "<=", ">", ">="], letter: str) -> Expr:
    return Compare(op, C, Letter(letter))


VOWELS = In(C, "aeiou")
CONDITIONS: tuple[Condition, ...] = (
    Condition(op="vowel", words=("that are vowels",), novel="that are open", code=VOWELS),
    Condition(op="consonant", words=("that are not vowels",), novel="that are closed", code=Not(VOWELS)),
    *(
        condition
        for k in string.ascii_lowercase[1:-1]
        for condition in (
            Condition(op="is", constant=k, words=(f"that are {k}",), code=_compare("==", k)),
            Condition(op="is-not", constant=k, words=(f"that are not {k}",), code=_compare("!=", k)),
            Condition(
                op="after",
                constant=k,
                words=(f"after {k}", f"that come after {k}"),
                novel=f"later than {k}",
                code=_compare(">", k),
            ),
            Condition(
                op="before",
                constant=k,
                words=(f"before {k}", f"that come before {k}"),
                novel=f"earlier than {k}",
                code=_compare("<", k),
            ),
        )
    ),
)
NEW_CONDITIONS: tuple[Condition, ...] = tuple(
    condition
    for k in string.ascii_lowercase[1:-1]
    for condition in (
        Condition(op="from", constant=k, words=(f"from {k} on",), new="B2", code=_compare(">=", k)),
        Condition(op="up-to", constant=k, words=(f"up to {k}",), new="B2", code=_compare("<=", k)),
    )
)

ADD: Block = (Update("result", "+=", C),)
START: Block = (Let("result", "str", Empty("str")),)


def _replaced(letter: str) -> Part:
    return Part(
        op="replace",
        constant=letter,
        words=(f"text with {{}} replaced by {letter}", f"text with {{}} turned into {letter}"),
        novel=f"text with {{}} swapped for {letter}",
    )


WHOLE = {
    "count": Part(op="count", words=("the number of {}", "the count of {}"), novel="the headcount of {}"),
    "join": Part(op="join", words=("{}, joined", "{}, put together"), novel="{}, glued"),
    "reverse": Part(op="reverse", words=("{}, joined in reverse",), novel="{}, joined hindmost first"),
    "twice": Part(
        op="twice", words=("text with {} doubled", "text with {} written twice"), novel="text with {} twinned"
    ),
    "any": Part(op="any", words=("whether text has any of {}",)),
    "none": Part(op="none", words=("whether text has none of {}",)),
}


def known() -> Iterator[Callable[[], Puzzle]]:
    yield from _made(CONDITIONS)


def new() -> Iterator[Callable[[], Puzzle]]:
    yield from _made(NEW_CONDITIONS)


def _made(conditions: Sequence[Condition]) -> Iterator[Callable[[], Puzzle]]:
    chosen: list[tuple[Condition, ...]] = [(condition,) for condition in conditions]
    chosen += [
        (one, other)
        for one, other in itertools.product(conditions, conditions)
        if one.op == "after" and other.op == "before" and str(one.constant) < chr(ord(str(other.constant)) - 3)
    ]
    for tests in chosen:
        for whole in WHOLE.values():
            yield partial(_puzzle, tests, whole)
        for letter in string.ascii_lowercase:
            if len(tests) == 1 and tests[0].constant != letter:
                yield partial(_puzzle, tests, _replaced(letter))


def _puzzle(tests: tuple[Condition, ...], whole: Part) -> Puzzle:
    named = [condition.named() for condition in tests]
    if len(named) == 2:
        words = (f"{{}} after {tests[0].constant} and before {tests[1].constant}",)
        named = [Part(op="inside", constant=f"{tests[0].constant}-{tests[1].constant}", words=words)]
    source = Part(op="", words=("the {}",)) if "text" in whole.words[0] else IN_TEXT
    function = _function(whole, both(tuple(test.code for test in tests)))
    return Puzzle("string", (LETTERS, *named, source, whole, ASK), function)


def _function(whole: Part, test: Expr) -> Function:
    def over(*inner: If | Update) -> ForEach:
        return ForEach("c", "letter", TEXT, inner)

    match whole.op:
        case "count":
            block: Block = (
                Let("total", "int", Num(0)),
                over(If(test, (Update("total", "+=", Num(1)),))),
                Return(Var("total")),
            )
            return Function((PARAMETER,), "int", block)
        case "any" | "none":
            found = whole.op == "any"
            block = (over(If(test, (Return(Bool(found)),))), Return(Bool(not found)))
            return Function((PARAMETER,), "bool", block)
        case "join":
            loop = over(If(test, ADD))
        case "reverse":
            loop = over(If(test, (Update("result", "=", Binary("+", C, RESULT)),)))
        case "twice":
            loop = over(If(test, ADD), *ADD)  # type: ignore[arg-type]  # ADD is a tuple of statements
        case _:
            loop = over(If(test, (Update("result", "+=", Letter(str(whole.constant))),), ADD))
    return Function((PARAMETER,), "str", (*START, loop, Return(RESULT)))
