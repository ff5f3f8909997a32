"""Whether any, all or none of some numbers meet a condition."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from flexlora.tiny.families import sources
from flexlora.tiny.families.loops import DIGITS, NUMBERS
from flexlora.tiny.language.ir import Bool, Function, If, Not, Return
from flexlora.tiny.language.rewrite import both, put
from flexlora.tiny.parts import ASK, Condition, Map, Part, Puzzle, Source
from flexlora.tiny.vocabulary import CONDITIONS, MAPS, NEW_CONDITIONS

QUESTIONS = {
    "any": (("whether any of {} is", "whether at least one of {} is"), False),
    "none": (("whether none of {} is",), True),
    "all": (("whether all of {} are", "whether each of {} is"), True),
}


def known() -> Iterator[Callable[[], Puzzle]]:
    yield from _made(CONDITIONS)


def new() -> Iterator[Callable[[], Puzzle]]:
    yield from _made([condition for condition in NEW_CONDITIONS if not condition.natural])


def _made(asked: Sequence[Condition]) -> Iterator[Callable[[], Puzzle]]:
    filters = [(), *((condition,) for condition in CONDITIONS if condition.adjective)]
    maps = [(), *((part,) for part in MAPS)]
    for source, question, kept, mapped, condition in itertools.product(
        (sources.EACH, sources.EACH_DIGIT), QUESTIONS, filters, maps, asked
    ):
        if _sensible(source, kept, mapped, condition):
            yield partial(_puzzle, source, question, kept, mapped, condition)


def _sensible(source: Source, kept: tuple[Condition, ...], mapped: tuple[Map, ...], condition: Condition) -> bool:
    parts = (*kept, *mapped, condition)
    if source.positive and any(part.op in ("positive", "negative", "negate", "minus") for part in parts):
        return False
    if kept and (mapped or condition.adjective):
        return False
    if isinstance(condition.constant, int) and condition.constant > source.limit:
        return False
    if source.positive and mapped and mapped[0].op == "plus" and isinstance(condition.constant, int):
        return condition.constant > int(mapped[0].constant or 0) + (condition.op == "below")
    if kept and condition.op in ("divisible", "below", "at-most", "equal", "other"):
        return False
    if kept and kept[0].op == "negative":
        return False
    if mapped and (mapped[0].op in ("square", "double") or condition.op in ("divisible", "equal", "other")):
        return mapped[0].op == "square" and condition.op in ("above", "below")
    if mapped and mapped[0].op == "times":
        return condition.op in ("above", "below")
    return True


def _puzzle(
    source: Source, question: str, kept: tuple[Condition, ...], mapped: tuple[Map, ...], condition: Condition
) -> Puzzle:
    value = source.element
    for part in mapped:
        value = put(part.code, "v", value)
    code = put(condition.code, "v", value)
    filters = tuple(put(each.code, "v", source.element) for each in kept)
    words, otherwise = QUESTIONS[question]
    test = both((*filters, Not(code) if question == "all" else code))
    asked = [condition.asked(form) for form in words]
    last = Part(
        op=f"{question}-{condition.op}",
        constant=condition.constant,
        words=tuple(itertools.chain.from_iterable(part.words for part in asked)),
        novel=asked[0].novel,
        new=condition.new,
    )
    return Puzzle(
        "question/digits" if source is sources.EACH_DIGIT else "question/list",
        (
            DIGITS if source is sources.EACH_DIGIT else NUMBERS,
            *(each.named() for each in kept),
            source,
            *mapped,
            last,
            ASK,
        ),
        Function(
            source.parameters,
            "bool",
            (*source.loop((If(test, (Return(Bool(not otherwise)),)),)), Return(Bool(otherwise))),
        ),
    )
