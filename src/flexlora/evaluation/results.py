"""Reading one task's `results.jsonl` into what scores are made of: passes per problem and counts of statuses.

Nothing is dropped or filled in silently: a missing, unexpected or undecided result is an error that names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flexlora.errors import FlexError
from flexlora.execution.results_file import share_passed
from flexlora.files import Record, read_appended

Key = tuple[str, int]
"""(task_id, sample): what identifies a sample within a task."""

INFRASTRUCTURE_ERROR = "InfrastructureError"


@dataclass(frozen=True, slots=True)
class TaskResults:
    """The verdicts on one variant's samples for one task."""

    samples_per_problem: int
    passes: Mapping[str, int]
    """task_id -> how many of its samples passed."""
    statuses: Mapping[str, int]
    """status -> how many samples; OutOfMemory and OutputLimit stand here under their own names."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """task_id -> share of its test cases that passed, in the mean over its samples; empty where programs have none."""


def read_results(path: Path, expected: Iterable[Key] | None = None) -> TaskResults:
    """Read the verdicts in `path`, checked against the `expected` keys (None: against each other).

    Files are append-only, so a key that occurs twice was run again and its last record counts.

    Raises:
        FlexError: no results, results missing or not expected, an InfrastructureError, or problems with
            different numbers of samples; names the keys.
    """
    records = {_key(path, record): record for record in read_appended(path)}
    if not records:
        raise FlexError(f"{path}: holds no results. Run `flexlora execute` on this run first.")
    _refuse_infrastructure_errors(path, records)
    keys = set(records) if expected is None else set(expected)
    if missing := sorted(keys - set(records)):
        raise FlexError(
            f"{path}: {len(missing)} of {len(keys)} results are missing ({name_some(missing)}). "
            "Run the same command again; it executes only what is missing."
        )
    if unexpected := sorted(set(records) - keys):
        raise FlexError(
            f"{path}: {len(unexpected)} results belong to no sample of this task ({name_some(unexpected)}). "
            "The file is from another recipe; run with --overwrite or another --output."
        )
    samples = Counter(task_id for task_id, _ in records)
    most = max(samples.values())
    if uneven := sorted((task_id, i) for task_id in samples for i in range(most) if (task_id, i) not in records):
        raise FlexError(
            f"{path}: problems have different numbers of samples (up to {most}); "
            f"missing: {name_some(uneven)}. Run the same command again to complete them."
        )
    passes = dict.fromkeys(sorted(samples), 0)
    for (task_id, _), record in records.items():
        passes[task_id] += bool(record["passed"])
    statuses = Counter(str(record["status"]) for record in records.values())
    return TaskResults(most, passes, dict(statuses.most_common()), _shares(path, records, most))


def _shares(path: Path, records: Mapping[Key, Record], samples: int) -> dict[str, float]:
    found = {key: share for key, record in records.items() if (share := share_passed(record)) is not None}
    if without := sorted(set(records) - set(found)) if found else []:
        raise FlexError(
            f"{path}: {len(without)} results do not say how many tests passed ({name_some(without)}), while the others "
            "do. Run them again with --overwrite."
        )
    shares: dict[str, float] = {}
    for (task_id, _), share in sorted(found.items()):
        shares[task_id] = shares.get(task_id, 0.0) + share / samples
    return shares


def name_some(names: Sequence[str | Key], most: int = 5) -> str:
    """The first few names and how many more there are, for an error message."""
    shown = [name if isinstance(name, str) else f"{name[0]} sample {name[1]}" for name in names[:most]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _key(path: Path, record: Record) -> Key:
    missing = [field for field in ("task_id", "sample", "status", "passed") if field not in record]
    if missing:
        raise FlexError(f"{path}: a record lacks {', '.join(missing)}: {record!r:.200}. Is this a results.jsonl?")
    return str(record["task_id"]), int(record["sample"])


def _refuse_infrastructure_errors(path: Path, records: Mapping[Key, Record]) -> None:
    broken = sorted(key for key, record in records.items() if record["status"] == INFRASTRUCTURE_ERROR)
    if broken:
        raise FlexError(
            f"{path}: {len(broken)} of {len(records)} samples have no verdict because the harness failed "
            f"({name_some(broken)}). That says nothing about the model, so no score is made. Their `stderr` says "
            "why; `flexlora doctor` checks this machine, and running the same command again retries them."
        )
