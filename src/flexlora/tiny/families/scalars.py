"""Functions of one or two integers, without a loop: steps one after another, a choice, and two combined."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

from flexlora.tiny.language.ir import (
    Binary,
    Call,
    Compare,
    Expr,
    Function,
    If,
    Let,
    Neg,
    Num,
    Parameter,
    Return,
    Update,
    Var,
)
from flexlora.tiny.language.rewrite import put
from flexlora.tiny.parts import ASK, Condition, Map, Part, Puzzle, V
from flexlora.tiny.vocabulary import CONDITIONS, NEW_CONDITIONS

N, A, B = Parameter("n", "int"), Parameter("a", "int"), Parameter("b", "int")
N_VAR, X, A_VAR, B_VAR = (Var(name) for name in ("n", "x", "a", "b"))

STEPS: tuple[Map, ...] = (
    Map(op="square", words=("{}, square it",), novel="{}, raise it to the second power", code=Binary("*", V, V)),
    Map(op="negate", words=("{}, negate it", "{}, change its sign"), novel="{}, mirror it", code=Neg(V)),
    *(
        step
        for k in range(2, 10)
        for step in (
            Map(
                op="add",
                constant=k,
                words=(f"{{}}, add {k}", f"{{}}, increase it by {k}"),
                novel=f"{{}}, lift it by {k}",
                code=Binary("+", V, Num(k)),
            ),
            Map(
                op="subtract",
                constant=k,
                words=(f"{{}}, subtract {k}", f"{{}}, decrease it by {k}"),
                novel=f"{{}}, lower it by {k}",
                code=Binary("-", V, Num(k)),
            ),
            Map(
                op="multiply",
                constant=k,
                words=(f"{{}}, multiply it by {k}",),
                novel=f"{{}}, scale it by {k}",
                code=Binary("*", V, Num(k)),
            ),
        )
    ),
)
NEW_STEPS: tuple[Map, ...] = (
    Map(op="cube", words=("{}, cube it",), new="B2", code=Binary("*", Binary("*", V, V), V)),
    Map(op="absolute", words=("{}, drop its sign",), new="B2", code=Call("abs", (V,))),
    *(
        step
        for k in range(2, 10)
        for step in (
            Map(
                op="from",
                constant=k,
                words=(f"{{}}, subtract it from {k}",),
                new="B2",
                code=Binary("-", Num(k), V),
            ),
            Map(
                op="at-least",
                constant=k,
                words=(f"{{}}, raise it to {k} if it is less",),
                new="B2",
                code=Call("max", (V, Num(k))),
            ),
            Map(
                op="at-most",
                constant=k,
                words=(f"{{}}, cut it to {k} if it is more",),
                new="B2",
                code=Call("min", (V, Num(k))),
            ),
        )
    ),
)
START = Part(op="", words=("Take n", "Start with n"))
FINISH = Part(op="", words=("{} and return the result.", "{} and give the result back."))


def steps(new: bool) -> Iterator[Callable[[], Puzzle]]:
    """Two or three steps; with `new` one of them is."""
    for length in (2, 3):
        for chosen in itertools.product(STEPS + NEW_STEPS if new else STEPS, repeat=length):
            if sum(step.new != "" for step in chosen) == new and _useful(chosen):
                yield partial(_stepped, chosen)


def _useful(chosen: Sequence[Map]) -> bool:
    sums = ("add", "subtract", "from")
    for one, other in itertools.pairwise(chosen):
        if one.op == other.op or (one.op in sums and other.op in sums):
            return False
        if {one.op, other.op} <= {"square", "negate", "absolute", "at-least", "at-most"}:
            return False
    return True


def _stepped(chosen: Sequence[Map]) -> Puzzle:
    value: Expr = Num(0)
    block: list[Let | Update | Return] = []
    for index, step in enumerate(chosen):
        value = put(step.code, "v", N_VAR if index == 0 else X)
        block.append(Let("x", "int", value) if index == 0 else Update("x", "=", value))
    return Puzzle("steps", (START, *chosen, FINISH), Function((N,), "int", (*block, Return(X))))


SIMPLE: tuple[Map, ...] = (
    Map(op="itself", words=("{}",), code=V),
    Map(op="square", words=("the square of {}",), novel="the second power of {}", code=Binary("*", V, V)),
    Map(op="double", words=("the double of {}",), novel="the twofold of {}", code=Binary("*", V, Num(2))),
    Map(op="negate", words=("the negative of {}",), novel="the opposite of {}", code=Neg(V)),
    *(
        form
        for k in range(2, 10)
        for form in (
            Map(op="plus", constant=k, words=(f"{{}} plus {k}",), code=Binary("+", V, Num(k))),
            Map(op="minus", constant=k, words=(f"{{}} minus {k}",), code=Binary("-", V, Num(k))),
            Map(op="times", constant=k, words=(f"{{}} times {k}",), code=Binary("*", V, Num(k))),
        )
    ),
)


def choices(new: bool) -> Iterator[Callable[[], Puzzle]]:
    """One thing if a condition holds, else another."""
    conditions = [condition for condition in (NEW_CONDITIONS if new else CONDITIONS) if not condition.natural]
    for condition, one, other in itertools.product(conditions, SIMPLE, SIMPLE):
        if one.op == other.op:
            continue
        yield partial(_choice, condition, one, other)


def _choice(condition: Condition, one: Map, other: Map) -> Puzzle:
    function = Function(
        (N,),
        "int",
        (
            If(put(condition.code, "v", N_VAR), (Return(put(one.code, "v", N_VAR)),)),
            Return(put(other.code, "v", N_VAR)),
        ),
    )
    return Puzzle("choice", (_of(one, "n"), condition.asked("{} if n is"), _else(other), ASK), function)


def _of(part: Map, variable: str, *, apart: bool = False) -> Part:
    """What `part` makes of a variable; `apart` puts it in parentheses where other words could be taken for its own."""
    form = "({})" if apart and part.constant is not None else "{}"
    words = tuple(form.format(words.format(variable)) for words in part.words)
    return Part(op=part.op, constant=part.constant, words=words, novel=part.novel.format(variable))


def _else(part: Map) -> Part:
    words = tuple(f"{{}}, else {words.format('n')}" for words in part.words)
    novel = f"{{}}, else {part.novel.format('n')}" if part.novel else ""
    return Part(op=f"else-{part.op}", constant=part.constant, words=words, novel=novel)


COMBINED: dict[str, tuple[tuple[str, ...], str, Expr]] = {
    "sum": (("the sum of {} and {}",), "the tally of {} and {}", Binary("+", A_VAR, B_VAR)),
    "difference": (("the difference of {} and {}",), "the gap from {} to {}", Binary("-", A_VAR, B_VAR)),
    "product": (("the product of {} and {}",), "the yield of {} and {}", Binary("*", A_VAR, B_VAR)),
    "larger": (
        ("the larger of {} and {}", "the maximum of {} and {}"),
        "the peak of {} and {}",
        Call("max", (A_VAR, B_VAR)),
    ),
    "smaller": (
        ("the smaller of {} and {}", "the minimum of {} and {}"),
        "the trough of {} and {}",
        Call("min", (A_VAR, B_VAR)),
    ),
}
ORDER: dict[str, Literal["<", ">"]] = {"above": ">", "below": "<"}


def pairs() -> Iterator[Callable[[], Puzzle]]:
    """Two integers combined, or compared."""
    for name, one, other in itertools.product(COMBINED, SIMPLE, SIMPLE):
        yield partial(_combined, name, one, other)
    for sign, one, other in itertools.product(ORDER, SIMPLE, SIMPLE):
        if "square" not in (one.op, other.op):
            yield partial(_compared, sign, one, other)


def _combined(name: str, one: Map, other: Map) -> Puzzle:
    words, novel, code = COMBINED[name]
    right = _of(other, "b", apart=True).words[0]
    both = Part(
        op=f"{name}-{other.op}",
        constant=other.constant,
        words=tuple(form.format("{}", right) for form in words),
        novel=novel.format("{}", right),
    )
    value = put(put(put(code, "a", V), "b", put(other.code, "v", B_VAR)), "v", put(one.code, "v", A_VAR))
    return Puzzle("pair", (_of(one, "a", apart=True), both, ASK), Function((A, B), "int", (Return(value),)))


def _compared(name: str, one: Map, other: Map) -> Puzzle:
    right = _of(other, "b", apart=True).words[0]
    asked = Part(op=f"{name}-{other.op}", constant=other.constant, words=(f"whether {{}} is {name} {right}",))
    test = Compare(ORDER[name], put(one.code, "v", A_VAR), put(other.code, "v", B_VAR))
    return Puzzle("pair", (_of(one, "a", apart=True), asked, ASK), Function((A, B), "bool", (Return(test),)))
