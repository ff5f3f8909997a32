from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write() -> Callable[..., Path]:
    """Write records as JSONL, or one value as JSON; packed where the name ends in .gz."""

    def write_file(path: Path, *records: object) -> Path:
        lines = path.name.removesuffix(".gz").endswith(".jsonl")
        text = "".join(json.dumps(r) + "\n" for r in records) if lines else json.dumps(records[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
        return path

    return write_file
