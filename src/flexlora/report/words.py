"""Numbers and verdicts as people read them, the same in the terminal and on the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from flexlora.data.overlap_words import NAMED, sentences
from flexlora.evaluation.compare import EXACT_MCNEMAR
from flexlora.evaluation.schema import Comparison, PassAtK, Share, Side, Summary
from flexlora.recipe import EMBEDDED

SIGNIFICANCE = 0.05
STRICT = "Strict: pass@1, where a program passes if all its tests do. Tests: the share of its tests that it passed."
TINY = (
    "The tiny model has three million parameters, and its problems are generated: this shows the method at work, "
    "and says nothing about large models."
)
VERDICTS = BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no difference shown"
RESOURCE_LIMITS = ("OutOfMemory", "OutputLimit")
STATUS_ORDER = ("OK", "SyntaxError", "Exception", "Timeout", *RESOURCE_LIMITS)

LANGUAGE_NAMES = {
    "py": "Python",
    "java": "Java",
    "cpp": "C++",
    "cs": "C#",
    "js": "JavaScript",
    "ts": "TypeScript",
    "php": "PHP",
    "sh": "Bash",
    "go": "Go",
    "rs": "Rust",
    "rb": "Ruby",
    "lua": "Lua",
    "pl": "Perl",
    "r": "R",
    "jl": "Julia",
    "rkt": "Racket",
    "scala": "Scala",
    "d": "D",
    "swift": "Swift",
}


class CasesRow(NamedTuple):
    """One line on programs with test cases, numbers in percent as they are shown."""

    task: str
    name: str
    part: str | None
    """None: all problems of the task."""
    problems: int
    strict: str
    """pass@1; empty where the run does not report it."""
    strict_range: str
    share: str
    share_range: str


def language_name(code: str) -> str:
    """`cpp` -> `C++`; an unknown code as it is."""
    return LANGUAGE_NAMES.get(code, code)


def task_name(task: str) -> str:
    """A task as it is, a file of tasks without its folder."""
    return PurePosixPath(task).name if task.endswith(".jsonl") else task


def count(number: int, word: str) -> str:
    """`1 problem`, `1,200 problems`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """0.342 -> `34.2`."""
    return f"{100 * share:.1f}"


def points(difference: float) -> str:
    """0.032 -> `+3.2`, -0.013 -> `−1.3` (a minus sign, not a hyphen), 0 -> `0.0`."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def p_text(p_value: float) -> str:
    """`p = 0.18`, or `p < 0.001`; more digits where rounding would land on the line between verdicts."""
    if p_value < 0.001:
        return "p < 0.001"
    text = f"{p_value:.2g}"
    return f"p = {p_value:.4g}" if float(text) == SIGNIFICANCE else f"p = {text}"


def score_range(low: float, high: float) -> str:
    """`[27.1, 41.9]`, in percent."""
    return f"[{percent(low)}, {percent(high)}]"


def difference_range(low: float, high: float) -> str:
    """`[−1.3, +7.6]`, in points."""
    return f"[{points(low)}, {points(high)}]"


def side_name(side: Side) -> str:
    """`base`, `main/adapter`, or `baseline MODEL`."""
    if side["arm"]:
        return f"{side['arm']}/{side['variant']}"
    return f"baseline {side['model']}" if side["variant"] == "baseline" else side["variant"]


def score_name(score: Side, scores: Sequence[Side]) -> str:
    """`side_name`, with a baseline's model as short as can be.

    It goes without its owner or folder unless that is what tells two of `scores` apart.
    """
    if score["variant"] != "baseline":
        return side_name(score)
    short = PurePosixPath(score["model"]).name
    twins = {other["model"] for other in scores if PurePosixPath(other["model"]).name == short}
    return f"baseline {short if len(twins) == 1 else score['model']}"


def verdict(comparison: Comparison) -> str:
    """`better`, `worse` or `no difference shown`, by p < 0.05."""
    if comparison["p_value"] >= SIGNIFICANCE or comparison["difference"] == 0:
        return NO_DIFFERENCE
    return BETTER if comparison["difference"] > 0 else WORSE


def sentence(comparison: Comparison, problems: int, against: str | None = None, *, among: int = 1) -> str:
    """One comparison in words: how much, how sure, and what that shows.

    Args:
        problems: how many problems the comparison is over.
        against: what to call the other side; by default its arm and variant.
        among: how many comparisons its p-value has been corrected for.
    """
    corrected = " after correction" if among > 1 else ""
    metric = "" if comparison["k"] == 1 else f" pass@{comparison['k']}"
    decided = verdict(comparison)
    words = f"{decided} {'at' if decided == NO_DIFFERENCE else 'on'} {count(problems, 'problem')}"
    return (
        f"{language_name(comparison['language'])} ({task_name(comparison['task'])}): {side_name(comparison)}{metric} "
        f"{points(comparison['difference'])} points {difference_range(comparison['low'], comparison['high'])} "
        f"against {against or side_name(comparison['against'])}, {p_text(comparison['p_value'])}{corrected}: {words}."
    )


def problems_of(summary: Summary, comparison: Comparison) -> int:
    """How many problems a comparison of this summary is over."""
    return next(
        score["problems"]
        for score in summary["scores"]
        if (side_name(score), score["task"]) == (side_name(comparison), comparison["task"])
    )


def overview(comparisons: Sequence[Comparison]) -> list[str]:
    """One sentence for each pair of sides and k: on how many tasks better, worse, or neither."""
    verdicts: dict[tuple[str, str, int], Counter[str]] = {}
    for one in comparisons:
        pair = side_name(one), side_name(one["against"]), one["k"]
        verdicts.setdefault(pair, Counter())[verdict(one)] += 1
    return [
        f"{side} against {other}{'' if k == 1 else f', pass@{k}'}: {spread(found)}"
        for (side, other, k), found in verdicts.items()
    ]


def spread(found: Counter[str], word: str = "task") -> str:
    """`better on 1, no difference shown on 7 of 8 tasks.`"""
    every = count(found.total(), word)
    if len(found) == 1:
        (decided,) = found
        if found.total() == 1:
            return f"{decided}."
        return f"{decided} on {f'both {word}s' if found.total() == 2 else f'all {every}'}."
    return ", ".join(f"{decided} on {found[decided]}" for decided in VERDICTS if found[decided]) + f" of {every}."


def tests_rows(summary: Summary) -> list[CasesRow]:
    """How programs with test cases fared: a row for each score, then one for each part of its problems."""
    rows = []
    for score in summary["scores"]:
        if "tests_passed" not in score:
            continue
        name = score_name(score, summary["scores"])
        rows.append(_tests_row(score["task"], name, None, score["problems"], score["pass_at_k"], score["tests_passed"]))
        rows += [
            _tests_row(score["task"], name, part, of["problems"], of["pass_at_k"], of["tests_passed"])
            for part, of in score.get("parts", {}).items()
            if "tests_passed" in of
        ]
    return rows


def _tests_row(
    task: str, name: str, part: str | None, problems: int, pass_at_k: dict[str, PassAtK], share: Share
) -> CasesRow:
    strict = pass_at_k.get("1")
    return CasesRow(
        task,
        name,
        part,
        problems,
        percent(strict["estimate"]) if strict else "",
        score_range(strict["low"], strict["high"]) if strict else "",
        percent(share["estimate"]),
        score_range(share["low"], share["high"]),
    )


def data_notes(summary: Summary) -> list[str]:
    """What of the tasks' data could not be evaluated."""
    tasks = summary["provenance"].get("tasks", {})
    return [f"{note}." for task in tasks.values() for note in task.get("data", {}).get("notes", ())]


def is_humaneval(task: str) -> bool:
    """Whether it is HumanEval, or MultiPL-E's translation of it."""
    return task == "humaneval" or task.startswith("multipl-e/humaneval/")


def chance_note(comparisons: Sequence[object]) -> str:
    """What to bear in mind about many comparisons at once; empty for a single one."""
    if len(comparisons) < 2:
        return ""
    return (
        f"The {len(comparisons)} p-values are not corrected for one another: if nothing differed, about "
        f"{SIGNIFICANCE * len(comparisons):.1f} of them would still fall below {SIGNIFICANCE}."
    )


def corrected(comparisons: Sequence[Comparison], p_values: Sequence[float]) -> list[Comparison]:
    """The comparisons with corrected p-values in place of their own."""
    return [{**one, "p_value": p_value} for one, p_value in zip(comparisons, p_values, strict=True)]


def flips(comparison: Comparison, most: int) -> list[str]:
    """`gained 2: HumanEval/1, HumanEval/7`, and what was lost; of many problems, the first.

    Args:
        most: problems of a line.
    """
    lines = []
    for kind, task_ids in (("gained", comparison["gained"]), ("lost", comparison["lost"])):
        if task_ids:
            rest = len(task_ids) - most
            named = ", ".join(task_ids[:most]) + (f" and {rest} more (--json has all)" if rest > 0 else "")
            lines.append(f"{kind} {len(task_ids)}: {named}")
    return lines


def method_note(comparisons: Sequence[Comparison]) -> str:
    """What the intervals and p-values are from; empty where nothing was compared."""
    methods = dict.fromkeys(one["method"] for one in comparisons)
    if not methods:
        return ""
    note = f"Differences: 95 % intervals from a paired bootstrap over problems, p-values from {' and '.join(methods)}"
    return note + (", which is the stricter where few problems flipped." if EXACT_MCNEMAR in methods else ".")


def tiny_note(summary: Summary) -> str:
    """That scores are of the embedded model; empty where none is."""
    scores: list[Side] = [*summary["scores"], *summary.get("likelihood", {"scores": []})["scores"]]
    if not any(score["model"] == EMBEDDED for score in scores):
        return ""
    return TINY


def resource_note(summary: Summary) -> str:
    """How many samples ran into memory or output limits; empty where none did."""
    found = {limit: sum(score["statuses"].get(limit, 0) for score in summary["scores"]) for limit in RESOURCE_LIMITS}
    if not any(found.values()):
        return ""
    listed = " and ".join(f"{samples} in {limit}" for limit, samples in found.items() if samples)
    return f"Resource limits: {listed}. These samples count as not passed and are listed apart."


def overlap_notes(summary: Summary, named: int | None = NAMED) -> list[str]:
    """What the tasks share with the training data; none where nothing was trained, or by an earlier version.

    Args:
        named: how many problems of a kind, or tasks, are named; None names all.
    """
    found = summary["provenance"].get("overlap", [])
    return [
        f"Shared with the training data{' of ' + ', '.join(one['arms']) if len(found) > 1 else ''}: {line}"
        for one in found
        for line in sentences(one["tasks"], named)
    ]


def statuses_in_order(summary: Summary) -> list[str]:
    """All statuses that occur, the well-known ones first."""
    occurring = {status for score in summary["scores"] for status in score["statuses"]}
    return [s for s in STATUS_ORDER if s in occurring] + sorted(occurring - set(STATUS_ORDER))
