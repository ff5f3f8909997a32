"""The audits of merges that lie in a run, or in a study's cell.

`flexlora merge RUN/ARM/train/adapter --output RUN/ARM/merged` leaves one there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexlora.errors import UsageError
from flexlora.report.merge import conclusion, merge_cells

AUDIT_FILE = "merge_audit.json"
DEPTHS = ("*", "*/*")
"""A folder of the run, or one of an arm's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """One merge."""

    folder: str
    """Relative to the run."""
    rows: list[tuple[bool, list[str]]]
    """Whether it was saved so, and the cells of `merge.COLUMNS`."""
    sentences: list[str]


def audits(run_dir: Path) -> list[Audit]:
    """All audits in a run's folders.

    Raises:
        UsageError: a file is damaged; names it.
    """
    files = sorted(file for depth in DEPTHS for file in run_dir.glob(f"{depth}/{AUDIT_FILE}"))
    return [_read(file, run_dir) for file in files]


def _read(file: Path, run_dir: Path) -> Audit:
    try:
        audit: dict[str, Any] = json.loads(file.read_bytes())
        chosen = audit["dtype"], audit["rounding"]
        return Audit(
            folder=str(file.parent.relative_to(run_dir)),
            rows=[
                ((row["dtype"], row["rounding"]) == chosen, merge_cells(row, audit["adapter_effect"]))
                for row in audit["rows"]
            ],
            sentences=[*audit["notes"], *conclusion(audit)],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{file}: not an audit of a merge ({error!r}). `flexlora merge` writes it; without it the page has none."
        ) from error
