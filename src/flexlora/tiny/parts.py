"""What a generated problem is put together from: parts, each with its words and its code."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from flexlora.tiny.language.ir import Block, Expr, Function, Parameter, Var

New: TypeAlias = Literal["", "B2", "B3"]

V = Var("v")
"""The number that a condition or a map is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a description: templates that say the same, each with `{}` where the pieces before it stand."""

    op: str
    constant: int | str | None = None
    words: tuple[str, ...]
    novel: str = ""
    """Another template, which only set B1 uses."""
    new: New = ""
    """The set that this code belongs to, if it is not of the known ones."""
    natural: bool = False
    """Whether its code is defined on numbers from 0 on only."""

    @property
    def name(self) -> str:
        return self.op if self.constant is None else f"{self.op}-{self.constant}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition(Part):
    """Which numbers (or letters) are meant; `code` asks it of `v`."""

    code: Expr
    adjective: bool = False

    def asked(self, question: str) -> Part:
        """The end of a question, such as `whether any of {} is` with this condition."""
        said = tuple(f"{question} {words}" for words in self.words)
        novel = f"{question} {self.novel}" if self.novel else ""
        return Part(op=f"is-{self.op}", constant=self.constant, words=said, novel=novel, new=self.new)

    def named(self) -> Part:
        """The condition as part of a noun phrase."""
        form = "{} {{}}" if self.adjective else "{{}} {}"
        said = tuple(form.format(words) for words in self.words)
        novel = form.format(self.novel) if self.novel else ""
        return Part(op=self.op, constant=self.constant, words=said, novel=novel, new=self.new, natural=self.natural)


@dataclass(frozen=True, slots=True, kw_only=True)
class Map(Part):
    """What is taken of each number; `code` computes it from `v`."""

    code: Expr
    prefix: bool = False
    """Whether its words stand before what they are about."""
    falling: bool = False
    """Whether larger numbers give smaller ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Part):
    """Where the numbers come from: parameters and a loop around what is done with each."""

    parameters: tuple[Parameter, ...]
    element: Expr
    loop: Callable[[Block], Block]
    positive: bool = True
    """Whether all its numbers are from 0 on."""
    limit: int = 12
    """The largest constant that makes sense with its numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduce(Part):
    """What becomes of the numbers; `update` works on `v`."""

    start: Block
    update: Callable[[Expr], Block]
    result: Expr
    returns: Literal["int", "list", "str"] = "int"


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A problem: its parts, innermost first, and what it computes."""

    family: str
    parts: tuple[Part, ...]
    function: Function

    @property
    def key(self) -> str:
        """What the problem is called; no two have the same."""
        return "/".join((self.family, *(part.name for part in self.parts if part.op)))

    @property
    def skeleton(self) -> str:
        """The combination of operations, whatever the constants."""
        return "/".join((self.family, *(part.op for part in self.parts if part.op)))

    @property
    def new(self) -> tuple[New, ...]:
        """The sets of its new parts."""
        return tuple(part.new for part in self.parts if part.new)

    def describe(self, generator: random.Random, *, novel: bool = False) -> str:
        """One of its descriptions.

        Args:
            novel: use set B1's word for one of the parts that have one.
        """
        at = generator.choice(self.with_novel_words()) if novel else -1
        text = ""
        for index, part in enumerate(self.parts):
            template = part.novel if index == at else generator.choice(part.words)
            text = template.format(text)
        return text

    def descriptions(self, *, novel: bool = False) -> Iterator[str]:
        """All of its descriptions."""
        for at in self.with_novel_words() if novel else (-1,):
            words = [(part.novel,) if index == at else part.words for index, part in enumerate(self.parts)]
            for templates in itertools.product(*words):
                text = ""
                for template in templates:
                    text = template.format(text)
                yield text

    def with_novel_words(self) -> list[int]:
        """The positions of the parts that set B1 has another word for."""
        return [index for index, part in enumerate(self.parts) if part.novel]


ASK = Part(op="", words=("Return {}.", "Compute {}.", "Find {}.", "Give {}."))
"""Around every description."""
