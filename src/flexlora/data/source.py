"""Where records come from: the Hugging Face hub at a pinned revision, or a file under `data_dir`.

With a `data_dir` the file must be there: falling back to the hub would hide which data was used. Every load
returns the records with their `Origin`, which the run writes down.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flexlora.errors import UsageError
from flexlora.files import read_jsonl

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class HubDataset:
    """A dataset on the Hugging Face hub, pinned."""

    repository: str
    revision: str | None
    config: str | None = None
    files: str | None = None
    """Pattern of a split's files, with `{split}` in it; None leaves it to the repository's own description."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where records were read: provenance for `summary.json`."""

    source: str
    """A hub id or a file name."""
    revision: str | None
    """Hub revision, or None for a file."""
    sha256: str | None
    """Hash of the file, or of the hub's records; None for data made on the spot."""
    records: int
    notes: tuple[str, ...] = ()
    """What of the records could not be used, in words."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; notes only where there are any."""
        values = asdict(self) | {"notes": list(self.notes)}
        return {name: value for name, value in values.items() if name != "notes" or value}


def load_file(path: Path, columns: Iterable[str]) -> tuple[list[Record], Origin]:
    """Records of a JSONL file, each checked to have `columns`.

    Raises:
        UsageError: the file is missing, a line is damaged, or a column is missing; names file and line.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such data file.")
    records = []
    for number, record in read_jsonl(path):
        missing = [column for column in columns if column not in record]
        if missing:
            raise UsageError(f"{path}, line {number}: no column {missing[0]!r}; found {', '.join(record)}.")
        records.append(record)
    if not records:
        raise UsageError(f"{path}: the file holds no records.")
    return records, Origin(source=path.name, revision=None, sha256=hashed(path), records=len(records))


def hashed(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache  # a pinned revision does not change while the process runs, and every stage asks for it
def load_hub(dataset: HubDataset, split: str, columns: tuple[str, ...]) -> tuple[list[Record], Origin]:
    """Records of one split of a hub dataset, all in memory.

    Raises:
        UsageError: the hub cannot be reached, or has no such dataset, revision, split or column.
    """
    records = open_hub(dataset, split, columns).to_list()
    digest = hashlib.sha256(json.dumps(records, sort_keys=True, default=str).encode()).hexdigest()
    origin = Origin(source=dataset.repository, revision=dataset.revision, sha256=digest, records=len(records))
    return records, origin


def open_hub(dataset: HubDataset, split: str, columns: tuple[str, ...]) -> Any:
    """One split of a hub dataset as a `datasets.Dataset`, which reads records from disk as they are asked for.

    Raises:
        UsageError: the hub cannot be reached, or has no such dataset, revision, split or column.
    """
    import datasets

    named = f"{dataset.repository} (config {dataset.config or 'default'}, split {split})"
    try:
        loaded = datasets.load_dataset(
            dataset.repository,
            dataset.config,
            data_files=dataset.files and {split: dataset.files.format(split=split)},
            split=split,
            revision=dataset.revision,
            verification_mode="no_checks",
        )
    except Exception as error:  # `datasets` raises many unrelated types for the same few causes
        raise UsageError(
            f"hub dataset {named}: cannot be loaded: {type(error).__name__}: {error}. Check the name, the revision and "
            "the connection, or set data_dir to a folder with the files."
        ) from error
    missing = [column for column in columns if column not in loaded.column_names]
    if missing:
        raise UsageError(f"hub dataset {named}: no column {missing[0]!r}; found {', '.join(loaded.column_names)}.")
    return loaded


def load_benchmark(
    data_dir: Path | None, file: str, dataset: HubDataset, split: str, columns: tuple[str, ...]
) -> tuple[list[Record], Origin]:
    """Records of a known benchmark: from `data_dir / file` where a folder is given, else from the hub."""
    if data_dir is not None:
        if not (data_dir / file).is_file():
            raise UsageError(
                f"{data_dir / file}: no such data file. Check data_dir, or leave it out to load from the hub."
            )
        return load_file(data_dir / file, columns)
    return load_hub(dataset, split, columns)
