"""A run's scores in the terminal: tables that fit 80 columns, then each comparison in words.

All text goes in as `Text`, never as markup: a task's name may hold square brackets.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flexlora.evaluation.published import CAVEATS, published_for
from flexlora.evaluation.runs import RunComparison
from flexlora.evaluation.schema import Comparison, Score, Summary
from flexlora.report.likelihood import print_likelihoods
from flexlora.report.likelihood import sentence as likelihood_sentence
from flexlora.report.matrix import matrix, print_matrix_of_languages
from flexlora.report.methods import print_methods
from flexlora.report.words import (
    BETTER,
    NO_DIFFERENCE,
    STRICT,
    WORSE,
    CasesRow,
    chance_note,
    corrected,
    count,
    data_notes,
    flips,
    is_humaneval,
    language_name,
    method_note,
    overlap_notes,
    p_text,
    percent,
    points,
    problems_of,
    resource_note,
    score_name,
    score_range,
    sentence,
    side_name,
    spread,
    statuses_in_order,
    task_name,
    tests_rows,
    tiny_note,
    verdict,
)

DOCTOR_COLUMNS = ("name", "ok", "version", "good", "bad", "limits")
MARKS = {BETTER: "▲", WORSE: "▼", NO_DIFFERENCE: "–"}
# A score's cell needs 15 characters, `[96.4, 100.0]` and padding included; a task's name gets what is left.
CELL = 15
TASK = 20
FLIPS = 12
"""Problems of a comparison of two runs that are named, each way."""
CORRECTED = "P-values are corrected for all these comparisons of scores, by Holm."
SENTENCES = 12
"""Comparisons that are all put in words; of more, only those that differ are."""


def print_summary(summary: Summary, console: Console | None = None) -> None:
    """Print likelihoods, scores, statuses and verdicts of a run."""
    console = console or Console()
    if "likelihood" in summary:
        print_likelihoods(summary["likelihood"], console)
    if not summary["scores"]:
        _print_notes(console, [tiny_note(summary)])
        return
    if languages := matrix(summary):
        print_matrix_of_languages(languages, console)
    for k in _ks(summary["scores"]):
        for scores in _column_groups(summary["scores"], max(2, (console.width - TASK) // CELL)):
            console.print(_score_table(summary, scores, k))
    if rows := tests_rows(summary):
        console.print(_tests_table(rows))
        _print_notes(console, [STRICT])
    console.print(_status_table(summary))
    _print_notes(console, data_notes(summary))
    _print_notes(console, [resource_note(summary)])
    compared = summary["comparisons"]
    shown = [one for one in compared if len(compared) <= SENTENCES or verdict(one) != NO_DIFFERENCE]
    _print_sentences(console, [(one, sentence(one, problems_of(summary, one))) for one in shown])
    if left_out := len(compared) - len(shown):
        said = f"In {left_out} of {len(compared)} comparisons no difference was shown; the report lists them."
        _print_notes(console, [said])
    _print_notes(console, ["", method_note(compared), chance_note(compared), tiny_note(summary)])
    _print_notes(console, overlap_notes(summary))
    print_methods(summary, console)
    _print_published(console, summary)


def print_comparison(found: RunComparison, console: Console | None = None) -> None:
    """Print what `compare_runs` found: the verdicts, each comparison in words with what flipped, what only one run has.

    P-values are corrected for all the comparisons of scores that are shown.
    """
    console = console or Console()
    console.print(Text(f"B = {found.run_b} against A = {found.run_a}", "bold"))
    compared, among = corrected(found.comparisons, found.p_corrected), len(found.comparisons)
    if among > 1:
        console.print(Text(spread(Counter(map(verdict, compared)), "comparison"), "bold"))
    grid = Table.grid(padding=(0, 1, 0, 0))
    for one, problems in zip(compared, found.problems, strict=True):
        said = sentence(one, problems, against="the same in A", among=among)
        grid.add_row(MARKS[verdict(one)], Text(said, _colour(one)))
        for line in flips(one, FLIPS):
            grid.add_row("", Text(line, "dim"))
    console.print(grid)
    for likelihood in found.likelihoods:
        console.print(Text(likelihood_sentence(likelihood, against="the same in A")))
    notes = [method_note(found.comparisons), CORRECTED if among > 1 else "", chance_note(found.likelihoods)]
    notes += [f"The runs also differ in {condition}." for condition in found.conditions]
    notes += [f"Only in A, not compared: {entry}." for entry in found.only_in_a]
    notes += [f"Only in B, not compared: {entry}." for entry in found.only_in_b]
    _print_notes(console, notes)


def print_doctor(
    environment: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], console: Console | None = None
) -> None:
    """Print what `flexlora doctor` found: the environment, then one row a check; `ok` of a row is its verdict.

    A toolchain that is not installed (`ok` is None) has no fault.
    """
    console = console or Console()
    for name, value in environment.items():
        shown = ", ".join(f"{k} {v or 'missing'}" for k, v in value.items()) if isinstance(value, Mapping) else value
        console.print(Text.assemble((f"{name}: ", "bold"), str(shown)))
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for column in DOCTOR_COLUMNS:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*(_doctor_cell(column, row[column]) for column in DOCTOR_COLUMNS))
    console.print(table)
    for row in rows:
        if row["install"]:
            console.print(Text.assemble((f"{row['name']}: ", "bold"), row["install"]))


def print_matrix(
    axes: Mapping[str, Sequence[str]], rows: Sequence[Sequence[str]], console: Console | None = None
) -> None:
    """Print what trains with what: the axes with their values, then the rules (`flexlora.capabilities.rows`)."""
    console = console or Console()
    for axis, values in axes.items():
        console.print(Text.assemble((f"{axis}: ", "bold"), ", ".join(values)))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, show_lines=True)
    for column in ("setting (the first line that fits decides)", "supported by", "why, and what instead"):
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def print_proofs(proofs: Sequence[Mapping[str, Any]], console: Console | None = None) -> None:
    """Print what became of the hostile programs: how many of each path were held, and every one that was not."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for column in ("hostile programs", "start", "run", "harmless"):
        table.add_column(Text(column), justify="left" if column in ("hostile programs", "start") else "right")
    for language, mode in dict.fromkeys((proof["language"], proof["mode"]) for proof in proofs):
        oks = [proof["ok"] for proof in proofs if (proof["language"], proof["mode"]) == (language, mode)]
        run, harmless = len(oks) - oks.count(None), oks.count(True)
        table.add_row(language, mode, str(run), Text(str(harmless), "green" if harmless == run else "bold red"))
    console.print(table)
    for reason in dict.fromkeys(proof["not_run"] for proof in proofs if proof["not_run"]):
        console.print(Text.assemble(("not run: ", "bold"), reason))
    for proof in proofs:
        for problem in proof["problems"]:
            name = f"{proof['behaviour']}, {proof['language']} {proof['mode']}: "
            console.print(Text.assemble(("FAILED ", "bold red"), (name, "bold"), problem))
    if all(proof["ok"] is not False for proof in proofs):
        console.print("The sandbox held: none did harm, and the verdict after each was right.")


def _doctor_cell(column: str, value: Any) -> Text:
    if column == "ok":
        return Text("missing", "dim") if value is None else Text("ok", "green") if value else Text("FAILED", "bold red")
    return Text("" if value is None else str(value))


def _ks(scores: Sequence[Score]) -> list[str]:
    return list(dict.fromkeys(k for score in scores for k in score["pass_at_k"]))


def _column_groups(scores: Sequence[Score], columns: int) -> list[list[str]]:
    """The columns of each table: the base first in all of them. All in one if they fit; else one arm a table."""
    arms: dict[str | None, list[str]] = {}
    for score in scores:
        names = arms.setdefault(score["arm"], [])
        if (name := score_name(score, scores)) not in names:
            names.append(name)
    alone = arms.pop(None, [])
    base = [name for name in alone if name == "base"]
    groups = [[name for name in alone if name != "base"], *arms.values()]
    if sum(map(len, groups), len(base)) <= columns:
        return [[*base, *(name for names in groups for name in names)]]
    rest = columns - len(base)
    return [base + names[i : i + rest] for names in groups for i in range(0, len(names), rest)]


def _score_table(summary: Summary, columns: Sequence[str], k: str) -> Table:
    table = Table(
        title=f"pass@{k} in %, 95 % interval, difference from base", box=box.SIMPLE_HEAD, title_justify="left"
    )
    table.add_column("task", overflow="fold", max_width=TASK - 2)
    for name in columns:
        table.add_column(Text(name.replace("/", "/\n")), justify="right", overflow="fold", max_width=CELL - 2)
    scores = {(score["task"], score_name(score, summary["scores"])): score for score in summary["scores"]}
    against_base = {
        (one["task"], side_name(one), one["k"]): one
        for one in summary["comparisons"]
        if one["against"]["variant"] == "base"
    }
    for task in dict.fromkeys(score["task"] for score in summary["scores"]):
        row = [scores.get((task, name)) for name in columns]
        shown = next((score for score in row if score), None)
        if shown is None:
            continue
        cells = [
            _score_cell(score, k, against_base.get((task, side_name(score), int(k))) if score else None)
            for score in row
        ]
        label = Text.assemble(
            (language_name(shown["language"]), "bold"), f"\n{task_name(task)}\n", (_size(shown), "dim")
        )
        table.add_row(label, *cells, end_section=True)
    return table


def _size(score: Score) -> str:
    samples = score["samples_per_problem"]
    return count(score["problems"], "problem") + (f" × {samples}" if samples > 1 else "")


def _score_cell(score: Score | None, k: str, difference: Comparison | None) -> Text:
    if score is None or k not in score["pass_at_k"]:
        return Text("not run", "dim")
    value = score["pass_at_k"][k]
    cell = Text.assemble((percent(value["estimate"]), "bold"), "\n", (score_range(value["low"], value["high"]), "dim"))
    if difference:
        colour = _colour(difference)
        cell.append(f"\n{points(difference['difference'])}", colour)
        cell.append(f" {len(difference['gained'])}↑ {len(difference['lost'])}↓")
        cell.append(f"\n{p_text(difference['p_value'])}", colour)
    return cell


def _tests_table(rows: Sequence[CasesRow]) -> Table:
    title = "Programs with tests, in %, 95 % interval"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("task and variant", overflow="fold", ratio=1)
    for column in ("problems", "strict", "tests"):
        table.add_column(column, justify="right", no_wrap=True)
    for task in dict.fromkeys(row.task for row in rows):
        table.add_row(Text(task, "bold"))
        for row in rows:
            if row.task == task:
                name = Text(f"  {row.name}") if row.part is None else Text(f"    {row.part}", "dim")
                strict = Text.assemble(row.strict, (f" {row.strict_range}", "dim"))
                share = Text.assemble(row.share, (f" {row.share_range}", "dim"))
                table.add_row(name, str(row.problems), strict, share)
    return table


def _status_table(summary: Summary) -> Table:
    statuses = statuses_in_order(summary)
    table = Table(title="How the samples ended", box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("task and variant", overflow="fold", ratio=1)
    for status in statuses:
        # Words below one another: they are wider than their numbers.
        table.add_column(Text(_break_words(status)), justify="right", no_wrap=True)
    for task in dict.fromkeys(score["task"] for score in summary["scores"]):
        table.add_row(Text(task_name(task), "bold"))
        for score in summary["scores"]:
            if score["task"] == task:
                counts = [str(score["statuses"].get(status, 0)) for status in statuses]
                table.add_row(Text(f"  {score_name(score, summary['scores'])}"), *counts)
    return table


def _break_words(status: str) -> str:
    return re.sub("(?<=[a-z])(?=[A-Z])(?!Of)", "\n", status)


def _colour(comparison: Comparison) -> str:
    return {BETTER: "green", WORSE: "red"}.get(verdict(comparison), "")


def _print_sentences(console: Console, sentences: Sequence[tuple[Comparison, str]]) -> None:
    # A grid, so that the lines of a long sentence stand under one another.
    grid = Table.grid(padding=(0, 1, 0, 0))
    for comparison, words in sentences:
        grid.add_row(MARKS[verdict(comparison)], Text(words, _colour(comparison)))
    console.print(grid)


def _print_notes(console: Console, notes: Sequence[str]) -> None:
    for note in filter(None, notes):
        console.print(Text(note, "dim"))


def _print_published(console: Console, summary: Summary) -> None:
    rows = published_for(score["model"] for score in summary["scores"])
    languages = {score["language"] for score in summary["scores"] if is_humaneval(score["task"])}
    rows = tuple(row for row in rows if languages & row.percent.keys())
    if not rows:
        return
    console.print(Text("\nPublished pass@1 in % on HumanEval and MultiPL-E's HumanEval", "italic"))
    for row in rows:
        shown = [f"{language_name(code)} {value:g}" for code, value in row.percent.items() if code in languages]
        console.print(Text(f"{row.source}: {', '.join(shown)}" + (f" ({row.note})" if row.note else "")))
    _print_notes(console, CAVEATS)
