"""What a run knows of the machine it ran on, taken out of what is given away."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
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
    return PurePosixPath(value).name if isinstance(value, str) and _is_place(value) else value


def told_apart(names: Iterable[str]) -> dict[str, str]:
    """Names of models as `portable` has them, but folders of one name with the folder around each."""
    last = {name: portable(name) for name in names}
    twice = {short for short, count in Counter(last.values()).items() if count > 1}
    return {name: "/".join(PurePosixPath(name).parts[-2:]) if short in twice else short for name, short in last.items()}


def _is_place(text: str) -> bool:
    """A path of two parts or more, or one that is there; a special token such as `/no_think` is neither."""
    parts = text.strip("/").split("/")
    return text.startswith(("/", "~/")) and all(parts) and (len(parts) > 1 or Path(text).exists())


def rewrite_json(path: Path, changes: Mapping[str, Any]) -> None:
    """Take the machine's paths out of a folder's JSON file, and change some of its keys."""
    write_json(path, {**portable(json.loads(path.read_bytes())), **changes})
