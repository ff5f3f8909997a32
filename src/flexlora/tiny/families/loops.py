"""Loops that keep the numbers that meet conditions, map them and reduce them: over a list, a range, digits, and over
the new structures of set B3.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from flexlora.tiny.families import sources
from flexlora.tiny.language.ir import Block, Expr, Function, If, Return
from flexlora.tiny.language.rewrite import both, put
from flexlora.tiny.parts import ASK, Condition, Map, Part, Puzzle, Reduce, Source
from flexlora.tiny.reductions import ALTERNATING, COUNT, ENDS, FIRST, LARGEST, LAST, LIST, PRODUCT, SMALLEST, SUM, UNTIL
from flexlora.tiny.vocabulary import CONDITIONS, MAPS, NEW_CONDITIONS, NEW_MAPS

P = TypeVar("P", bound=Part)
Candidate: TypeAlias = Callable[[], Puzzle | None]

NUMBERS = Part(op="", words=("numbers",))
DIGITS = Part(op="", words=("digits",))
TOTALS = (SUM, PRODUCT, COUNT)


@dataclass(frozen=True, slots=True)
class Loop:
    """What a loop is made of; `puzzle` puts it together."""

    family: str
    source: Source
    reduce: Reduce
    maps: tuple[Map, ...] = ()
    conditions: tuple[Condition, ...] = ()
    end: tuple[Part, Expr] | None = None

    def sensible(self) -> bool:
        """Whether every part of it shows in what it computes."""
        source, reduce = self.source, self.reduce
        parts = (*self.maps, *self.conditions)
        if source.positive:
            if any(part.op in ("positive", "negative", "absolute") for part in parts):
                return False
            # A product with a zero in it is zero.
            if reduce is PRODUCT and any(part.natural for part in self.maps):
                return False
            if reduce in (LARGEST, PRODUCT) and any(part.falling or part.op == "minus" for part in self.maps):
                return False
        elif any(part.natural for part in parts) and any(
            part.op in ("positive", "negative") for part in self.conditions
        ):
            return False
        if any(_moot(source, condition) for condition in self.conditions):
            return False
        if any(isinstance(c.constant, int) and c.constant > source.limit for c in self.conditions):
            return False
        if reduce.op == "until" and (
            any(part.falling or part.op == "minus" for part in self.maps)
            or any(condition.op == "negative" for condition in self.conditions)
        ):
            return False
        if reduce is COUNT:
            return not self.maps and bool(self.conditions)
        if reduce is LARGEST and self.conditions and any(part.falling or part.op == "minus" for part in self.maps):
            return False
        if reduce is LARGEST and any(condition.op == "negative" for condition in self.conditions):
            return False
        if reduce is SMALLEST and self.conditions and any(part.op in ("square", "cube", "times") for part in self.maps):
            return False
        # The remainder of a number that is known to have a certain remainder says nothing.
        if any(part.op == "modulo" for part in self.maps):
            return not any(condition.op in ("even", "odd", "divisible") for condition in self.conditions)
        if any(condition.op == "equal" for condition in self.conditions):
            return reduce is SUM
        return reduce is not LIST or bool(parts) or source.new == "B3"

    def puzzle(self) -> Puzzle | None:
        """The problem, or None where a part of it would not show."""
        return self._made() if self.sensible() else None

    def _made(self) -> Puzzle:
        source, element = self.source, self.source.element
        value = element
        for part in self.maps:
            value = put(part.code, "v", value)
        inner: Block = self.reduce.update(value)
        if self.conditions:
            inner = (If(both(tuple(put(condition.code, "v", element) for condition in self.conditions)), inner),)
        result = self.end[1] if self.end else self.reduce.result
        parameters = source.parameters
        if any(part.natural for part in (*self.maps, *self.conditions)):
            parameters = tuple(dataclasses.replace(parameter, low=max(0, parameter.low)) for parameter in parameters)
        # Adjectives stand before the noun, so they come on after "above 5".
        named = sorted(self.conditions, key=lambda condition: condition.adjective)
        return Puzzle(
            self.family,
            (
                DIGITS if source is sources.EACH_DIGIT else NUMBERS,
                *(condition.named() for condition in named),
                source,
                *self.maps,
                self.reduce,
                *((self.end[0],) if self.end else ()),
                ASK,
            ),
            Function(parameters, self.reduce.returns, (*self.reduce.start, *source.loop(inner), Return(result))),
        )


KNOWN = (
    ("list", sources.EACH, (SUM, PRODUCT, COUNT, LARGEST, SMALLEST, FIRST, LAST, LIST)),
    ("range", sources.RANGE, (SUM, PRODUCT, COUNT, LIST)),
    ("digits", sources.EACH_DIGIT, (SUM, PRODUCT, COUNT, LARGEST, SMALLEST)),
    ("between", sources.BETWEEN, (SUM, PRODUCT, COUNT, LIST)),
)


def plain(wanted: str) -> Iterator[Candidate]:
    """At most one condition and one map, all of them known."""
    for family, source, reduces in KNOWN:
        if family == wanted:
            yield from _combined(family, source, reduces, CONDITIONS, MAPS)


def new_expressions() -> Iterator[Candidate]:
    """One new condition or one new map: set B2."""
    for family, source, reduces in KNOWN:
        for condition, part in (
            *itertools.product(_none_or(NEW_CONDITIONS)[1:], _none_or(MAPS)),
            *itertools.product(_none_or(CONDITIONS), _none_or(NEW_MAPS)[1:]),
        ):
            yield from (Loop(family, source, reduce, part, condition).puzzle for reduce in reduces)


def new_structures() -> Iterator[Candidate]:
    """A new source or a new reduction: set B3."""
    ordered = (FIRST, LAST, LIST)
    for source in sources.NEW_SOURCES:
        reduces: tuple[Reduce, ...] = (LIST,) if source is sources.BACKWARDS else (*TOTALS, LARGEST, *ordered)
        if source is sources.HALVING or source is sources.TABLE or source.op == "in-steps":
            reduces = (SUM, COUNT, LARGEST, LIST)
        yield from _combined("structure", source, reduces, CONDITIONS, MAPS)
    for family, source, _ in KNOWN[:2]:
        yield from _combined(f"structure/{family}", source, (ALTERNATING, *UNTIL), CONDITIONS, MAPS)


def composed() -> Iterator[Candidate]:
    """Two conditions, two maps, or something done with the result; all of them known."""
    outer = [part for part in MAPS if part.op in ("negate", "plus", "minus", "times")]
    inner = [part for part in MAPS if part.op != "negate"]
    # A map whose words come first is taken first: "the squares of the numbers, each plus 3".
    pairs = [
        (one, other)
        for one in inner
        for other in outer
        if one.op != other.op and (one.prefix or not other.prefix) and {one.op, other.op} != {"plus", "minus"}
    ]
    adjectives = [condition for condition in CONDITIONS if condition.adjective]
    others = [condition for condition in CONDITIONS if not condition.adjective]
    two = [(one, other) for one in adjectives for other in others if _independent(one, other)]
    for family, source, reduces in KNOWN[:3]:
        family = f"composed/{family}"
        for reduce in reduces:
            for chosen in two if source.limit > 9 else [pair for pair in two if pair[1].op != "divisible"]:
                for maps in _none_or(MAPS):
                    yield Loop(family, source, reduce, maps, chosen).puzzle
            for condition in _none_or(CONDITIONS):
                for maps in pairs:
                    yield Loop(family, source, reduce, maps, condition).puzzle
                if reduce in (SUM, COUNT):
                    for maps in _none_or([part for part in MAPS if part.prefix]):
                        for end in ENDS:
                            yield Loop(family, source, reduce, maps, condition, end).puzzle


def _combined(
    family: str,
    source: Source,
    reduces: Sequence[Reduce],
    conditions: Sequence[Condition],
    maps: Sequence[Map],
) -> Iterator[Candidate]:
    for reduce, condition, part in itertools.product(reduces, _none_or(conditions), _none_or(maps)):
        yield Loop(family, source, reduce, part, condition).puzzle


def _none_or(parts: Sequence[P]) -> list[tuple[P, ...]]:
    each: list[tuple[P, ...]] = [(part,) for part in parts]
    return [(), *each]


def _moot(source: Source, condition: Condition) -> bool:
    """Whether the numbers of a source all meet a condition, or none do."""
    even = condition.op == "even" or (condition.op == "divisible" and int(condition.constant or 1) % 2 == 0)
    if source.positive and condition.op == "below" and condition.constant == 2:
        return True
    if source.op == "in-steps":
        return even or condition.op in ("odd", "divisible")
    return source.op == f"before-{condition.op}" or (source.op == "before-even" and even)


def _independent(one: Condition, other: Condition) -> bool:
    """Whether two conditions ask two things."""
    if one.op in ("positive", "negative"):
        return other.op == "divisible" or (one.op == "positive" and other.op == "below")
    return other.op != "divisible" or int(other.constant or 0) % 2 == 1
