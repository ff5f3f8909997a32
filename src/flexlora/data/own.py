"""A user's own training pairs: a JSONL file or a hub dataset, with the names of its two columns."""

from __future__ import annotations

from pathlib import Path

from flexlora.data import apps_source, codesearchnet, evalplus, humaneval, mbpp
from flexlora.data.source import HubDataset, Origin, load_file, load_hub
from flexlora.data.types import Example
from flexlora.errors import UsageError
from flexlora.recipe import DataSource

# Loading a known benchmark as if it were one's own data would get round the check that no evaluated problem
# was trained on.
KNOWN = {
    humaneval.HUB.repository: "humaneval",
    mbpp.HUB.repository: "mbpp",
    "nuprl/MultiPL-E": "multipl-e",
    codesearchnet.REPOSITORY: "codesearchnet/LANG",
    apps_source.HUB.repository: "apps",
    evalplus.HUMANEVAL_HUB.repository: "humaneval+",
    evalplus.MBPP_HUB.repository: "mbpp+",
}


def examples(source: DataSource) -> tuple[list[Example], Origin]:
    """Training pairs from `source.dataset`: a path that ends in `.jsonl`, or a hub id `owner/name`.

    Raises:
        UsageError: not found, a column is missing, a value is not text, or a completion is empty.
    """
    columns = (source.prompt_column, source.completion_column)
    if source.dataset.endswith(".jsonl"):
        refuse_options(source, "prompt_column", "completion_column")
        records, origin = load_file(Path(source.dataset).expanduser(), columns)
    elif source.dataset in KNOWN:
        raise UsageError(
            f"data: {source.dataset} is the benchmark {KNOWN[source.dataset]}; use that name as the dataset where "
            "it can be trained on, so that evaluating what was trained on is noticed."
        )
    elif source.dataset.count("/") == 1:
        refuse_options(source, "split", "prompt_column", "completion_column", "config", "revision")
        hub = HubDataset(repository=source.dataset, config=source.config, revision=source.revision)
        records, origin = load_hub(hub, source.split, columns)
    else:
        raise UsageError(
            f"data: unknown dataset {source.dataset!r}. Use mbpp, apps, codesearchnet/LANG or tiny/SET/LANG, the "
            "path of a .jsonl file, or a hub id (owner/name)."
        )
    made = []
    for number, record in enumerate(records, start=1):
        prompt, completion = (record[column] for column in columns)
        for column, value in zip(columns, (prompt, completion), strict=True):
            if not isinstance(value, str):
                raise UsageError(
                    f"{source.dataset}, record {number}: {column!r} must be text, found {type(value).__name__}."
                )
        if not completion.strip():
            raise UsageError(f"{source.dataset}, record {number}: {source.completion_column!r} is empty.")
        made.append(
            Example(source=source.dataset, key=f"{source.dataset}:{number}", prompt=prompt, completion=completion)
        )
    return made, origin


def refuse_options(source: DataSource, *known: str) -> None:
    """Refuse options that mean nothing for a dataset, rather than pass over them.

    Raises:
        UsageError: an option that is not `known` has another value than its default; names it.
    """
    for name, field in DataSource.model_fields.items():
        if name not in (*known, "dataset", "weight", "limit") and getattr(source, name) != field.default:
            raise UsageError(
                f"data: {source.dataset} has no {name} (found {getattr(source, name)!r}); it takes "
                f"{', '.join((*known, 'weight', 'limit'))}."
            )
