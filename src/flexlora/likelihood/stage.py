"""The likelihood stage: what a model makes of texts, appended to `likelihood.jsonl` as batches are done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flexlora.data.types import Text
from flexlora.files import append_jsonl, read_appended
from flexlora.generation import SampleFiles
from flexlora.likelihood.teacher_forced import measure
from flexlora.progress import bar
from flexlora.recipe import Likelihood


def likelihood_files(folder: Path) -> SampleFiles:
    """The files with an evaluation's likelihoods: that of all, and, while several processes measure, one for each."""
    return SampleFiles(folder, stem="likelihood", key=("task_id",))


def measure_texts(
    model: Any,
    tokenizer: Any,
    texts: Sequence[Text],
    options: Likelihood,
    path: Path,
    label: str,
    elsewhere: Path | None = None,
) -> None:
    """Write the likelihood of every text to `path`, those that are there already left alone.

    Args:
        elsewhere: another file whose texts are not measured again.

    Raises:
        UsageError: the file is damaged.
        FlexError: out of GPU memory, an output that is no number, or the disk is full.
    """
    there = [*read_appended(path), *(read_appended(elsewhere) if elsewhere not in (None, path) else ())]
    by_id = {text.task_id: text for text in texts}
    done = {record["task_id"] for record in there} & by_id.keys()
    with bar(label, len(texts), done=len(done)) as advance:
        for one in measure(
            model,
            tokenizer,
            texts,
            conditional=options.conditional,
            max_length=options.max_length,
            batch_tokens=options.batch_tokens,
            done=done,
        ):
            append_jsonl(
                path,
                {
                    "task_id": one.task_id,
                    "language": by_id[one.task_id].language,
                    "tokens": one.tokens,
                    "characters": one.characters,
                    "nll": one.nll,
                    "cut": one.cut,
                },
            )
            advance()
