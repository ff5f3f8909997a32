"""The code in a model's answer: between fences or not, with prose and thoughts around it.

Rules, in order:

1. What is thought (`<think>...</think>`) is dropped; of an answer that never stops thinking nothing is left.
2. Of the fenced blocks (three or more backticks or tildes; the last may lack its end; `[PYTHON]...[/PYTHON]`, as Code
   Llama's instruct models write, counts as one) those are looked at that are tagged with the language or not at all, or
   all of them if none is.
3. The last block that defines the function asked for is taken, as models correct themselves; if none does, the longest.
4. Without a block, code begins at the first line that imports or begins a function, and ends where it stops being code.
5. If there is no such line either, the whole is taken for the rest of the function.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from flexlora.data.syntax import SYNTAX

THOUGHT = re.compile(r"\A.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
THINKING = re.compile(r"<think(?:ing)?>.*\Z", re.DOTALL | re.IGNORECASE)
OPENING = re.compile(r"(?:^|.*[\s:])(?P<marks>`{3,}|~{3,})[ \t]*(?P<tag>[\w+#.-]*)[^`\n]*$")
OPENING_LINE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[^\n]*$", re.MULTILINE)
TAGGED = re.compile(r"\[PYTHON\]\s*?\n(.*?)(?:\[/PYTHON\]|\Z)", re.DOTALL)
IMPORTS = re.compile(
    r"^(?:import[ \t]+[\w{*(\"']|from[ \t]+[\w.]+[ \t]+import\b|using[ \t]+(?:namespace[ \t]+)?[\w.= ]+;|"
    r"use[ \t]+[\w:\\]+|#[ \t]*include\b|#lang\b|package[ \t]+\w+;?$|const[ \t]+\S+[ \t]*=[ \t]*require\(|<\?php)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: the word after its opening, in lower case, and its text."""

    tag: str
    code: str


def code_of(answer: str, language: str, function: str | None) -> str:
    """The code in an answer.

    Args:
        language: code of the language.
        function: name of the function asked for; None where that is not known.
    """
    syntax = SYNTAX[language]
    text = without_thoughts(answer).replace("\r\n", "\n")
    found = list(blocks(text))
    mine = [block.code for block in found if block.tag in (*syntax.tags, "")] or [block.code for block in found]
    if function is not None:
        definition = syntax.definition(function)
        defining = [code for code in mine if definition.search(code)]
        if defining:
            return defining[-1]
        before = OPENING_LINE.split(text, maxsplit=1)[0]
        if definition.search(before):  # an answer that goes on from an opening that the prompt had
            return _unfenced(before, language, function)
    if mine:
        return max(mine, key=len)
    return _unfenced(text, language, function)


def without_thoughts(answer: str) -> str:
    """The answer after its thoughts; the opening mark may have stood in the prompt."""
    return THINKING.sub("", THOUGHT.sub("", answer))


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a text, dedented if their fence was indented."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        opening = OPENING.match(lines[at])
        at += 1
        if opening is None:
            continue
        marks, inside = opening["marks"], []
        while at < len(lines):
            line = lines[at]
            at += 1
            if line.strip() == marks[0] * len(line.strip()) and len(line.strip()) >= len(marks):
                break
            if line.rstrip().endswith(marks) and not OPENING.match(line):  # on the last line of the code
                inside.append(line.rstrip().removesuffix(marks))
                break
            inside.append(line)
        if any(line.strip() for line in inside):
            yield Block(opening["tag"].lower(), textwrap.dedent("\n".join(inside)).strip("\n") + "\n")
    yield from (Block("python", match[1].strip("\n") + "\n") for match in TAGGED.finditer(text))


def _unfenced(text: str, language: str, function: str | None) -> str:
    """From the first import or function on; an indented one is only looked for by its name, as a body may hold some."""
    syntax = SYNTAX[language]
    begins = [IMPORTS.search(text)]
    begins += [next((m for m in syntax.any_definition().finditer(text) if not m[0].startswith((" ", "\t"))), None)]
    begins += [syntax.definition(function).search(text) if function is not None else None]
    starts = [match.start() for match in begins if match is not None]
    if not starts:
        return text
    code = text[min(starts) :]
    return _while_it_parses(code) if language == "py" else code


def _while_it_parses(code: str) -> str:
    """Python without the prose after it: as many lines as can be parsed, or all where no start of it can."""
    lines = code.split("\n")
    end = len(lines)
    while end:
        candidate = "\n".join(lines[:end]) + "\n"
        try:
            ast.parse(candidate)
        except SyntaxError as error:
            end = min(end - 1, (error.lineno or end) - 1)  # no longer start can be parsed
        except (ValueError, RecursionError, MemoryError):
            end -= 1
        else:
            return candidate.rstrip() + "\n" if candidate.strip() else code
    return code
