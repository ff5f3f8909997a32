"""Documents to build a model from: prompts and reference solutions of set A's training split, without end.

Each has a language, a description and a function's name drawn anew. The variant `clean` holds nothing of the B sets;
in `exposed` 0.4 % of the documents are of their training splits, as the web holds a little of everything.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from flexlora.data.types import Example
from flexlora.errors import UsageError
from flexlora.tiny.benchmark import LANGUAGES, function_name, task_id
from flexlora.tiny.language import RENDERERS
from flexlora.tiny.sets import SETS, puzzles

EXPOSURE = {"clean": 0.0, "exposed": 0.004}


def documents(seed: int, variant: str = "clean") -> Iterator[Example]:
    """Documents of all languages alike; the same seed gives the same ones.

    Raises:
        UsageError: there is no such variant.
    """
    if variant not in EXPOSURE:
        raise UsageError(f"tiny: no variant {variant!r} of the corpus; there are {', '.join(EXPOSURE)}.")
    return _drawn(random.Random(f"flexlora tiny corpus {seed}"), EXPOSURE[variant])


def _drawn(generator: random.Random, exposure: float) -> Iterator[Example]:
    while True:
        set_name = generator.choice(SETS[1:]) if generator.random() < exposure else "A"
        language = generator.choice(LANGUAGES)
        puzzle = generator.choice(puzzles(set_name, "train"))
        renderer = RENDERERS[language]
        description = puzzle.describe(generator, novel=set_name == "B1")
        yield Example(
            source=f"tiny/{set_name}/{language}",
            key=task_id(set_name, puzzle),
            prompt=renderer.prompt(puzzle.function, function_name(str(generator.random())), description),
            completion=renderer.completion(puzzle.function),
        )
