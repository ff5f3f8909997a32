"""Correction of p-values for being several."""

from __future__ import annotations

from collections.abc import Mapping


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P-values corrected for being several, by Holm's step-down procedure.

    Returns:
        Name -> corrected p-value, in the order given: the false-positive rate over all of them is held, whatever
        their dependence.
    """
    order = sorted(p_values, key=lambda name: p_values[name])
    corrected: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[name]))
        corrected[name] = highest
    return {name: corrected[name] for name in p_values}
