"""The conditions and maps of numbers. `novel` words are set B1's, parts marked `new="B2"` set B2's."""

from __future__ import annotations

from typing import Literal, TypeAlias

from flexlora.tiny.language.ir import Binary, Call, Compare, Expr, Neg, Num
from flexlora.tiny.parts import Condition, Map, V

Op: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">="]


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
BOUNDS: tuple[tuple[str, Op, tuple[str, ...]], ...] = (
    ("at-least", ">=", ("at least {}", "not below {}")),
    ("at-most", "<=", ("at most {}", "not above {}")),
    ("equal", "==", ("equal to {}",)),
    ("other", "!=", ("other than {}", "not equal to {}")),
)
NEW_CONDITIONS: tuple[Condition, ...] = (
    *(
        Condition(op=op, constant=k, words=tuple(w.format(k) for w in words), new="B2", code=compare(sign, k))
        for k in range(2, 13)
        for op, sign, words in BOUNDS
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
