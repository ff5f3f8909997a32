"""The tree of a function over integers, lists of integers and strings; the same for every language.

Integers are exact and stay within 2**53, so that Java's `long`, C++'s `long` and JavaScript's numbers agree. `//` and
`%` are Python's; a function that uses them otherwise than to ask whether a number is divisible takes no negative
numbers (`Parameter.low`), since there Java, C++ and JavaScript differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["int", "bool", "str", "list", "letter"]
Value: TypeAlias = int | bool | str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Num:
    value: int


@dataclass(frozen=True, slots=True)
class Bool:
    value: bool


@dataclass(frozen=True, slots=True)
class Letter:
    """One lower-case letter."""

    value: str


@dataclass(frozen=True, slots=True)
class Empty:
    """A new empty list or string."""

    kind: Literal["list", "str"]


@dataclass(frozen=True, slots=True)
class Var:
    name: str


@dataclass(frozen=True, slots=True)
class Neg:
    of: Expr


@dataclass(frozen=True, slots=True)
class Not:
    of: Expr


@dataclass(frozen=True, slots=True)
class Binary:
    op: Literal["+", "-", "*", "//", "%"]
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Compare:
    op: Literal["==", "!=", "<", "<=", ">", ">="]
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Logic:
    op: Literal["and", "or"]
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Call:
    name: Literal["max", "min", "abs", "len"]
    arguments: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class At:
    """An element of a list, from 0."""

    values: Var
    index: Expr


@dataclass(frozen=True, slots=True)
class In:
    """Whether a letter is one of some."""

    letter: Expr
    letters: str


Expr: TypeAlias = Num | Bool | Letter | Empty | Var | Neg | Not | Binary | Compare | Logic | Call | At | In


@dataclass(frozen=True, slots=True)
class Let:
    """A new local variable."""

    name: str
    kind: Kind
    value: Expr


@dataclass(frozen=True, slots=True)
class Update:
    """An assignment to a variable that is there; `+=` also adds letters to a string."""

    name: str
    op: Literal["=", "+=", "-=", "*="]
    value: Expr


@dataclass(frozen=True, slots=True)
class Append:
    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class If:
    condition: Expr
    then: Block
    otherwise: Block = ()


@dataclass(frozen=True, slots=True)
class ForEach:
    """Over the numbers of a list or the letters of a string."""

    name: str
    kind: Literal["int", "letter"]
    over: Var
    body: Block


@dataclass(frozen=True, slots=True)
class ForRange:
    """From `first` by `step` to `last`, with it where `inclusive`."""

    name: str
    first: Expr
    last: Expr
    body: Block
    inclusive: bool = True
    step: int = 1
    index: bool = False
    """Whether it counts positions, for which Java wants an `int`."""


@dataclass(frozen=True, slots=True)
class While:
    condition: Expr
    body: Block


@dataclass(frozen=True, slots=True)
class Break:
    pass


@dataclass(frozen=True, slots=True)
class Return:
    value: Expr


Stmt: TypeAlias = Let | Update | Append | If | ForEach | ForRange | While | Break | Return
Block: TypeAlias = tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter and the numbers it (or its elements) may be; strings hold lower-case letters."""

    name: str
    kind: Literal["int", "list", "str"]
    low: int = -40
    high: int = 40


@dataclass(frozen=True, slots=True)
class Function:
    parameters: tuple[Parameter, ...]
    returns: Kind
    body: Block
