"""Documents to build a model from: prompts and reference solutions of set A's training split, without end.

A document is one problem in one language, or, for a fifth of them, in two languages one after the other. Each has a
description and function names drawn anew. The variant `clean` holds nothing of the B sets; in `exposed` 0.4 % of the
documents are of their training splits, as the web holds a little of everything.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TypeAlias

from flexlora.data.types import Example
from flexlora.errors import UsageError
from flexlora.tiny.benchmark import LANGUAGES, function_name, task_id
from flexlora.tiny.language import RENDERERS
from flexlora.tiny.sets import SETS, puzzles

EXPOSURE = {"clean": 0.0, "exposed": 0.004}
PAIRS = 0.2
"""Share of the documents that show their problem in two languages."""

Document: TypeAlias = list[Example]
"""One problem, in one language or in two."""


def documents(seed: int, variant: str = "clean") -> Iterator[Document]:
    """Documents of all languages alike; the same seed gives the same ones.

    Raises:
        UsageError: there is no such variant.
    """
    if variant not in EXPOSURE:
        raise UsageError(f"tiny: no variant {variant!r} of the corpus; there are {', '.join(EXPOSURE)}.")
    return _drawn(random.Random(f"flexlora tiny corpus {seed}"), EXPOSURE[variant])


def _drawn(generator: random.Random, exposure: float) -> Iterator[Document]:
    while True:
        set_name = generator.choice(SETS[1:]) if generator.random() < exposure else "A"
        languages = generator.sample(LANGUAGES, 2 if generator.random() < PAIRS else 1)
        puzzle = generator.choice(puzzles(set_name, "train"))
        document = []
        for language in languages:
            renderer = RENDERERS[language]
            description = puzzle.describe(generator, novel=set_name == "B1")
            example = Example(
                source=f"tiny/{set_name}/{language}",
                key=task_id(set_name, puzzle),
                prompt=renderer.prompt(puzzle.function, function_name(str(generator.random())), description),
                completion=renderer.completion(puzzle.function),
            )
            document.append(example)
        yield document
