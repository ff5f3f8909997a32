"""A benchmark and a model small enough for a laptop: the whole method, without a download.

`sets`, `benchmark` and `corpus` make problems in four languages: `language` writes and interprets functions, `parts`,
`vocabulary`, `reductions` and `families` put problems together, `inputs`, `mutants` and `quality` are about their
tests. `tokenizer` and `pretraining` make a model from them; the packaged one lies in `model/`.
Nothing here says anything about a 7B model.
"""

from pathlib import Path

TINY_MODEL = Path(__file__).parent / "model"
"""The packaged model, an ordinary Hugging Face folder; recipes call it `tiny`."""
