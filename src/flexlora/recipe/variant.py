"""What of a run is evaluated: the base, an arm's adapter at full strength or at another, and the merged model."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator

FIXED = ("base", "adapter", "merged")
AT = "adapter@"
STRONGEST = 2.0
"""Twice the update: what is asked for beyond that is more likely a slip of the keyboard."""


def _variant(variant: str) -> str:
    """A variant as folders are named after it: `adapter@0.50` is `adapter@0.5`."""
    if not variant.startswith(AT):
        if variant not in FIXED:
            raise ValueError(
                f"there are {', '.join(FIXED)} and {AT}NUMBER, the adapter at a strength (found {variant!r})"
            )
        return variant
    try:
        strength = float(variant.removeprefix(AT))
    except ValueError:
        strength = math.nan
    if strength in (0.0, 1.0):
        name = "adapter" if strength else "base"
        raise ValueError(f"{variant} is the {name}; write {name}")
    if not 0 < strength <= STRONGEST:
        raise ValueError(f"a strength is a number above 0 and at most {STRONGEST:g}, as in {AT}0.5 (found {variant!r})")
    short = f"{strength:g}"
    return AT + (short if float(short) == strength else repr(strength))


Variant = Annotated[str, AfterValidator(_variant)]
"""`base`, `adapter`, `merged`, or `adapter@0.5`: the base's weights plus half of the adapter's update."""


def strength_of(variant: str) -> float:
    """What multiplies the adapter's update: 0.5 of `adapter@0.5`, 1 of `adapter`."""
    return float(variant.removeprefix(AT)) if variant.startswith(AT) else 1.0
