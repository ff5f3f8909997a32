"""Trees of the small language, changed in one place."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, TypeVar

from flexlora.tiny.language.ir import Binary, Bool, Call, Compare, Empty, Expr, In, Letter, Logic, Neg, Not, Num, Var

T = TypeVar("T")


def put(expr: Expr, name: str, value: Expr) -> Expr:
    """`expr` with `value` in the place of the variable `name`."""
    match expr:
        case Var(own):
            return value if own == name else expr
        case Num() | Bool() | Letter() | Empty():
            return expr
        case Neg(of) | Not(of):
            return type(expr)(put(of, name, value))
        case Binary(op, left, right):
            return Binary(op, put(left, name, value), put(right, name, value))
        case Compare(op, left, right):
            return Compare(op, put(left, name, value), put(right, name, value))
        case Logic(op, left, right):
            return Logic(op, put(left, name, value), put(right, name, value))
        case Call(function, arguments):
            return Call(function, tuple(put(argument, name, value) for argument in arguments))
        case In(letter, letters):
            return In(put(letter, name, value), letters)
        case _:
            raise TypeError(f"nothing can be put into {expr}")


def both(conditions: tuple[Expr, ...]) -> Expr:
    """All of the conditions."""
    return functools.reduce(lambda one, other: Logic("and", one, other), conditions)


def children(node: Any) -> list[Any]:
    """What the fields of a node hold."""
    return [getattr(node, name) for name in node.__slots__]


def is_node(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)
