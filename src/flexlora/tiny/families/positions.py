"""Loops over the positions of a list, counted from 0."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

from flexlora.tiny.families import sources
from flexlora.tiny.families.sources import INDEX, VALUES
from flexlora.tiny.language.ir import At, Binary, Call, Expr, ForRange, Function, If, Num, Return
from flexlora.tiny.language.rewrite import put
from flexlora.tiny.parts import ASK, Condition, Map, Part, Puzzle, Reduce
from flexlora.tiny.reductions import COUNT, FIRST, LARGEST, LAST, LIST, PRODUCT, SMALLEST, SUM
from flexlora.tiny.vocabulary import CONDITIONS, MAPS

NUMBERS = Part(op="", words=("the numbers",))
ELEMENT = At(VALUES, INDEX)
PLACES = {
    "even": ("{} at even positions",),
    "odd": ("{} at odd positions",),
    "above": ("{{}} at positions above {}", "{{}} at positions greater than {}"),
    "below": ("{{}} at positions below {}", "{{}} at positions less than {}"),
    "divisible": ("{{}} at positions divisible by {}",),
}
IN_VALUES = Part(op="", words=("{} in values", "{} of values"))
WEIGHTED = Map(
    op="by-position",
    words=("{}, each times its position", "{}, each multiplied by its position"),
    code=Binary("*", ELEMENT, INDEX),
)


def known() -> Iterator[Callable[[], Puzzle]]:
    """Numbers at some positions, and positions of some numbers."""
    reduces = (SUM, PRODUCT, COUNT, LARGEST, SMALLEST, FIRST, LAST, LIST)
    maps = [(), (WEIGHTED,), *((part,) for part in MAPS)]
    for condition, mapped, reduce in itertools.product(CONDITIONS, maps, reduces):
        if _place(condition) and (reduce is not COUNT):
            yield partial(_at_positions, condition, mapped, reduce)
    for condition, mapped, reduce in itertools.product(CONDITIONS, [*maps[2:], ()], (SUM, LARGEST, FIRST, LAST)):
        if reduce is LARGEST and mapped and mapped[0].op in ("negate", "minus"):
            continue
        yield partial(_positions_of, condition, mapped, reduce)


def _place(condition: Condition) -> bool:
    constant = condition.constant
    return condition.op in PLACES and (constant is None or int(constant) <= 5)


def _at_positions(condition: Condition, mapped: tuple[Map, ...], reduce: Reduce) -> Puzzle:
    value: Expr = ELEMENT
    for part in mapped:
        value = part.code if part is WEIGHTED else put(part.code, "v", ELEMENT)
    said = tuple(words.format(condition.constant) if "{{" in words else words for words in PLACES[condition.op])
    place = Part(op=f"at-{condition.op}", constant=condition.constant, words=said)
    return _puzzle((NUMBERS, place, IN_VALUES, *mapped, reduce, ASK), put(condition.code, "v", INDEX), value, reduce)


def _positions_of(condition: Condition, mapped: tuple[Map, ...], reduce: Reduce) -> Puzzle:
    value: Expr = INDEX
    for part in mapped:
        value = put(part.code, "v", INDEX)
    form = "the positions of the {} numbers" if condition.adjective else "the positions of the numbers {}"
    noun = Part(
        op=f"of-{condition.op}",
        constant=condition.constant,
        words=tuple(form.format(words) for words in condition.words),
        novel=form.format(condition.novel) if condition.novel else "",
    )
    return _puzzle((noun, IN_VALUES, *mapped, reduce, ASK), put(condition.code, "v", ELEMENT), value, reduce)


def _puzzle(parts: tuple[Part, ...], test: Expr, value: Expr, reduce: Reduce) -> Puzzle:
    inner = (If(test, reduce.update(value)),)
    loop = ForRange("i", Num(0), Call("len", (VALUES,)), inner, inclusive=False, index=True)
    return Puzzle(
        "position",
        parts,
        Function((sources.LIST,), reduce.returns, (*reduce.start, loop, Return(reduce.result))),
    )
