"""Solutions in a form that is equal for equal ones: Python without its names, other code without its white space."""

from __future__ import annotations

import ast
import warnings


def forms(prompt: str, completion: str) -> list[str]:
    """The forms of a solution: of each function that the completion holds or ends, or of its text."""
    for source in (completion, prompt + completion):
        functions = _functions(source)
        if functions:
            return [_form(function) for function in functions]
    text = " ".join(completion.split())
    return [text] if text else []


def _functions(source: str) -> list[ast.FunctionDef]:
    """The functions of a module of Python; none where it is not."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in strings
            module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [node for node in module.body if isinstance(node, ast.FunctionDef)]


def _form(function: ast.FunctionDef) -> str:
    bound = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    bound |= {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.name for node in ast.walk(function) if isinstance(node, ast.FunctionDef)}
    return ast.unparse(_Renamed(bound).visit(function))


class _Renamed(ast.NodeTransformer):
    """Gives the names that a function binds numbers in the order of their first use; drops notes for readers."""

    def __init__(self, bound: set[str]) -> None:
        self._bound = bound
        self._names: dict[str, str] = {}

    def _name(self, name: str) -> str:
        return self._names.setdefault(name, f"v{len(self._names)}") if name in self._bound else name

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        first = node.body[0]
        if len(node.body) > 1 and isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            node.body = node.body[1:]
        node.name, node.returns = self._name(node.name), None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return self.generic_visit(node)
        return self.generic_visit(ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node))

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg, node.annotation = self._name(node.arg), None
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._name(node.id)
        return node
