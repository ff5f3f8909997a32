"""Interval plots and curves as SVG files for papers: the same figures as on the pages, with the colours of print.

Text stays text. Widths of text are estimated, generously, so that nothing overlaps in whatever font stands in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from flexlora.report.curves import Curve, Panel
from flexlora.report.figures import Figure, Group, Row

INK, SOFT, RULE = "#1b1d22", "#5d626d", "#dfe0dc"
OF_VARIANT = {"base": "#6b7078", "adapter": "#1f66c9", "merged": "#c2570c", "baseline": "#7a3fb3"}
OF_CURVE = ("#1f66c9", "#c2570c", "#14713c", "#7a3fb3", "#b3266b", "#5d626d")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4", "12 3")
SIZE = 11
CHARACTER = 0.56 * SIZE
"""Width of a character, in the mean, of a wide sans-serif font."""
TRACK, ROW, GROUP = 320, 19, 24
CHART, HEIGHT, MARGIN, LEGEND = 300, 190, 52, 18


def plot_svg(figure: Figure) -> str:
    """An interval plot, as high and wide as its rows need."""
    rows = [row for group in figure.groups for row in group.rows]
    left = 14 + max(_width(row.label) for row in rows)
    values = [f"{row.value} {row.range}{'   ' + row.note if row.note else ''}" for row in rows]
    # A heading stands over the track too, and may be longer than both.
    width = max(left + TRACK + 22 + max(map(_width, values)), *(24 + _width(_heading(g)) for g in figure.groups))
    parts = [_text(0, 14, f"{figure.title}, {figure.unit}", weight=True)]
    top = 22.0
    for group in figure.groups:
        parts.append(_text(0, top + 16, _heading(group), fill=SOFT))
        start = top + GROUP
        top = start + ROW * len(group.rows)
        lines = [(tick.at, RULE, "") for tick in figure.ticks]
        lines += [(group.line, OF_VARIANT["base"], "4 3")] if group.line is not None else []
        for at, colour, dashes in lines:
            x = _across(left, at)
            parts.append(_line(x, start, x, top, colour, dashes=dashes))
        for number, row in enumerate(group.rows):
            parts += _row(row, left, start + ROW * number + ROW / 2)
    parts += [_text(_across(left, tick.at), top + 14, tick.label, anchor="middle", fill=SOFT) for tick in figure.ticks]
    return _document(width, top + 22, parts)


def panel_svg(panel: Panel, names: Sequence[str]) -> str:
    """One panel of curves, with a legend below where several are drawn.

    Args:
        names: of all curves, by the numbers that choose their colours.
    """
    shown = list(dict.fromkeys(curve.index for curve in panel.curves)) if len(names) > 1 else []
    title = f"{panel.title}{f' by {panel.by}' if panel.by else ''}"
    width = max(MARGIN + CHART + 16, _width(title) + 8, *(MARGIN + 46 + _width(names[at]) for at in shown))
    parts = [_text(0, 14, title, weight=True)]
    for at, label in panel.y_ticks:
        y = 28 + HEIGHT * at / 100
        parts += [_line(MARGIN, y, MARGIN + CHART, y, RULE), _text(MARGIN - 6, y + 4, label, anchor="end", fill=SOFT)]
    for at, label in panel.x_ticks:
        parts.append(_text(MARGIN + CHART * at / 100, 28 + HEIGHT + 16, label, anchor="middle", fill=SOFT))
    if panel.level is not None:
        y = 28 + HEIGHT * panel.level / 100
        parts.append(_line(MARGIN, y, MARGIN + CHART, y, OF_VARIANT["base"], dashes="4 3"))
    if panel.threshold is not None:
        x = MARGIN + CHART * panel.threshold / 100
        parts.append(_line(x, 28, x, 28 + HEIGHT, INK))
    for curve in panel.curves:
        if curve.band:
            fill = OF_CURVE[curve.index % len(OF_CURVE)]
            parts.append(f'<polygon points="{_placed(curve.band)}" fill="{fill}" fill-opacity="0.13"/>')
    for curve in panel.curves:
        parts += _curve(curve)
    bottom = 28 + HEIGHT + 26.0
    for at in shown:
        parts.append(_line(MARGIN, bottom + 8, MARGIN + 30, bottom + 8, *_style(at), width=1.8))
        parts.append(_text(MARGIN + 38, bottom + 12, names[at]))
        bottom += LEGEND
    return _document(width, bottom + 4, parts)


def _row(row: Row, left: float, y: float) -> Iterable[str]:
    variant, at_part, _ = row.variant.partition("@")
    colour = OF_VARIANT[variant]
    x = _across(left, row.at)
    yield _text(0, y + 4, row.label)
    if row.bar:
        start = _across(left, 0)
        yield (
            f'<rect x="{start:.1f}" y="{y - 6:.1f}" width="{x - start:.1f}" height="12" fill="{colour}" '
            'fill-opacity="0.28"/>'
        )
    for dot in row.dots:
        at = _across(left, dot)
        yield _line(at, y - 4, at, y + 4, INK, opacity=0.45, width=0.8)
    yield _line(_across(left, row.low), y, _across(left, row.high), y, colour, width=2)
    if not row.bar:
        # An adapter at a part of its strength is hollow.
        mark = f'fill="#ffffff" stroke="{colour}"' if at_part else f'fill="{colour}" stroke="#ffffff"'
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {mark}/>'
    note = f"   {row.note}" if row.note else ""
    yield _text(left + TRACK + 16, y + 4, f"{row.value} {row.range}{note}")


def _curve(curve: Curve) -> Iterable[str]:
    colour, dashes = _style(curve.index)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    if curve.single is None:
        yield (
            f'<polyline points="{_placed(curve.points)}" fill="none" stroke="{colour}" stroke-width="1.8" '
            f'stroke-linejoin="round"{dashed}/>'
        )
    else:
        yield _dot(*curve.single, colour)
    for mark in curve.marks:
        x, y = _x(mark.x), _y(mark.y)
        if mark.across:
            yield _line(_x(mark.across[0]), y, _x(mark.across[1]), y, colour, opacity=0.65)
        if mark.along:
            yield _line(x, _y(mark.along[0]), x, _y(mark.along[1]), colour, opacity=0.65)
        yield _dot(mark.x, mark.y, colour)


def _style(index: int) -> tuple[str, str]:
    """Colour and dashes of a curve; after all colours, the dashes are others."""
    turns = index // len(OF_CURVE)
    return OF_CURVE[index % len(OF_CURVE)], DASHES[(index + turns) % len(DASHES)]


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="3.2" fill="{colour}"/>'


def _placed(points: str) -> str:
    """Points in a box of 1000 x 1000, where the chart is."""
    pairs = (pair.split(",") for pair in points.split())
    return " ".join(f"{_x(float(x)):.1f},{_y(float(y)):.1f}" for x, y in pairs)


def _x(x: float) -> float:
    return MARGIN + CHART * x / 1000


def _y(y: float) -> float:
    return 28 + HEIGHT * y / 1000


def _across(left: float, at: float) -> float:
    return left + TRACK * at / 100


def _heading(group: Group) -> str:
    return f"{group.title}  {group.subtitle}"


def _width(text: str) -> float:
    return CHARACTER * len(text)


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, dashes: str = "", *, width: float = 1, opacity: float = 1
) -> str:
    more = f' stroke-dasharray="{dashes}"' if dashes else ""
    more += f' stroke-opacity="{opacity:g}"' if opacity != 1 else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:g}"{more}/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", fill: str = INK, weight: bool = False) -> str:
    bold = ' font-weight="bold"' if weight else ""
    shown = escape("".join(character for character in text if character.isprintable()))
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}"{bold} xml:space="preserve">{shown}</text>'
    )


def _document(width: float, height: float, parts: Iterable[str]) -> str:
    size = f'width="{width + 16:.0f}" height="{height + 8:.0f}" viewBox="-8 -2 {width + 16:.0f} {height + 8:.0f}"'
    body = "\n".join(parts)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica, Arial, sans-serif" '
        f'font-size="{SIZE}">\n<rect x="-8" y="-2" width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )
