"""Java, as MultiPL-E has it: a class `Problem` with static methods on `long` and `ArrayList<Long>`."""

from __future__ import annotations

from collections.abc import Iterable

from flexlora.tiny.language.braces import Braces
from flexlora.tiny.language.ir import Call, ForEach, ForRange, Function, Kind, Value
from flexlora.tiny.language.rendering import UNARY, Case

TYPES = {"int": "long", "bool": "boolean", "str": "String", "list": "ArrayList<Long>", "letter": "char"}


class Java(Braces):
    stop_tokens = ("\n    }\n",)
    depth = 2
    closing = "    }\n"

    def prompt(self, function: Function, name: str, description: str) -> str:
        parameters = ", ".join(f"{TYPES[parameter.kind]} {parameter.name}" for parameter in function.parameters)
        return (
            f"import java.util.*;\nclass Problem {{\n    // {description}\n"
            f"    public static {TYPES[function.returns]} {name}({parameters}) {{\n"
        )

    def tests(self, function: Function, name: str, cases: Iterable[Case]) -> str:
        lines = []
        for arguments, expected in cases:
            called = f"{name}({', '.join(map(literal, arguments))})"
            same = f".equals({literal(expected)})" if isinstance(expected, str | tuple) else f" == {literal(expected)}"
            lines.append(f"    assert({called}{same});\n")
        return "    }\n    public static void main(String[] args) {\n" + "".join(lines) + "    }\n\n}\n"

    def variable(self, kind: Kind) -> str:
        return TYPES[kind]

    def counter(self, loop: ForRange) -> str:
        return "int" if loop.index else "long"

    def for_each(self, loop: ForEach) -> str:
        over = loop.over.name if loop.kind == "int" else f"{loop.over.name}.toCharArray()"
        return f"{TYPES[loop.kind]} {loop.name} : {over}"

    def append(self, name: str, value: str) -> str:
        return f"{name}.add({value})"

    def call(self, call: Call) -> str:
        if call.name == "len":
            return f"{self.expression(call.arguments[0], UNARY)}.size()"
        return f"Math.{call.name}({', '.join(self.expression(argument) for argument in call.arguments)})"

    def element(self, values: str, index: str) -> str:
        return f"{values}.get({index})"

    def contains(self, letters: str, letter: str) -> str:
        return f'"{letters}".indexOf({letter}) >= 0'

    def empty(self, kind: str) -> str:
        return "new ArrayList<Long>()" if kind == "list" else '""'


def literal(value: Value) -> str:
    """A value as MultiPL-E writes it in Java."""
    if isinstance(value, bool):
        return f"({str(value).lower()})"
    if isinstance(value, str):
        return f'("{value}")'
    if isinstance(value, tuple):
        return f"(new ArrayList<Long>(Arrays.asList({', '.join(f'(long){number}l' for number in value)})))"
    return f"({value}l)"
