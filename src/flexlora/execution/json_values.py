"""JSON with whole numbers of any length: Python reads none of more than 4300 digits, and APPS has some.

Such a number is kept as its digits: written as it was read, and equal to the same digits only.
"""

from __future__ import annotations

import json
from typing import Any

MOST_DIGITS = 4000


class Digits(str):
    """A whole number of more than `MOST_DIGITS` digits."""

    __slots__ = ()


def read(text: str) -> Any:
    """The value that a JSON text stands for.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def write(value: Any) -> str:
    """The JSON text of a value that `read` gave."""
    if isinstance(value, Digits):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(write, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)}: {write(item)}' for key, item in value.items())}}}"
    return json.dumps(value)


def _whole(digits: str) -> int | Digits:
    return int(digits) if len(digits) <= MOST_DIGITS else Digits(digits)
