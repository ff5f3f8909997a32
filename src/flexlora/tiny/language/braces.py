"""What Java, JavaScript and C++ write alike."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from flexlora.tiny.language.ir import (
    Append,
    Break,
    ForEach,
    ForRange,
    If,
    Kind,
    Let,
    Return,
    Stmt,
    Update,
    While,
)
from flexlora.tiny.language.rendering import INDENT, Renderer


class Braces(Renderer):
    """Statements end in a semicolon, blocks stand in braces."""

    operators: ClassVar[dict[str, str]] = {"and": "&&", "or": "||"}

    @abstractmethod
    def variable(self, kind: Kind) -> str:
        """What declares a variable of a kind."""

    @abstractmethod
    def append(self, name: str, value: str) -> str: ...

    @abstractmethod
    def for_each(self, loop: ForEach) -> str:
        """What stands in the parentheses of a loop over a list or a string."""

    def counter(self, loop: ForRange) -> str:
        """What declares the variable of a counting loop."""
        return self.variable("int")

    def statement(self, statement: Stmt, depth: int) -> list[str]:
        pad = INDENT * depth
        match statement:
            case Let(name, kind, value):
                return [f"{pad}{self.variable(kind)} {name} = {self.expression(value)};"]
            case Update(name, op, value):
                return [f"{pad}{name} {op} {self.expression(value)};"]
            case Append(name, value):
                return [f"{pad}{self.append(name, self.expression(value))};"]
            case If(condition, then, otherwise):
                lines = [f"{pad}if ({self.expression(condition)}) {{", *self.block(then, depth + 1)]
                if otherwise:
                    lines += [f"{pad}}} else {{", *self.block(otherwise, depth + 1)]
                return [*lines, f"{pad}}}"]
            case ForEach(_, _, _, body):
                return [f"{pad}for ({self.for_each(statement)}) {{", *self.block(body, depth + 1), f"{pad}}}"]
            case ForRange(_, _, _, body, _, _, _):
                return [f"{pad}for ({self._counting(statement)}) {{", *self.block(body, depth + 1), f"{pad}}}"]
            case While(condition, body):
                return [f"{pad}while ({self.expression(condition)}) {{", *self.block(body, depth + 1), f"{pad}}}"]
            case Break():
                return [f"{pad}break;"]
            case Return(value):
                return [f"{pad}return {self.expression(value)};"]

    def _counting(self, loop: ForRange) -> str:
        compare = ("<" if loop.step > 0 else ">") + ("=" if loop.inclusive else "")
        step = {1: "++", -1: "--"}.get(loop.step, f" += {loop.step}" if loop.step > 0 else f" -= {-loop.step}")
        first, last = self.expression(loop.first), self.expression(loop.last)
        return f"{self.counter(loop)} {loop.name} = {first}; {loop.name} {compare} {last}; {loop.name}{step}"
