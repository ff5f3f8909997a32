"""Records of CodeSearchNet in both of its layouts, written here."""

from __future__ import annotations

from typing import Any


def record(code: str, documentation: str, number: int = 0, split: str = "test", **more: Any) -> dict[str, Any]:
    """A function in the layout of the original files."""
    return {
        "repo": "me/tools",
        "path": f"src/{number}.x",
        "func_name": "twice",
        "original_string": code,
        "language": "x",
        "code": code,
        "code_tokens": code.split(),
        "docstring": documentation,
        "docstring_tokens": documentation.split(),
        "sha": "0" * 40,
        "url": f"https://example.org/me/tools/{number}",
        "partition": split,
        **more,
    }


def on_the_hub(original: dict[str, Any]) -> dict[str, Any]:
    """The same function as the hub has it."""
    names = {
        "repo": "repository_name",
        "path": "func_path_in_repository",
        "func_name": "func_name",
        "original_string": "whole_func_string",
        "language": "language",
        "code": "func_code_string",
        "code_tokens": "func_code_tokens",
        "docstring": "func_documentation_string",
        "docstring_tokens": "func_documentation_tokens",
        "partition": "split_name",
        "url": "func_code_url",
    }
    return {name: original[field] for field, name in names.items()}
