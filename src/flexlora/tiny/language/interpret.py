"""What a function of the small language computes: the tree is turned into closures, which are then called.

The expected values of all tests come from here; what the renderers write is checked against it, never the other way
round.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

from flexlora.tiny.language.ir import (
    Append,
    At,
    Binary,
    Block,
    Bool,
    Break,
    Call,
    Compare,
    Empty,
    Expr,
    ForEach,
    ForRange,
    Function,
    If,
    In,
    Let,
    Letter,
    Logic,
    Neg,
    Not,
    Num,
    Return,
    Stmt,
    Update,
    Value,
    Var,
    While,
)

LARGEST = 2**53 - 1
STEPS = 2_000

Environment: TypeAlias = dict[str, Any]
Computed: TypeAlias = Callable[[Environment], Any]
Executed: TypeAlias = Callable[[Environment], Any]
"""Returns None, or `STOPPED` after a `Break`, or a tuple with the value after a `Return`."""

STOPPED = object()


class Unfit(Exception):
    """These arguments are none for the function: a number left the range, a loop had no end, a division by zero."""


def compiled(function: Function, *, truncating: bool = False) -> Callable[[tuple[Value, ...]], Value]:
    """The function as a callable that takes its arguments as one tuple.

    Args:
        truncating: divide as C++ and Java do, towards zero: where it gives other values, languages disagree.

    Raises:
        Unfit: from the callable: the arguments are none for this function.
    """
    run = _Compiler(truncating).block(function.body)
    names = [parameter.name for parameter in function.parameters]

    def call(arguments: tuple[Value, ...]) -> Value:
        environment = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in zip(names, arguments, strict=True)
        }
        try:
            end = run(environment)
        except (IndexError, ZeroDivisionError) as error:
            raise Unfit(str(error)) from error
        if not isinstance(end, tuple):
            raise Unfit("no value was returned")
        value = end[0]
        return tuple(value) if isinstance(value, list) else value

    return call


def _within(value: int) -> int:
    if type(value) is int and not -LARGEST <= value <= LARGEST:
        raise Unfit(f"{value} is beyond 2**53")
    return value


ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
TRUNCATING = ARITHMETIC | {
    "//": lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
    "%": lambda a, b: int(math.fmod(a, b)),
}
CALLS: dict[str, Callable[..., Any]] = {"max": max, "min": min, "abs": abs, "len": len}


class _Compiler:
    def __init__(self, truncating: bool) -> None:
        self.arithmetic = TRUNCATING if truncating else ARITHMETIC

    def expression(self, expr: Expr) -> Computed:
        match expr:
            case Num(value) | Letter(value) | Bool(value):
                return lambda _: value
            case Empty(kind):
                return (lambda _: []) if kind == "list" else (lambda _: "")
            case Var(name):
                return lambda e: e[name]
            case Neg(of):
                inner = self.expression(of)
                return lambda e: -inner(e)
            case Not(of):
                inner = self.expression(of)
                return lambda e: not inner(e)
            case Binary(op, left, right):
                do, one, other = self.arithmetic[op], self.expression(left), self.expression(right)
                return lambda e: _within(do(one(e), other(e)))
            case Compare(op, left, right):
                do, one, other = self.arithmetic[op], self.expression(left), self.expression(right)
                return lambda e: do(one(e), other(e))
            case Logic(op, left, right):
                one, other = self.expression(left), self.expression(right)
                return (lambda e: one(e) and other(e)) if op == "and" else (lambda e: one(e) or other(e))
            case Call(name, arguments):
                call, parts = CALLS[name], [self.expression(argument) for argument in arguments]
                return lambda e: call(*[part(e) for part in parts])
            case At(values, index):
                where = self.expression(index)

                def element(e: Environment) -> Any:
                    if (at := where(e)) < 0:
                        raise Unfit(f"no position {at}")
                    return e[values.name][at]

                return element
            case In(letter, letters):
                inner = self.expression(letter)
                return lambda e: inner(e) in letters

    def block(self, block: Block) -> Executed:
        parts = [self.statement(statement) for statement in block]

        def run(e: Environment) -> Any:
            for part in parts:
                if (end := part(e)) is not None:
                    return end
            return None

        return parts[0] if len(parts) == 1 else run

    def statement(self, statement: Stmt) -> Executed:
        match statement:
            case Let(name, _, value) | Update(name, "=", value):
                return self._assign(name, self.expression(value))
            case Update(name, op, value):
                # Adds letters to strings as well as numbers to numbers.
                do, new = self.arithmetic[op[0]], self.expression(value)
                return self._assign(name, lambda e: _within(do(e[name], new(e))))
            case Append(name, value):
                new = self.expression(value)
                return lambda e: e[name].append(new(e))
            case If(condition, then, otherwise):
                test, one, other = self.expression(condition), self.block(then), self.block(otherwise)
                return lambda e: one(e) if test(e) else other(e)
            case ForEach(name, _, over, body):
                return self._loop(name, lambda e: e[over.name], self.block(body))
            case ForRange(name, first, last, body, inclusive, step, _):
                low, high, reach = self.expression(first), self.expression(last), step if inclusive else 0
                reach = (reach > 0) - (reach < 0)
                return self._loop(name, lambda e: range(low(e), high(e) + reach, step), self.block(body))
            case While(condition, body):
                return self._while(self.expression(condition), self.block(body))
            case Break():
                return lambda _: STOPPED
            case Return(value):
                new = self.expression(value)
                return lambda e: (new(e),)

    def _assign(self, name: str, new: Computed) -> Executed:
        def assign(e: Environment) -> None:
            e[name] = new(e)

        return assign

    def _loop(self, name: str, over: Computed, body: Executed) -> Executed:
        def loop(e: Environment) -> Any:
            values = over(e)
            if len(values) > STEPS:
                raise Unfit(f"a loop of more than {STEPS} steps")
            for value in values:
                e[name] = value
                if (end := body(e)) is not None:
                    return None if end is STOPPED else end
            return None

        return loop

    def _while(self, test: Computed, body: Executed) -> Executed:
        def loop(e: Environment) -> Any:
            for _ in range(STEPS):
                if not test(e):
                    return None
                if (end := body(e)) is not None:
                    return None if end is STOPPED else end
            raise Unfit(f"a loop of more than {STEPS} steps")

        return loop
