"""C++, as MultiPL-E has it: a function on `long`, `std::vector<long>` and `std::string`."""

from __future__ import annotations

from collections.abc import Iterable

from flexlora.tiny.language.braces import Braces
from flexlora.tiny.language.ir import Call, ForEach, Function, Kind, Num, Value
from flexlora.tiny.language.rendering import UNARY, Case

TYPES = {"int": "long", "bool": "bool", "str": "std::string", "list": "std::vector<long>", "letter": "char"}


class Cpp(Braces):
    stop_tokens = ("\n}",)
    depth = 1
    closing = "}\n"

    def prompt(self, function: Function, name: str, description: str) -> str:
        parameters = ", ".join(f"{TYPES[parameter.kind]} {parameter.name}" for parameter in function.parameters)
        return (
            f"#include<assert.h>\n#include<bits/stdc++.h>\n// {description}\n"
            f"{TYPES[function.returns]} {name}({parameters}) {{\n"
        )

    def tests(self, function: Function, name: str, cases: Iterable[Case]) -> str:
        lines = "".join(
            f"    assert(candidate({', '.join(map(literal, arguments))}) == {literal(expected)});\n"
            for arguments, expected in cases
        )
        return f"}}\nint main() {{\n    auto candidate = {name};\n{lines}}}\n"

    def variable(self, kind: Kind) -> str:
        return TYPES[kind]

    def for_each(self, loop: ForEach) -> str:
        return f"{TYPES[loop.kind]} {loop.name} : {loop.over.name}"

    def append(self, name: str, value: str) -> str:
        return f"{name}.push_back({value})"

    def call(self, call: Call) -> str:
        if call.name == "len":
            return f"{self.expression(call.arguments[0], UNARY)}.size()"
        # std::max wants both of one type.
        parts = [f"{a.value}L" if isinstance(a, Num) else self.expression(a) for a in call.arguments]
        return f"std::{call.name}({', '.join(parts)})"

    def element(self, values: str, index: str) -> str:
        return f"{values}[{index}]"

    def contains(self, letters: str, letter: str) -> str:
        return f'std::string("{letters}").find({letter}) != std::string::npos'

    def empty(self, kind: str) -> str:
        return "{}" if kind == "list" else '""'


def literal(value: Value) -> str:
    """A value as MultiPL-E writes it in C++."""
    if isinstance(value, bool):
        return f"({str(value).lower()})"
    if isinstance(value, str):
        return f'("{value}")'
    if isinstance(value, tuple):
        inside = f"{{{', '.join(f'(long){number}' for number in value)}}}" if value else ""
        return f"(std::vector<long>({inside}))"
    return f"({value})"
