"""What a run knows of the machine it ran on, taken out of what is given away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from flexlora.files import write_json


def portable(value: Any) -> Any:
    """Plain values in which a path is only its last part: where it lay concerns nobody and is of use to nobody."""
    if isinstance(value, Mapping):
        # A stop token such as `/*` looks like a path.
        return {key: item if key == "stop_tokens" else portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    if isinstance(value, str) and value.startswith(("/", "~/")):
        return PurePosixPath(value).name or value
    return value


def rewrite_json(path: Path, changes: Mapping[str, Any]) -> None:
    """Take the machine's paths out of a folder's JSON file, and change some of its keys."""
    write_json(path, {**portable(json.loads(path.read_bytes())), **changes})
