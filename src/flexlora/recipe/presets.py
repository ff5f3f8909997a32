"""How published evaluations draw completions, as presets of `sampling`.

`greedy`: pass@1 of one greedy completion: Code Llama (arXiv 2308.12950, tables 2 and 4) and most papers since.

`pass@1`: nucleus sampling with p = 0.95 at temperature 0.2, as Codex (arXiv 2107.03374) found best for k = 1 and
MultiPL-E (arXiv 2208.08227) and StarCoder (arXiv 2305.06161) have it. They draw 200 completions; MultiPL-E's tutorial
finds 20 enough to estimate pass@1, so that is n here.

`pass@100`: pass@10 and pass@100 of 200 completions, p = 0.95 at temperature 0.8: Codex, MultiPL-E, Code Llama.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal["greedy", "pass@1", "pass@100"]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "greedy": {"n": 1, "temperature": 0.0, "top_p": 1.0, "k": (1,)},
    "pass@1": {"n": 20, "temperature": 0.2, "top_p": 0.95, "k": (1,)},
    "pass@100": {"n": 200, "temperature": 0.8, "top_p": 0.95, "k": (10, 100)},
}
FIXED = ("temperature", "top_p")
"""What makes a protocol; `n` and `k` may be others."""


def with_preset(values: Any) -> Any:
    """The values of a `sampling` section, with what its preset says for those that are not given."""
    preset = values.get("preset") if isinstance(values, Mapping) else None
    if not isinstance(preset, str) or preset not in PRESETS:
        return values  # none, or one that is refused by its type
    return {**PRESETS[preset], **values}


def against_preset(preset: str | None, values: Mapping[str, Any]) -> str | None:
    """What in a `sampling` section is not as its preset has it, in words."""
    if preset is None:
        return None
    for option in FIXED:
        if values[option] != (meant := PRESETS[preset][option]):
            return (
                f"{option} = {values[option]:g} is not what preset {preset!r} stands for ({meant:g}); remove one of "
                "the two (n and k may differ from the preset's)"
            )
    return None
