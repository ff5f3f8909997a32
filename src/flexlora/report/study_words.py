"""A study's findings as people read them: the same words on the page and in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flexlora.evaluation import schema
from flexlora.report import words
from flexlora.report.words import BETTER, NO_DIFFERENCE, WORSE

if TYPE_CHECKING:
    from flexlora.studies.findings import (
        AreaDifference,
        Configuration,
        Findings,
        StudyComparison,
        StudyScore,
        Tradeoffs,
    )

PRIMARY, CONFIRMATORY, EXPLORATORY = KINDS = schema.KINDS
MOST_DRAWN = 8
"""Configurations with curves of their own; of more, those that were fixed beforehand."""
MOST_LINES = 10
"""Pairs of arms whose overview is unfolded."""
EXPLORED = (
    "Exploratory comparisons were not fixed beforehand: they suggest what to test, and show nothing by themselves."
)


def kind(comparison: StudyComparison) -> str:
    """`primary`, `confirmatory` or `exploratory`."""
    first = comparison["family"].split(maxsplit=1)[0]
    return first if first in KINDS else EXPLORATORY


def of_kind(findings: Findings, wanted: str) -> list[StudyComparison]:
    """All comparisons of one kind."""
    return [one for one in findings["comparisons"] if kind(one) == wanted]


def no_primary(findings: Findings) -> str:
    """Why there is no primary comparison: without results yet, or none fixed beforehand. Empty where it is there."""
    if of_kind(findings, PRIMARY):
        return ""
    planned = (findings["plan"].get("analysis") or {}).get("primary")
    if not planned:
        return "No primary comparison was fixed beforehand."
    return f"The primary comparison, {planned['config']} against {planned['against']}, has no results yet."


def side(config: str, variant: str) -> str:
    """`factors lam=0.02`, and the variant where it is not the plain adapter: `factors merged`."""
    return config if variant in ("adapter", "base", "baseline") else f"{config} {variant}"


def verdict(one: StudyComparison) -> str:
    """`better`, `worse` or `no difference shown`, by the corrected p-value."""
    if one["p_corrected"] >= words.SIGNIFICANCE or one["difference"] == 0:
        return NO_DIFFERENCE
    return BETTER if one["difference"] > 0 else WORSE


def families(findings: Findings) -> Counter[str]:
    """Family -> how many comparisons are corrected together."""
    return Counter(one["family"] for one in findings["comparisons"])


def p_text(one: StudyComparison, members: int) -> str:
    """`p = 0.03 after correction`; without the last words where it stands alone."""
    return words.p_text(one["p_corrected"]) + (" after correction" if members > 1 else "")


def headline(one: StudyComparison, members: int) -> str:
    """`Java +3.1 [+0.4, +5.9], p = 0.03 after correction`, and what that shows."""
    found = verdict(one)
    said = f", pass@{one['k']}" if one["k"] != 1 else ""
    return (
        f"{words.language_name(one['language'])} ({words.task_name(one['task'])}{said}) "
        f"{words.points(one['difference'])} {words.difference_range(one['low'], one['high'])}, {p_text(one, members)}: "
        f"{'not shown' if found == NO_DIFFERENCE else found}"
    )


def detectable(one: StudyComparison) -> str:
    """The least difference that such a comparison finds, in words."""
    return (
        f"A true difference of {words.percent(one['detectable'])} points or more would be found in four of five such "
        "studies."
    )


def sentence(one: StudyComparison, members: int) -> str:
    """One comparison in full."""
    who = f"{side(one['config'], one['variant'])} against {one['against']}"
    size = f"{words.count(len(one['seeds']), 'seed')}, {words.count(one['problems'], 'problem')}"
    ending = f" {detectable(one)}" if verdict(one) == NO_DIFFERENCE else ""
    return f"{who}: {headline(one, members)} ({size}).{ending}"


def overview(comparisons: Sequence[StudyComparison]) -> list[str]:
    """One line for each pair of sides and kind: on how many tasks better, worse, or neither."""
    verdicts: dict[tuple[str, str, str], Counter[str]] = {}
    for one in comparisons:
        pair = side(one["config"], one["variant"]), one["against"], kind(one)
        verdicts.setdefault(pair, Counter())[verdict(one)] += 1
    return [f"{config} against {other}: {words.spread(found)}" for (config, other, _), found in verdicts.items()]


def short_overview(comparisons: Sequence[StudyComparison]) -> list[str]:
    """`overview`; of many pairs only those with a difference, and how many others there are."""
    lines = overview(comparisons)
    if len(lines) <= MOST_LINES:
        return lines
    differ = {(one["config"], one["variant"], one["against"]) for one in comparisons if verdict(one) != NO_DIFFERENCE}
    shown = overview([one for one in comparisons if (one["config"], one["variant"], one["against"]) in differ])
    others = len(lines) - len(shown)
    return [*shown, f"{words.count(others, 'further pair')}: no difference shown on any task."] if others else shown


def method_note(findings: Findings) -> str:
    """What intervals and p-values are from."""
    methods = dict.fromkeys(one["method"] for one in findings["comparisons"])
    return (
        f"Differences are paired by seed and problem; 95 % intervals and p-values: {'; '.join(methods)}. P-values are "
        "corrected by Holm within each family of comparisons."
    )


def area_note(tradeoffs: Tradeoffs) -> str:
    """What an area is."""
    return (
        "Area that the best trade-off of an arm's points encloses, gain to the right and retention upwards, above "
        f"{words.points(tradeoffs['reference'])} points of retention, in hundredths. Training less moves along a "
        "curve, and never encloses more; a smaller area may be less training."
    )


def unfinished(findings: Findings) -> list[str]:
    """What of the study is not there yet, in sentences; none where all is."""
    if findings["finished"] >= findings["cells"] and not findings["failures"] and not findings["unfinished_bases"]:
        return []
    said = [f"{findings['finished']:,} of {words.count(findings['cells'], 'cell')} are finished."]
    waiting = [
        f"{one['name']} (seed{'s' if len(one['unfinished']) > 1 else ''} {', '.join(map(str, one['unfinished']))})"
        for one in findings["configurations"]
        if one["unfinished"]
    ]
    said += [f"Without results: {'; '.join(waiting)}."] if waiting else []
    bases = findings["unfinished_bases"]
    return said + ([f"Without a base, with which nothing is compared then: {', '.join(bases)}."] if bases else [])


def configurations(findings: Findings) -> list[str]:
    """All names with scores: the base and the baselines first, as they stand there."""
    return list(dict.fromkeys(one["config"] for one in findings["scores"]))


def only_base(findings: Findings) -> str | None:
    """The base that everything stands over; None where there are several, or where it has no scores."""
    scored = {one["config"] for one in findings["scores"] if one["variant"] == "base"}
    return next(iter(scored)) if len(scored) == 1 and not findings["unfinished_bases"] else None


def drawn(findings: Findings) -> list[Configuration]:
    """Configurations whose trainings are drawn."""
    every = [one for one in findings["configurations"] if one["seeds"]]
    if len(every) <= MOST_DRAWN:
        return every
    return ([one for one in every if one["confirmatory"]] or every)[:MOST_DRAWN]


def area_words(difference: AreaDifference | None, differences: int) -> str:
    """`+0.2 [−0.1, +0.5] against none, p = 0.2 after correction`, in square points over 100; empty for none.

    Args:
        differences: how many there are of the study.
    """
    if difference is None:
        return ""
    found = (
        f"{area(difference['difference'], True)} [{area(difference['low'], True)}, {area(difference['high'], True)}]"
    )
    corrected = " after correction" if differences > 1 else ""
    return f"{found} against {difference['against']}, {words.p_text(difference['p_corrected'])}{corrected}"


def area(value: float, signed: bool = False) -> str:
    """An area of shares by shares as hundredths of a square with sides of one: 0.0123 -> `1.23`."""
    text = f"{100 * value:{'+' if signed else ''}.2f}"
    return ("0.00" if text in ("+0.00", "-0.00") else text).replace("-", "−")


def sides_of(tradeoffs: Tradeoffs) -> tuple[str, str]:
    """What gain and retention are measured on."""
    return ", ".join(tradeoffs["gain"]), ", ".join(tradeoffs["retention"])


def score_text(one: StudyScore | None) -> str:
    """`34.2 [27.1, 41.9]`."""
    return f"{words.percent(one['estimate'])} {words.score_range(one['low'], one['high'])}" if one else ""


def measure_name(measure: str) -> str:
    """A paper's measure: a task is pass@1 on it."""
    named = {
        "validation_loss": "validation loss",
        "train_minutes": "training, minutes",
        "peak_memory_mb": "peak memory, MB",
    }
    return named.get(measure, f"{words.task_name(measure)}, pass@1 in %")
