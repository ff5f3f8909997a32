"""The conditions, maps and reductions of numbers. `novel` words are set B1's, parts marked `new="B2"` set B2's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from flexlora.tiny.language.ir import (
    Append,
    Binary,
    Break,
    Call,
    Compare,
    Empty,
    Expr,
    If,
    Let,
    Neg,
    Num,
    Return,
    Update,
    Var,
)
from flexlora.tiny.parts import Condition, Map, Part, Reduce, V

Op = Literal["==", "!=", "<", "<=", ">", ">="]


def compare(op: Op, k: int) -> Expr:
    return Compare(op, V, Num(k))


def remainder(op: Op, k: int, r: int = 0) -> Expr:
    return Compare(op, Binary("%", V, Num(k)), Num(r))


CONDITIONS: tuple[Condition, ...] = (
    Condition(op="even", words=("even",), novel="halvable", adjective=True, code=remainder("==", 2)),
    Condition(op="odd", words=("odd",), novel="uneven", adjective=True, code=remainder("!=", 2)),
    Condition(op="positive", words=("positive",), adjective=True, code=compare(">", 0)),
    Condition(op="negative", words=("negative",), adjective=True, code=compare("<", 0)),
    *(
        condition
        for k in range(2, 13)
        for condition in (
            Condition(
                op="above",
                constant=k,
                words=(f"above {k}", f"greater than {k}", f"over {k}"),
                novel=f"exceeding {k}",
                code=compare(">", k),
            ),
            Condition(
                op="below",
                constant=k,
                words=(f"below {k}", f"less than {k}", f"under {k}"),
                novel=f"short of {k}",
                code=compare("<", k),
            ),
        )
    ),
    *(
        Condition(
            op="divisible",
            constant=k,
            words=(f"divisible by {k}",),
            novel=f"in the table of {k}",
            code=remainder("==", k),
        )
        for k in range(3, 13)
    ),
)
NEW_CONDITIONS: tuple[Condition, ...] = (
    *(
        Condition(op=op, constant=k, words=words, new="B2", code=compare(sign, k))
        for k in range(2, 13)
        for op, sign, words in (
            ("at-least", ">=", (f"at least {k}", f"not below {k}")),
            ("at-most", "<=", (f"at most {k}", f"not above {k}")),
            ("equal", "==", (f"equal to {k}",)),
            ("other", "!=", (f"other than {k}", f"not equal to {k}")),
        )
    ),
    *(
        Condition(
            op=f"remainder-{r}",
            constant=k,
            words=(f"with remainder {r} by {k}",),
            new="B2",
            natural=True,
            code=remainder("==", k, r),
        )
        for k in range(3, 9)
        for r in (1, 2)
    ),
)


def _times(k: int) -> Expr:
    return Binary("*", V, Num(k))


MAPS: tuple[Map, ...] = (
    Map(
        op="square",
        words=("the squares of {}", "the square of each of {}"),
        novel="the second powers of {}",
        prefix=True,
        code=Binary("*", V, V),
    ),
    Map(
        op="double",
        words=("the doubles of {}", "the double of each of {}"),
        novel="the twofolds of {}",
        prefix=True,
        code=_times(2),
    ),
    Map(
        op="negate",
        words=("the negatives of {}", "the negative of each of {}"),
        novel="the opposites of {}",
        prefix=True,
        falling=True,
        code=Neg(V),
    ),
    *(
        Map(
            op="plus",
            constant=k,
            words=(f"{{}}, each plus {k}", f"{{}}, each increased by {k}"),
            novel=f"{{}}, each lifted by {k}",
            code=Binary("+", V, Num(k)),
        )
        for k in range(1, 10)
    ),
    *(
        Map(
            op="minus",
            constant=k,
            words=(f"{{}}, each minus {k}", f"{{}}, each decreased by {k}"),
            novel=f"{{}}, each lowered by {k}",
            code=Binary("-", V, Num(k)),
        )
        for k in range(1, 10)
    ),
    *(
        Map(
            op="times",
            constant=k,
            words=(f"{{}}, each times {k}", f"{{}}, each multiplied by {k}"),
            novel=f"{{}}, each scaled by {k}",
            code=_times(k),
        )
        for k in range(3, 10)
    ),
)
NEW_MAPS: tuple[Map, ...] = (
    Map(
        op="cube",
        words=("the cubes of {}", "the cube of each of {}"),
        new="B2",
        prefix=True,
        code=Binary("*", Binary("*", V, V), V),
    ),
    Map(
        op="half",
        words=("the halves, rounded down, of {}",),
        new="B2",
        prefix=True,
        natural=True,
        code=Binary("//", V, Num(2)),
    ),
    Map(op="absolute", words=("the absolute values of {}",), new="B2", prefix=True, code=Call("abs", (V,))),
    *(
        Map(
            op="modulo",
            constant=k,
            words=(f"{{}}, each modulo {k}", f"{{}}, each reduced to its remainder by {k}"),
            new="B2",
            natural=True,
            code=Binary("%", V, Num(k)),
        )
        for k in range(2, 10)
    ),
    *(
        Map(
            op="from",
            constant=k,
            words=(f"{{}}, each taken from {k}", f"{{}}, each subtracted from {k}"),
            new="B2",
            falling=True,
            code=Binary("-", Num(k), V),
        )
        for k in range(5, 15)
    ),
)

TOTAL, BEST, RESULT, FOUND, SIGN = (Var(name) for name in ("total", "best", "result", "found", "sign"))


def _best(call: Literal["max", "min"]) -> Callable[[Expr], tuple[Update]]:
    return lambda value: (Update("best", "=", Call(call, (BEST, value))),)


SUM = Reduce(
    op="sum",
    words=("the sum of {}", "the total of {}"),
    novel="the tally of {}",
    start=(Let("total", "int", Num(0)),),
    update=lambda value: (Update("total", "+=", value),),
    result=TOTAL,
)
PRODUCT = Reduce(
    op="product",
    words=("the product of {}",),
    novel="the yield of {}",
    start=(Let("total", "int", Num(1)),),
    update=lambda value: (Update("total", "*=", value),),
    result=TOTAL,
)
COUNT = Reduce(
    op="count",
    words=("the number of {}", "the count of {}"),
    novel="the headcount of {}",
    start=(Let("total", "int", Num(0)),),
    update=lambda _: (Update("total", "+=", Num(1)),),
    result=TOTAL,
)
LARGEST = Reduce(
    op="largest",
    words=("the largest of 0 and {}", "the maximum of 0 and {}"),
    novel="the peak of 0 and {}",
    start=(Let("best", "int", Num(0)),),
    update=_best("max"),
    result=BEST,
)
SMALLEST = Reduce(
    op="smallest",
    words=("the smallest of 100 and {}", "the minimum of 100 and {}"),
    novel="the trough of 100 and {}",
    start=(Let("best", "int", Num(100)),),
    update=_best("min"),
    result=BEST,
)
FIRST = Reduce(
    op="first",
    words=("the first of {}, or -1 if there is none",),
    novel="the leader of {}, or -1 if there is none",
    start=(),
    update=lambda value: (Return(value),),
    result=Num(-1),
)
LAST = Reduce(
    op="last",
    words=("the last of {}, or -1 if there is none",),
    novel="the tail of {}, or -1 if there is none",
    start=(Let("found", "int", Num(-1)),),
    update=lambda value: (Update("found", "=", value),),
    result=FOUND,
)
LIST = Reduce(
    op="list",
    words=("a list of {}", "the list of {}"),
    novel="an array of {}",
    start=(Let("result", "list", Empty("list")),),
    update=lambda value: (Append("result", value),),
    result=RESULT,
    returns="list",
)
ALTERNATING = Reduce(
    op="alternating",
    words=("the alternating sum of {}", "the sum, with alternating signs, of {}"),
    new="B3",
    start=(Let("total", "int", Num(0)), Let("sign", "int", Num(1))),
    update=lambda value: (
        Update("total", "+=", Binary("*", SIGN, value)),
        Update("sign", "=", Neg(SIGN)),
    ),
    result=TOTAL,
)


def _until(k: int) -> Reduce:
    return Reduce(
        op="until",
        constant=k,
        words=(f"the sum, until it is above {k}, of {{}}", f"the sum, until it passes {k}, of {{}}"),
        new="B3",
        start=(Let("total", "int", Num(0)),),
        update=lambda value: (
            Update("total", "+=", value),
            If(Compare(">", TOTAL, Num(k)), (Break(),)),
        ),
        result=TOTAL,
    )


UNTIL = tuple(_until(k) for k in range(10, 40, 5))
ENDS: tuple[tuple[Part, Expr], ...] = tuple(
    end
    for k in range(2, 10)
    for end in (
        (Part(op="then-plus", constant=k, words=(f"{{}}, with {k} added to the result",)), Binary("+", TOTAL, Num(k))),
        (
            Part(op="then-times", constant=k, words=(f"{{}}, with the result multiplied by {k}",)),
            Binary("*", TOTAL, Num(k)),
        ),
    )
)
"""What is done with a total at the end."""
