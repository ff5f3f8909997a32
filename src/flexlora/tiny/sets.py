"""The sets of problems and their splits.

`A`: known operations; what is held out are combinations and constants that its training split has nowhere.
`B1`: known code with one word that stands nowhere in `A`. `B2`: one new expression. `B3`: one new kind of loop.
No two problems of different sets or splits have the same signature and body. Everything follows from the names of the
problems and is the same everywhere.
"""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Callable, Iterable

from flexlora.errors import UsageError
from flexlora.tiny.families import KNOWN, NEW_EXPRESSIONS, NEW_STRUCTURES, drawn
from flexlora.tiny.parts import Puzzle

SETS = ("A", "B1", "B2", "B3")
SPLITS = ("train", "validation", "test")
TEST, VALIDATION = 300, 200
NEW_WORDS = 1700
"""Problems in set B1."""
COMBINATIONS, CONSTANTS = 0.04, 0.06
"""Shares of the combinations of operations, and of the constants of an operation, that A's training never sees."""


def puzzles(set_name: str, split: str) -> tuple[Puzzle, ...]:
    """The problems of a set and split, mixed.

    Raises:
        UsageError: there is no such set or split.
    """
    for what, value, known in (("set", set_name, SETS), ("split", split, SPLITS)):
        if value not in known:
            raise UsageError(f"tiny: no {what} {value!r}; there are {', '.join(known)}.")
    return _everything()[set_name, split]


def is_held_out(puzzle: Puzzle) -> str:
    """Why a problem of known parts is not trained on: `combination`, `constant`, or the empty string."""
    if _drawn(f"combination {puzzle.skeleton}") < COMBINATIONS:
        return "combination"
    return "constant" if held_out_constants(puzzle) else ""


def held_out_constants(puzzle: Puzzle) -> tuple[str, ...]:
    """The parts of a problem that training does not see with these constants."""
    return tuple(
        part.name
        for part in puzzle.parts
        if part.constant is not None and _drawn(f"constant {part.op} {part.constant}") < CONSTANTS
    )


@functools.cache
def _everything() -> dict[tuple[str, str], tuple[Puzzle, ...]]:
    taken: set[object] = set()
    known = _mixed(drawn(KNOWN, taken), "A")
    seen = [puzzle for puzzle in known if not is_held_out(puzzle)]
    reworded = [puzzle for puzzle in seen if puzzle.with_novel_words()][:NEW_WORDS]
    apart = {puzzle.key for puzzle in reworded}
    combinations = [puzzle for puzzle in known if is_held_out(puzzle) == "combination"]
    constants = [puzzle for puzzle in known if is_held_out(puzzle) == "constant"]
    # Both reasons are held out in equal numbers, and as many different ones as there are.
    half, both = TEST // 2, (TEST + VALIDATION) // 2
    combinations = _mixed(_spread(combinations, lambda puzzle: puzzle.skeleton)[:both], "combinations")
    constants = _mixed(_spread(constants, lambda puzzle: held_out_constants(puzzle)[0])[:both], "constants")
    sets = {
        ("A", "train"): [puzzle for puzzle in seen if puzzle.key not in apart],
        ("A", "validation"): _mixed(combinations[half:] + constants[half:], "A validation"),
        ("A", "test"): _mixed(combinations[:half] + constants[:half], "A test"),
        **_split("B1", reworded),
        **_split("B2", _mixed(drawn(NEW_EXPRESSIONS, taken), "B2")),
        **_split("B3", _mixed(drawn(NEW_STRUCTURES, taken), "B3")),
    }
    return {name: tuple(made) for name, made in sets.items()}


def _split(name: str, mixed: list[Puzzle]) -> dict[tuple[str, str], list[Puzzle]]:
    return {
        (name, "test"): mixed[:TEST],
        (name, "validation"): mixed[TEST : TEST + VALIDATION],
        (name, "train"): mixed[TEST + VALIDATION :],
    }


def _mixed(made: Iterable[Puzzle], name: str) -> list[Puzzle]:
    mixed = list(made)
    random.Random(f"flexlora tiny set {name}").shuffle(mixed)
    return mixed


def _spread(made: list[Puzzle], group: Callable[[Puzzle], str]) -> list[Puzzle]:
    """The first of each group, then the second of each, and so on."""
    ranks: Counter[str] = Counter()
    ranked = []
    for puzzle in made:
        ranked.append((ranks[group(puzzle)], puzzle))
        ranks[group(puzzle)] += 1
    return [puzzle for _, puzzle in sorted(ranked, key=lambda pair: pair[0])]


@functools.cache
def _drawn(name: str) -> float:
    return random.Random(f"flexlora tiny {name}").random()
