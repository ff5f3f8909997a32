"""From the code in an answer to the program without its tests: the function in the place that the prompt has for it.

The benchmarks' tests expect the program to begin as their prompt does, and in some languages to be closed by the tests.
An answer may hold the whole function, with imports and helpers, inside a class of its own or not, or the rest of the
function alone.

- Python: what the prompt has before the function (imports, helpers), then the answer, without the statements at its
  top level that try it out (`assert`, `print(...)`, `if __name__ == "__main__"`). A method gets the function's name.
- Other languages: what the prompt has before the function, the answer's further imports and helper functions, then
  the function; its last line is left out where the tests begin with it.
- A rest of the function follows the prompt, indented to fit.
"""

from __future__ import annotations

import ast
import re
import textwrap

from flexlora.data.syntax import SYNTAX, Syntax, function_to_write, indentation, signature_line

INDENT = 4
GO_IMPORT = re.compile(r'^import\s+(?:\([^)]*\)|(?:[\w.]+\s+)?"[^"]+")', re.MULTILINE)
GO_PATH = re.compile(r'(?:(?!import\b)[\w.]+[ \t]+)?"[^"]+"')
"""With the name that it is given, if any; the word `import` itself is no such name."""


def solution(prefix: str, suffix: str, language: str, code: str) -> str | None:
    """The program without its tests; None where the code is taken for the rest of the function.

    Args:
        prefix: what the program holds before a completion.
        suffix: the tests, of which only the first line is looked at: whether it closes the function.
    """
    name = function_to_write(language, prefix)
    if name is None:  # the prompt asks in words
        return f"{prefix}{code}"
    begins = SYNTAX[language].definition(name).search(code)
    if language == "py":
        return _python(prefix, code, name, begins is not None)
    if begins is None:
        return None
    return _with_function(prefix, suffix, language, code, code.count("\n", 0, begins.start()))


def body(prefix: str, language: str, code: str) -> str:
    """The rest of a function, indented as its place in the prompt needs; only Python needs anything."""
    if language != "py":
        return code
    lines = [line for line in code.split("\n") if line.strip()]
    if not lines or indentation(lines[0]):
        return code
    return textwrap.indent(code, " " * body_indentation(prefix, language))


def body_indentation(prefix: str, language: str) -> int:
    """Columns at which the function that a text ends in is to be written; 0 where it ends in none."""
    at = signature_line(language, prefix)
    return 0 if at is None else indentation(prefix.split("\n")[at]) + INDENT


def _python(prefix: str, code: str, name: str, defines: bool) -> str | None:
    if not defines:
        return f"{prefix}\n{code}" if re.search(r"^(?:def|class) ", code, re.MULTILINE) and not _returns(code) else None
    at = signature_line("py", prefix) or 0
    head = "".join(line + "\n" for line in prefix.split("\n")[:at])
    try:
        statements = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return head + code
    lines = code.split("\n")
    for statement in reversed(statements):
        if _tries_out(statement):
            del lines[statement.lineno - 1 : statement.end_lineno]
    kept = "\n".join(lines).rstrip() + "\n"
    classes = [one for one in statements if isinstance(one, ast.ClassDef)]
    methods = {(one.name, part.name) for one in classes for part in one.body if isinstance(part, ast.FunctionDef)}
    if not any(isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name == name for one in statements):
        kept += "".join(f"\n{name} = {owner}().{name}\n" for owner, method in sorted(methods) if method == name)
    return head + kept


def _returns(code: str) -> bool:
    """Whether there is a `return` outside functions, as in the rest of one."""
    try:
        waiting: list[ast.AST] = list(ast.parse(code).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Return):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr):
            waiting += ast.iter_child_nodes(node)
    return False


def _tries_out(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assert):
        return True
    if isinstance(statement, ast.If):
        return "__name__" in ast.unparse(statement.test)
    called = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(called, ast.Call) and ast.unparse(called.func) in ("print", "doctest.testmod", "unittest.main")


def _with_function(prefix: str, suffix: str, language: str, code: str, start: int) -> str:
    syntax = SYNTAX[language]
    lines = code.split("\n")
    end = _end_of_function(lines, start, syntax)
    given = prefix.split("\n")
    at = signature_line(language, prefix) or 0
    head, signature = given[:at], given[at]
    known = {line.strip() for line in head if line.strip()}
    top, before = _hoisted(_without_containers(lines, start), head, syntax, language)
    before = [line for line in before if line.strip() not in known and not re.match(r"\s*package\b", line)]
    helpers = _helpers(lines, end, indentation(lines[start]), syntax)
    function = lines[start:end]
    if re.search(r"\bstatic\b", signature) and not re.search(r"\bstatic\b", function[0]):
        function[0] = re.sub(r"^(\s*(?:(?:public|private|protected)\s+)?)", r"\1static ", function[0], count=1)
    if syntax.closer and suffix.lstrip().startswith(syntax.closer):
        function = _without_closer(function, syntax)
    first = 1 if language == "go" else 0  # the package comes before the imports
    return "\n".join([*head[:first], *top, *head[first:], *before, *helpers, *function]).rstrip() + "\n"


def _end_of_function(lines: list[str], start: int, syntax: Syntax) -> int:
    """Index after the last line of a function, by its indentation."""
    edge = indentation(lines[start])
    if syntax.closer == "}" and "{" in lines[start] and lines[start].count("{") == lines[start].count("}"):
        return start + 1
    for at in range(start + 1, len(lines)):
        line = lines[at]
        if not line.strip() or indentation(line) > edge:
            continue
        text = line.strip()
        if syntax.closer:
            if text.startswith(syntax.closer) and not text.endswith("{"):
                return at + 1
        elif not text.startswith(")"):
            return at
    return len(lines)


def _without_closer(function: list[str], syntax: Syntax) -> list[str]:
    """The function without its last line, or, where it is one line, without its closing brace."""
    if len(function) == 1:
        return [function[0].rstrip().removesuffix(syntax.closer)]
    return function[:-1] if function[-1].strip().startswith(syntax.closer) else function


def _without_containers(lines: list[str], start: int) -> list[str]:
    """The lines before a function, less those that open a class or the like around it."""
    edge, opened = indentation(lines[start]), set()
    for at in range(start - 1, -1, -1):
        line = lines[at]
        if line.strip() and indentation(line) < edge and line.rstrip().endswith(("{", ":")):
            opened |= {at, at - 1} if line.strip() == "{" else {at}
            edge = indentation(line)
    return [line for at, line in enumerate(lines[:start]) if at not in opened]


def _hoisted(lines: list[str], head: list[str], syntax: Syntax, language: str) -> tuple[list[str], list[str]]:
    """The imports that must stand at the top of the file and that `head` has not, and the other lines."""
    if language == "go":
        text, known = "\n".join(lines), "\n".join(head)
        paths = [path for group in GO_IMPORT.findall(text) for path in GO_PATH.findall(group) if path not in known]
        return [f"import {path}" for path in dict.fromkeys(paths)], GO_IMPORT.sub("", text).split("\n")
    if not syntax.top:
        return [], lines
    top = [line for line in lines if re.match(rf"\s*{syntax.top}", line)]
    known_lines = {line.strip() for line in head}
    return [line.strip() for line in top if line.strip() not in known_lines], [x for x in lines if x not in top]


def _helpers(lines: list[str], start: int, edge: int, syntax: Syntax) -> list[str]:
    """Functions that stand beside the one asked for and after it, without a `main`."""
    definition = syntax.any_definition()
    kept: list[str] = []
    at = start
    while at < len(lines):
        found = definition.match(lines[at])
        if found is None or indentation(lines[at]) != edge:
            at += 1
            continue
        end = _end_of_function(lines, at, syntax)
        if next(name for name in found.groups() if name).lower() != "main":
            kept += lines[at:end]
        at = end
    return kept
