"""The families of problems, and how many of each there are. Every family can say more than is taken of it: what is
taken is drawn by a seed and the same everywhere.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from flexlora.tiny.families import loops, positions, questions, scalars, strings
from flexlora.tiny.parts import Puzzle

Candidate: TypeAlias = Callable[[], Puzzle | None]
"""Makes a problem, or None where it would be no sensible one."""
Family: TypeAlias = tuple[int, Callable[[], Iterable[Candidate]]]
"""How many to take, and from what."""

KNOWN: dict[str, Family] = {
    "list": (4500, lambda: loops.plain("list")),
    "range": (2200, lambda: loops.plain("range")),
    "digits": (2200, lambda: loops.plain("digits")),
    "between": (1000, lambda: loops.plain("between")),
    "composed": (3000, loops.composed),
    "question": (1200, questions.known),
    "position": (1500, positions.known),
    "string": (1500, strings.known),
    "steps": (1200, lambda: scalars.steps(new=False)),
    "choice": (1200, lambda: scalars.choices(new=False)),
    "pair": (800, scalars.pairs),
}
NEW_EXPRESSIONS: dict[str, Family] = {
    "loops": (1200, loops.new_expressions),
    "question": (200, questions.new),
    "string": (200, strings.new),
    "steps": (200, lambda: scalars.steps(new=True)),
    "choice": (200, lambda: scalars.choices(new=True)),
}
NEW_STRUCTURES: dict[str, Family] = {"structure": (2000, loops.new_structures)}


def drawn(families: dict[str, Family], taken: set[object]) -> Iterator[Puzzle]:
    """The problems of some families, no two of which compute alike; `taken` remembers the computations."""
    for name, (number, candidates) in families.items():
        mixed = list(candidates())
        random.Random(f"flexlora tiny/{name}/{len(families)}").shuffle(mixed)
        made = (puzzle for candidate in mixed if (puzzle := candidate()) and _is_other(puzzle, taken))
        yield from itertools.islice(made, number)


def computation(puzzle: Puzzle) -> object:
    """Signature and body: what makes two problems the same."""
    function = puzzle.function
    return tuple((parameter.name, parameter.kind) for parameter in function.parameters), function.body


def _is_other(puzzle: Puzzle, taken: set[object]) -> bool:
    before = len(taken)
    taken.add(computation(puzzle))
    return len(taken) > before
