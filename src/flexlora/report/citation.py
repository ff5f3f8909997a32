"""How to cite FLeX and one run or study of it: BibTeX with the version and a hash that tells this one from another."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from flexlora.report.latex import escaped
from flexlora.version import __version__

PAPER = "FLeX: Fourier-based Low-rank EXpansion for multilingual transfer"
"""Title of the paper whose method this is."""


def citation(what: str, name: str, file: Path, provenance: dict[str, Any]) -> str:
    """Two entries: the program, and the run or study.

    Args:
        what: `run` or `study`.
        name: of the run or study.
        file: whose SHA-256 stands for it, as `summary.json`; one that is missing leaves the hash out.
        provenance: says which version made it.
    """
    made_by = provenance.get("environment", {}).get("flexlora") or __version__
    key = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or what
    digest = f"SHA-256 of its {escaped(file.name)}: {_hash(file)}" if file.exists() else ""
    return "\n\n".join(
        (
            _entry(
                "software",
                "flex",
                {
                    "author": "{The FLeX authors}",
                    "title": "{FLeX}: {LoRA} with a {Fourier} penalty, measured by running programs",
                    "version": made_by,
                    "note": f"Python package flexlora. Implements the paper ``{PAPER}''",
                },
            ),
            _entry(
                "misc",
                f"flex-{what}-{key}",
                {"title": f"{{{escaped(name)}}}, a {what} of {{FLeX}} {made_by}", "note": digest},
            ),
        )
    )


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items() if value)
    return f"@{kind}{{{key},\n{lines}}}"


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
