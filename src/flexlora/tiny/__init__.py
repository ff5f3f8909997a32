"""A benchmark and a model small enough to make on the spot: the whole method on a laptop, without a download.

`problems` generates one-line tasks in Python and Java, in the manner of MultiPL-E; `build` trains a model of under a
million parameters on some of them: the demo. `sets`, `benchmark` and `corpus` are the larger generator, in four
languages: `language` writes and interprets functions, `parts`, `vocabulary`, `reductions` and `families` put problems
together, `inputs`, `mutants` and `quality` are about their tests. Nothing here says anything about a 7B model.
"""

from pathlib import Path

TINY_MODEL = Path("runs/tiny-model")
"""Where `flexlora tiny build` puts the model, and the recipe `demo` looks for it."""
