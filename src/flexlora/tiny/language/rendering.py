"""What the renderers share: expressions with no more parentheses than needed, blocks, and how a program is laid out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from flexlora.tiny.language.ir import (
    At,
    Binary,
    Block,
    Bool,
    Call,
    Compare,
    Empty,
    Expr,
    Function,
    In,
    Letter,
    Logic,
    Neg,
    Not,
    Num,
    Stmt,
    Value,
    Var,
)

INDENT = "    "
OR, AND, NOT, COMPARISON, SUM, PRODUCT, UNARY, ATOM = range(8)
STRENGTH = {"or": OR, "and": AND, "+": SUM, "-": SUM, "*": PRODUCT, "//": PRODUCT, "%": PRODUCT}

Case = tuple[tuple[Value, ...], Value]
"""Arguments and the expected value."""


class Renderer(ABC):
    """Writes functions in one language; a completion is a body with what closes it."""

    stop_tokens: ClassVar[tuple[str, ...]]
    depth: ClassVar[int]
    """Indentation of a function's body."""
    closing: ClassVar[str]
    """What follows the body of a whole function."""
    operators: ClassVar[dict[str, str]]
    """Operators that are not written as in Python."""

    @abstractmethod
    def prompt(self, function: Function, name: str, description: str) -> str:
        """Description and signature, up to the end of the line before the body."""

    @abstractmethod
    def tests(self, function: Function, name: str, cases: Iterable[Case]) -> str:
        """MultiPL-E's `tests`: they supply what a stop token cut off the completion."""

    @abstractmethod
    def statement(self, statement: Stmt, depth: int) -> list[str]:
        """The lines of a statement."""

    @abstractmethod
    def call(self, call: Call) -> str: ...

    @abstractmethod
    def element(self, values: str, index: str) -> str: ...

    @abstractmethod
    def contains(self, letters: str, letter: str) -> str: ...

    @abstractmethod
    def empty(self, kind: str) -> str: ...

    def completion(self, function: Function) -> str:
        """The reference solution as a completion of `prompt`."""
        return "\n".join(self.block(function.body, self.depth)) + "\n" + self.closing

    def block(self, block: Block, depth: int) -> list[str]:
        return [line for statement in block for line in self.statement(statement, depth)]

    def expression(self, expr: Expr, around: int = OR) -> str:
        """`expr`, in parentheses where what stands `around` it binds more strongly."""
        text, strength = self._written(expr)
        return f"({text})" if strength < around else text

    def _written(self, expr: Expr) -> tuple[str, int]:
        match expr:
            case Num(value):
                return str(value), ATOM if value >= 0 else UNARY
            case Bool(value):
                return self.boolean(value), ATOM
            case Letter(value):
                return self.letter(value), ATOM
            case Empty(kind):
                return self.empty(kind), ATOM
            case Var(name):
                return name, ATOM
            case Neg(of):
                return f"-{self.expression(of, ATOM)}", UNARY
            case Not(of):
                return self.negation(of)
            case Binary("//", left, right):
                return self.quotient(self.expression(left, PRODUCT), self.expression(right, UNARY))
            case Binary(op, left, right) | Logic(op, left, right):
                strength = STRENGTH[op]
                one, other = self.expression(left, strength), self.expression(right, strength + 1)
                return f"{one} {self.operators.get(op, op)} {other}", strength
            case Compare(op, left, right):
                one, other = self.expression(left, SUM), self.expression(right, SUM)
                return f"{one} {self.operators.get(op, op)} {other}", COMPARISON
            case Call():
                return self.call(expr), ATOM
            case At(values, index):
                return self.element(values.name, self.expression(index)), ATOM
            case In(letter, letters):
                return self.contains(letters, self.expression(letter)), COMPARISON

    def boolean(self, value: bool) -> str:
        return "true" if value else "false"

    def letter(self, value: str) -> str:
        return f"'{value}'"

    def negation(self, of: Expr) -> tuple[str, int]:
        return f"!{self.expression(of, ATOM)}", UNARY

    def quotient(self, left: str, right: str) -> tuple[str, int]:
        return f"{left} / {right}", PRODUCT
