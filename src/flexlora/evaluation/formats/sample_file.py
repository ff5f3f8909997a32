"""What every format of samples is to the rest: programs to run, and a results file of its own to write in the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from flexlora.errors import UsageError
from flexlora.evaluation.score import Estimate
from flexlora.execution.results_file import Results
from flexlora.execution.verdict import Program


class SampleFile(Protocol):
    """Samples in one format. Iterating reads the file anew each time and holds one sample (or problem) at a time."""

    format: str
    """The format's name for the user, e.g. `human-eval`."""
    task: str | None
    """The task whose tests the programs get; None where the file brings its own."""
    problems: int | None
    """How many problems the task has; None where that says nothing about this file."""

    def __iter__(self) -> Iterator[Program]:
        """The programs.

        Raises:
            UsageError: a sample is not as it must be; names file, line or entry, and value.
        """
        ...

    def native_results(self, folder: Path) -> list[Path]:
        """The results files that `write_native` makes in `folder`, none where the format has none."""
        ...

    def write_native(self, folder: Path, results: Results, scores: Mapping[int, Estimate]) -> None:
        """Write the format's own results files from the verdicts on all samples; `scores` holds pass@k by k."""
        ...


def stem(path: Path) -> str:
    """The file's name without `.gz` and without what stands before it: `a.json.gz` and `a.jsonl` are both `a`."""
    return Path(path.name.removesuffix(".gz")).stem


def field(record: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    """A field of a record that must be there and of one type.

    Raises:
        UsageError: it is not; `where` names file and line.
    """
    if isinstance(record.get(name), kind):
        return record[name]
    expected = {str: "text", list: "a list", bool: "true or false"}[kind]
    found = (
        f"it is {record[name]!r:.80}" if name in record else f"it is missing; found {', '.join(record) or 'nothing'}"
    )
    raise UsageError(f"{where}: `{name}` must be {expected}; {found}.")


def texts(values: Any, where: str) -> list[str]:
    """A list of texts, at least one.

    Raises:
        UsageError: it is something else; `where` names the file and the place in it.
    """
    if not isinstance(values, list):
        raise UsageError(f"{where}: expected a list of texts, found {values!r:.80}.")
    if not values:
        raise UsageError(f"{where}: the list is empty. Generate what is missing, or leave this problem out.")
    for number, value in enumerate(values, start=1):
        if not isinstance(value, str):
            raise UsageError(f"{where}, number {number}: expected a text, found {value!r:.80}.")
    return values
