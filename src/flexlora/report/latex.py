"""Tables for papers: LaTeX with booktabs, and CSV with every digit."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": r"$-$",
    "→": r"$\rightarrow$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "…": r"\ldots{}",
    "\u00a0": "~",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: as people read it, and the records behind it."""

    name: str
    """Of its files, without an ending."""
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    """A cell for every column, as text; the first column is on the left, the others on the right."""
    records: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    """For CSV: numbers as they are, all with the same keys."""
    notes: Sequence[str] = ()
    """To be read wherever the table stands."""


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is; line breaks become spaces, control characters go."""
    clean = re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", "", re.sub(r"\s*\n\s*", " ", text))
    return "".join(_SPECIAL.get(character, character) for character in clean)


def latex(table: Table) -> str:
    """The table as a `table` environment; its document needs `\\usepackage{booktabs}` and `[T1]{fontenc}`."""
    return "\n".join(
        (
            "% needs \\usepackage[T1]{fontenc} and \\usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering",
            f"  \\caption{{{escaped(table.caption)}}}",
            f"  \\label{{tab:flex-{table.name}}}",
            f"  \\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            r"    \toprule",
            f"    {_row(table.columns)}",
            r"    \midrule",
            *(f"    {_row(row)}" for row in table.rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            *(f"\n  \\par\\smallskip\\footnotesize {escaped(note)}" for note in table.notes),
            r"\end{table}",
            "",
        )
    )


def comma_separated(table: Table) -> str:
    """The table's records as CSV, with a line of names first."""
    text = io.StringIO()
    names = list(table.records[0]) if table.records else list(table.columns)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_value(record[name]) for name in names] for record in table.records)
    return text.getvalue()


def _row(cells: Sequence[str]) -> str:
    # An opening bracket after a row's end would be read as its argument, and as one of the row's first cell.
    return " & ".join(f"{{}}{cell}" if cell.startswith("[") else cell for cell in map(escaped, cells)) + r" \\"


def _value(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else "" if value is None else value
