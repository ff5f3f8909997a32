"""The languages that programs can be run in: one file each, collected here."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from flexlora.errors import UsageError
from flexlora.execution.languages.language import Language, Toolchain, ToolchainMissing, warm_folder

__all__ = ["LANGUAGES", "Language", "Toolchain", "ToolchainMissing", "get_language", "toolchain", "warm_folder"]


def _collect() -> dict[str, Language]:
    """`LANGUAGE` of every file beside this one, by its code, in the order of the file names."""
    files = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "language")
    languages: list[Language] = [import_module(f"{__name__}.{file}").LANGUAGE for file in files]
    return {language.code: language for language in languages}


LANGUAGES = _collect()


def get_language(code: str) -> Language:
    """The language with this code.

    Raises:
        UsageError: there is none; names those that there are.
    """
    if code not in LANGUAGES:
        raise UsageError(f"Unknown language {code!r}. Known: {', '.join(LANGUAGES)}.")
    return LANGUAGES[code]


@cache
def toolchain(code: str) -> Toolchain:
    """The installed toolchain of a language, looked up once in a process.

    Raises:
        ToolchainMissing: it is not installed.
    """
    return get_language(code).probe()
