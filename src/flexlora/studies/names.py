"""Names: of a grid's values, of configurations, and of cells as folders."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

LONGEST = 140
"""Of a folder's name; file systems end at 255 bytes, and partial files and logs add to it."""


def value_name(value: Any) -> str | None:
    """A value of a grid as part of a name: `0.02`, `mlp`, `q_proj+v_proj`; None for one that needs a name given."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, int | str):
        return "-".join(str(value).split()) or None
    if isinstance(value, list | tuple):
        parts = [None if isinstance(part, list | tuple) else value_name(part) for part in value]
        return "+".join(part for part in parts if part is not None) if parts and None not in parts else None
    return None


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Dotted key -> its last part, or the whole of it where another ends alike."""
    keys = list(keys)
    last = [key.rsplit(".", 1)[-1] for key in keys]
    return {key: end if last.count(end) == 1 else key for key, end in zip(keys, last, strict=True)}


def configuration_name(arm: str, point: Mapping[str, str], keys: Mapping[str, str]) -> str:
    """`factors lam=0.02 targets=mlp`.

    Args:
        point: dotted key -> the value's name.
        keys: dotted key -> the key in names.
    """
    return " ".join([arm, *(f"{keys[key]}={value}" for key, value in point.items())])


def folder_name(name: str) -> str:
    """A name as that of one folder or file: letters, digits and `.,_=+@-`; another for every name."""
    flat = name.replace(" ", ",").replace("/", "--")
    safe = re.sub(r"[^A-Za-z0-9.,_=+@-]", "-", flat)
    if safe == flat and len(safe) <= LONGEST and not safe.startswith((".", "-")):
        return safe
    return f"{safe.lstrip('.-')[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
