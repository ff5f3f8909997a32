"""What becomes of many numbers: the reductions, and what is done with a total at the end."""

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
from flexlora.tiny.parts import Part, Reduce

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
