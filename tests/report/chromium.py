"""What a test learns of a page that Chromium opened."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Opened:
    """What became of a page in a browser."""

    dom: str
    """Its HTML after its script ran."""
    console: list[str]
    """Errors, warnings and messages."""
    requests: list[str]
    """Addresses that the page asked for, apart from its own file."""
