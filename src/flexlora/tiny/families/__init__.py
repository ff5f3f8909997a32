"""The families of problems, and how many of each there are. Every family can say more than is taken of it: what is
taken is drawn by a seed and the same everywhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator

from flexlora.tiny.families import loops, positions, questions, scalars, strings
from flexlora.tiny.parts import Puzzle

Family = tuple[int, Callable[[], Iterable[loops.Loop | Puzzle]]]
"""How many to take, and from what."""

KNOWN: dict[str, Family] = {
    "list": (4500, lambda: _family(loops.plain(), "list")),
    "range": (2200, lambda: _family(loops.plain(), "range")),
    "digits": (2200, lambda: _family(loops.plain(), "digits")),
    "between": (1000, lambda: _family(loops.plain(), "between")),
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
        mixed = [candidate for candidate in candidates() if _sensible(candidate)]
        random.Random(f"flexlora tiny/{name}/{len(families)}").shuffle(mixed)
        for candidate in mixed:
            if number == 0:
                break
            puzzle = candidate.puzzle() if isinstance(candidate, loops.Loop) else candidate
            if (computed := computation(puzzle)) not in taken:
                taken.add(computed)
                number -= 1
                yield puzzle


def computation(puzzle: Puzzle) -> object:
    """Signature and body: what makes two problems the same."""
    function = puzzle.function
    return tuple((parameter.name, parameter.kind) for parameter in function.parameters), function.body


def _sensible(candidate: loops.Loop | Puzzle) -> bool:
    return candidate.sensible() if isinstance(candidate, loops.Loop) else True


def _family(candidates: Iterator[loops.Loop], name: str) -> Iterator[loops.Loop]:
    return (candidate for candidate in candidates if candidate.family == name)
