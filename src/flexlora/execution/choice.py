"""Words that an option may have."""

from __future__ import annotations

from enum import StrEnum

from flexlora.errors import UsageError


class Choice(StrEnum):
    """An option's words; another one is a UsageError that names those that there are."""

    @classmethod
    def _missing_(cls, value: object) -> Choice:
        raise UsageError(f"Unknown {cls.__name__.lower()} {value!r}. Known: {', '.join(cls)}.")
