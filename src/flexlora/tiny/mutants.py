"""Wrong solutions: a reference with one mistake, as a model might make it. They measure what tests are worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flexlora.tiny.language.interpret import Unfit, compiled
from flexlora.tiny.language.ir import (
    Binary,
    Bool,
    Break,
    Call,
    Compare,
    ForEach,
    ForRange,
    Function,
    If,
    In,
    Letter,
    Logic,
    Neg,
    Not,
    Num,
    Return,
    Update,
    Value,
    While,
)
from flexlora.tiny.language.rendering import Case
from flexlora.tiny.language.rewrite import is_node

COMPARED = {"<": ("<=", ">"), "<=": ("<", ">="), ">": (">=", "<"), ">=": (">", "<="), "==": ("!=",), "!=": ("==",)}
COMPUTED = {"+": ("-", "*"), "-": ("+",), "*": ("+",), "//": ("*",), "%": ("//",)}
UPDATED = {"+=": ("-=", "*=", "="), "-=": ("+=",), "*=": ("+=",), "=": ()}


@dataclass(frozen=True, slots=True)
class Mutant:
    mistake: str
    """What is wrong, e.g. `constant` or `condition left out`."""
    function: Function


def mutants(function: Function) -> Iterator[Mutant]:
    """Every function that differs from this one by one mistake."""
    for mistake, body in _changed(function.body):
        if body != function.body and body:
            yield Mutant(mistake, dataclasses.replace(function, body=body))


def caught(mutant: Function, cases: Iterable[Case]) -> bool:
    """Whether some test fails on a mutant: it gives another value, or none."""
    run = compiled(mutant)
    return any(fails(run, case) for case in cases)


def fails(run: Callable[[tuple[Value, ...]], Value], case: Case) -> bool:
    """Whether a function gives another value than a test expects, or none."""
    arguments, expected = case
    try:
        return not same(run(arguments), expected)
    except (Unfit, TypeError, KeyError):
        return True


def same(one: Value, other: Value) -> bool:
    """Equality as tests have it, where True is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _changed(node: Any) -> Iterator[tuple[str, Any]]:
    """A node, or a tuple of nodes, with one mistake in it."""
    if isinstance(node, tuple):
        for index, child in enumerate(node):
            before, after = node[:index], node[index + 1 :]
            if isinstance(child, Update | Break):
                yield "statement left out", before + after
            for mistake, other in _mistaken_statement(child):
                yield mistake, (*before, *other, *after)
            for mistake, other in _changed(child):
                yield mistake, (*before, other, *after)
    elif is_node(node):
        yield from _mistaken(node)
        for name in node.__slots__:
            child = getattr(node, name)
            if isinstance(child, tuple) or is_node(child):
                for mistake, other in _changed(child):
                    yield mistake, dataclasses.replace(node, **{name: other})


def _mistaken_statement(statement: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    match statement:
        case If(_, then, otherwise):
            yield "condition left out", then
            if otherwise:
                yield "branches swapped", (dataclasses.replace(statement, then=otherwise, otherwise=then),)
        case ForEach(_, _, _, body) | While(_, body):
            yield "one pass only", (dataclasses.replace(statement, body=(*body, Break())),)
        case ForRange(_, _, _, body, inclusive, step, _):
            yield "one pass only", (dataclasses.replace(statement, body=(*body, Break())),)
            yield "other end", (dataclasses.replace(statement, inclusive=not inclusive),)
            if abs(step) > 1:
                yield "other step", (dataclasses.replace(statement, step=1),)
        case Return():
            pass


def _mistaken(node: Any) -> Iterator[tuple[str, Any]]:
    match node:
        case Num(value):
            yield "constant", Num(value + 1)
            yield "constant", Num(value - 1)
        case Letter(value):
            yield "letter", Letter(chr(ord(value) + 1))
            yield "letter", Letter(chr(ord(value) - 1))
        case Bool(value):
            yield "truth value", Bool(not value)
        case In(letter, letters):
            yield "letters", In(letter, letters[1:])
            yield "letters", In(letter, letters[:-1])
        case Neg(of) | Not(of):
            yield "negation left out", of
        case Binary(op, left, right):
            yield from (("operator", Binary(other, left, right)) for other in COMPUTED[op])  # type: ignore[arg-type]  # tables of the right words
            yield "operand left out", left
            yield "operand left out", right
        case Compare(op, left, right):
            yield from (("comparison", Compare(other, left, right)) for other in COMPARED[op])  # type: ignore[arg-type]  # tables of the right words
        case Logic(op, left, right):
            yield "operator", Logic("or" if op == "and" else "and", left, right)
            yield "condition left out", left
            yield "condition left out", right
        case Call("max" | "min" as name, arguments):
            yield "reduction", Call("min" if name == "max" else "max", arguments)
        case Call("abs", (argument,)):
            yield "call left out", argument
        case Update(name, op, value):
            yield from (("reduction", Update(name, other, value)) for other in UPDATED[op])  # type: ignore[arg-type]  # tables of the right words
        case If(condition, then, otherwise):
            yield "condition negated", If(Not(condition), then, otherwise)
