"""Python, as MultiPL-E has it: HumanEval's form, with tests in a function `check`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from flexlora.tiny.language.ir import (
    Append,
    Binary,
    Break,
    Call,
    Expr,
    ForEach,
    ForRange,
    Function,
    If,
    Let,
    Num,
    Return,
    Stmt,
    Update,
    Value,
    While,
)
from flexlora.tiny.language.rendering import COMPARISON, INDENT, NOT, PRODUCT, Case, Renderer


class Python(Renderer):
    stop_tokens = ("\ndef", "\n#", "\nif", "\nclass")
    depth = 1
    closing = ""
    operators: ClassVar[dict[str, str]] = {}

    def prompt(self, function: Function, name: str, description: str) -> str:
        parameters = ", ".join(parameter.name for parameter in function.parameters)
        return f'def {name}({parameters}):\n    """{description}"""\n'

    def tests(self, function: Function, name: str, cases: Iterable[Case]) -> str:
        lines = "".join(
            f"    assert candidate({', '.join(map(literal, arguments))}) == {literal(expected)}\n"
            for arguments, expected in cases
        )
        return f"def check(candidate):\n{lines}\ndef test_check():\n    check({name})\n\ntest_check()\n"

    def statement(self, statement: Stmt, depth: int) -> list[str]:
        pad = INDENT * depth
        match statement:
            case Let(name, _, value):
                return [f"{pad}{name} = {self.expression(value)}"]
            case Update(name, op, value):
                return [f"{pad}{name} {op} {self.expression(value)}"]
            case Append(name, value):
                return [f"{pad}{name}.append({self.expression(value)})"]
            case If(condition, then, otherwise):
                lines = [f"{pad}if {self.expression(condition)}:", *self.block(then, depth + 1)]
                return [*lines, f"{pad}else:", *self.block(otherwise, depth + 1)] if otherwise else lines
            case ForEach(name, _, over, body):
                return [f"{pad}for {name} in {over.name}:", *self.block(body, depth + 1)]
            case ForRange(name, _, _, body, _, _, _):
                return [f"{pad}for {name} in range({self._range(statement)}):", *self.block(body, depth + 1)]
            case While(condition, body):
                return [f"{pad}while {self.expression(condition)}:", *self.block(body, depth + 1)]
            case Break():
                return [f"{pad}break"]
            case Return(value):
                return [f"{pad}return {self.expression(value)}"]

    def _range(self, loop: ForRange) -> str:
        first, stop = self.expression(loop.first), self.expression(_stop(loop))
        if loop.step != 1:
            return f"{first}, {stop}, {loop.step}"
        return stop if loop.first == Num(0) else f"{first}, {stop}"

    def call(self, call: Call) -> str:
        return f"{call.name}({', '.join(self.expression(argument) for argument in call.arguments)})"

    def element(self, values: str, index: str) -> str:
        return f"{values}[{index}]"

    def contains(self, letters: str, letter: str) -> str:
        return f'{letter} in "{letters}"'

    def empty(self, kind: str) -> str:
        return "[]" if kind == "list" else '""'

    def boolean(self, value: bool) -> str:
        return str(value)

    def letter(self, value: str) -> str:
        return f'"{value}"'

    def negation(self, of: Expr) -> tuple[str, int]:
        return f"not {self.expression(of, COMPARISON)}", NOT

    def quotient(self, left: str, right: str) -> tuple[str, int]:
        return f"{left} // {right}", PRODUCT


def literal(value: Value) -> str:
    """A value as Python writes it."""
    if isinstance(value, str):
        return f'"{value}"'
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _stop(loop: ForRange) -> Expr:
    """Where Python's range ends: one step beyond an inclusive end."""
    if not loop.inclusive:
        return loop.last
    beyond = 1 if loop.step > 0 else -1
    if isinstance(loop.last, Num):
        return Num(loop.last.value + beyond)
    return Binary("+" if beyond > 0 else "-", loop.last, Num(1))
