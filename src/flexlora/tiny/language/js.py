"""JavaScript, as MultiPL-E has it: a function, and tests with `node:assert`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from flexlora.tiny.language.braces import Braces
from flexlora.tiny.language.ir import Call, ForEach, Function, Kind
from flexlora.tiny.language.py import literal as python_literal
from flexlora.tiny.language.rendering import ATOM, UNARY, Case


class JavaScript(Braces):
    stop_tokens = ("\nfunction ", "\n/*", "\n//", "\nconsole.log")
    depth = 1
    closing = "}\n"
    operators: ClassVar[dict[str, str]] = {"and": "&&", "or": "||", "==": "===", "!=": "!=="}

    def prompt(self, function: Function, name: str, description: str) -> str:
        parameters = ", ".join(parameter.name for parameter in function.parameters)
        return f"//{description}\nfunction {name}({parameters}){{\n"

    def tests(self, function: Function, name: str, cases: Iterable[Case]) -> str:
        lines = "".join(
            f"  assert.deepEqual(candidate({', '.join(map(literal, arguments))}),{literal(expected)});\n"
            for arguments, expected in cases
        )
        return (
            "const assert = require('node:assert');\n\n\n"
            f"function test() {{\n  let candidate = {name};\n{lines}}}\n\ntest();"
        )

    def variable(self, kind: Kind) -> str:
        return "let"

    def for_each(self, loop: ForEach) -> str:
        return f"let {loop.name} of {loop.over.name}"

    def append(self, name: str, value: str) -> str:
        return f"{name}.push({value})"

    def call(self, call: Call) -> str:
        if call.name == "len":
            return f"{self.expression(call.arguments[0], UNARY)}.length"
        return f"Math.{call.name}({', '.join(self.expression(argument) for argument in call.arguments)})"

    def element(self, values: str, index: str) -> str:
        return f"{values}[{index}]"

    def contains(self, letters: str, letter: str) -> str:
        return f'"{letters}".includes({letter})'

    def empty(self, kind: str) -> str:
        return "[]" if kind == "list" else '""'

    def letter(self, value: str) -> str:
        return f'"{value}"'

    def quotient(self, left: str, right: str) -> tuple[str, int]:
        return f"Math.floor({left} / {right})", ATOM


def literal(value: object) -> str:
    """A value as JavaScript writes it."""
    return str(value).lower() if isinstance(value, bool) else python_literal(value)  # type: ignore[arg-type]  # no tuple here
