"""`report.html` of a search: the front as a picture, every trial in a table. One page, nothing fetched, no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flexlora.report.rendering import write_page
from flexlora.report.search_words import (
    CONTROL,
    MATTERED,
    VALIDATION_ONLY,
    counted,
    importance_rows,
    in_words,
    shown,
    unit,
    values_line,
)

if TYPE_CHECKING:
    from flexlora.studies.search.findings import SearchFindings, TrialRecord
    from flexlora.studies.search.signals import Side

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 400, 64, 16, 16, 48
STEPS = (1, 2, 2.5, 5, 10)
TICKS = 6


@dataclass(frozen=True, slots=True)
class Dot:
    """A finished trial: its place, the ends of its intervals, and what it is, in words."""

    x: float
    y: float
    left: float
    right: float
    bottom: float
    top: float
    kind: str
    """`chosen`, `front` or `other`."""
    words: str


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to a drawing's coordinates."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The coordinate of a value."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Round values, about as many as are read easily."""
        wanted = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(wanted))
        step = next(step * power for step in STEPS if step * power >= wanted)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [round(i * step, 10) for i in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Picture:
    """Gain to the right, retention upwards; the base is at the lines of zero."""

    x: Scale
    y: Scale
    dots: list[Dot]
    front: str
    """The front as points of a line."""
    x_label: str
    y_label: str


def write_search_report(folder: Path, findings: SearchFindings) -> Path:
    """Write `report.html` of a search, and return its path.

    Raises:
        FlexError: it cannot be written.
    """
    choice = findings["choice"]
    by_number = {one["number"]: one for one in findings["trials"]}
    context = {
        "findings": findings,
        "counted": counted(findings),
        "chosen": by_number[choice["trial"]] if choice else None,
        "picture": picture(findings),
        "trials": [one for one in findings["trials"] if one["state"] != "waiting"],
        "importances": importance_rows(findings),
        "mattered": MATTERED,
        "in_words": in_words,
        "values_line": values_line,
        "notes": (VALIDATION_ONLY, CONTROL),
        "frame": (WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM),
    }
    return write_page(folder / "report.html", "search.html.j2", (), "", context, styles=("page.css", "search.css"))


def picture(findings: SearchFindings) -> Picture | None:
    """The finished trials as dots with intervals; None where there is none."""
    done = [
        (one, one["gain"], one["retention"])
        for one in findings["trials"]
        if one["gain"] is not None and one["retention"] is not None
    ]
    if not done:
        return None
    x = _scale([gain for _, gain, _ in done], LEFT, WIDTH - RIGHT)
    y = _scale([kept for _, _, kept in done], HEIGHT - BOTTOM, TOP)
    dots = {one["number"]: _dot(one, gain, kept, x, y, _kind(one, findings)) for one, gain, kept in done}
    return Picture(
        x=x,
        y=y,
        dots=sorted(dots.values(), key=lambda dot: ("other", "front", "chosen").index(dot.kind)),
        front=" ".join(f"{dots[number].x},{dots[number].y}" for number in findings["front"]),
        x_label=f"source gain, {unit(done[0][1])}",
        y_label=f"target retention, {unit(done[0][2])}",
    )


def _kind(one: TrialRecord, findings: SearchFindings) -> str:
    if findings["choice"] is not None and findings["choice"]["trial"] == one["number"]:
        return "chosen"
    return "front" if one["number"] in findings["front"] else "other"


def _scale(sides: Sequence[Side], start: float, end: float) -> Scale:
    values = [shown(side, value) for side in sides for value in (side["low"], side["high"], side["estimate"], 0.0)]
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 1.0
    return Scale(low - room, high + room, start, end)


def _dot(one: TrialRecord, gain: Side, kept: Side, x: Scale, y: Scale, kind: str) -> Dot:
    return Dot(
        x=x.at(shown(gain, gain["estimate"])),
        y=y.at(shown(kept, kept["estimate"])),
        left=x.at(shown(gain, gain["low"])),
        right=x.at(shown(gain, gain["high"])),
        bottom=y.at(shown(kept, kept["low"])),
        top=y.at(shown(kept, kept["high"])),
        kind=kind,
        words=f"trial {one['number']}: gain {in_words(gain)}, retention {in_words(kept)}; {values_line(one)}",
    )
