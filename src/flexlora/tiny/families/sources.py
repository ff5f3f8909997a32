"""Where numbers come from: lists, ranges and digits, and the loops that set B3 adds."""

from __future__ import annotations

from flexlora.tiny.language.ir import (
    At,
    Binary,
    Break,
    Call,
    Compare,
    Expr,
    ForEach,
    ForRange,
    If,
    Let,
    Num,
    Parameter,
    Update,
    Var,
    While,
)
from flexlora.tiny.parts import Source, V
from flexlora.tiny.vocabulary import remainder

INDEX, J, D, N, A, B, VALUES = (Var(name) for name in ("i", "j", "d", "n", "a", "b", "values"))
LIST = Parameter("values", "list")
LENGTH = Call("len", (VALUES,))
SMALL = Parameter("n", "int", 0, 30)
DIGITS = Parameter("n", "int", 0, 999_999)

EACH = Source(
    op="",
    words=("the {} in values", "the {} of values"),
    parameters=(LIST,),
    element=V,
    positive=False,
    loop=lambda inner: (ForEach("v", "int", VALUES, inner),),
)
RANGE = Source(
    op="",
    words=("the {} from 1 to n", "the {} from 1 up to n"),
    parameters=(SMALL,),
    element=INDEX,
    loop=lambda inner: (ForRange("i", Num(1), N, inner),),
)
BETWEEN = Source(
    op="",
    words=("the {} from a to b", "the {} from a up to b"),
    parameters=(Parameter("a", "int", 0, 25), Parameter("b", "int", 0, 25)),
    element=INDEX,
    loop=lambda inner: (ForRange("i", A, B, inner),),
)
EACH_DIGIT = Source(
    op="",
    words=("the {} of n", "the {} in n"),
    parameters=(DIGITS,),
    element=D,
    limit=7,
    loop=lambda inner: (
        While(
            Compare(">", N, Num(0)),
            (Let("d", "int", Binary("%", N, Num(10))), *inner, Update("n", "=", Binary("//", N, Num(10)))),
        ),
    ),
)


def _at(index: Expr) -> Let:
    return Let("v", "int", At(VALUES, index))


EVERY_SECOND = Source(
    op="every-second",
    words=("the {} met taking every second number of values", "the {} found at every second place of values"),
    new="B3",
    parameters=(LIST,),
    element=V,
    positive=False,
    loop=lambda inner: (ForRange("i", Num(0), LENGTH, (_at(INDEX), *inner), inclusive=False, step=2, index=True),),
)
BACKWARDS = Source(
    op="backwards",
    words=("the {} met going backwards through values", "the {} met from the end of values to its start"),
    new="B3",
    parameters=(LIST,),
    element=V,
    positive=False,
    loop=lambda inner: (ForRange("i", Binary("-", LENGTH, Num(1)), Num(0), (_at(INDEX), *inner), step=-1, index=True),),
)
STEPS_BETWEEN = Source(
    op="neighbours",
    words=("the {} among the steps from neighbour to neighbour in values",),
    new="B3",
    parameters=(LIST,),
    element=V,
    positive=False,
    loop=lambda inner: (
        ForRange(
            "i",
            Num(1),
            LENGTH,
            (Let("v", "int", Binary("-", At(VALUES, INDEX), At(VALUES, Binary("-", INDEX, Num(1))))), *inner),
            inclusive=False,
            index=True,
        ),
    ),
)
HALVING = Source(
    op="halving",
    words=("the {} met halving n down to 1", "the {} met when n is halved again and again down to 1"),
    new="B3",
    parameters=(Parameter("n", "int", 0, 300),),
    element=N,
    loop=lambda inner: (While(Compare(">", N, Num(0)), (*inner, Update("n", "=", Binary("//", N, Num(2))))),),
)
TABLE = Source(
    op="table",
    words=("the {} among the products i times j with 1 <= j <= i <= n",),
    new="B3",
    parameters=(Parameter("n", "int", 0, 15),),
    element=V,
    loop=lambda inner: (
        ForRange("i", Num(1), N, (ForRange("j", Num(1), INDEX, (Let("v", "int", Binary("*", INDEX, J)), *inner)),)),
    ),
)


def _in_steps(k: int) -> Source:
    return Source(
        op="in-steps",
        constant=k,
        words=(f"the {{}} met counting from 1 to n in steps of {k}",),
        new="B3",
        parameters=(SMALL,),
        element=INDEX,
        loop=lambda inner: (ForRange("i", Num(1), N, inner, step=k),),
    )


def _before(op: str, words: str, condition: Expr) -> Source:
    return Source(
        op=f"before-{op}",
        words=(f"the {{}} in values before its first {words} number",),
        new="B3",
        parameters=(LIST,),
        element=V,
        positive=False,
        loop=lambda inner: (ForEach("v", "int", VALUES, (If(condition, (Break(),)), *inner)),),
    )


BEFORE = (
    _before("even", "even", remainder("==", 2)),
    _before("odd", "odd", remainder("!=", 2)),
    _before("negative", "negative", Compare("<", V, Num(0))),
)
NEW_SOURCES = (EVERY_SECOND, BACKWARDS, STEPS_BETWEEN, HALVING, TABLE, *map(_in_steps, range(2, 6)), *BEFORE)
