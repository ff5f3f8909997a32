"""Likelihoods in the terminal, in words and as the rows of the page's table."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flexlora.evaluation.schema import LikelihoodComparison, Likelihoods, LikelihoodScore, Rate, RateDifference
from flexlora.report.words import SIGNIFICANCE, chance_note, language_name, p_text, score_name, side_name

LIKELIER, LESS_LIKELY, NO_DIFFERENCE = "likelier", "less likely", "no difference shown"
CLASSES = {LIKELIER: "better", LESS_LIKELY: "worse", NO_DIFFERENCE: "no"}
"""Of the page's style."""
COLOURS = {LIKELIER: "green", LESS_LIKELY: "red", NO_DIFFERENCE: ""}
SENTENCES = 16
"""Comparisons that are all put in words; of more, only those that differ are."""
NOTE = (
    "Negative log-likelihood of held-out texts: less is likelier. 95 % intervals from a bootstrap over functions, "
    "paired for differences. It is no pass@1: a model can find right programs likelier and write fewer of them. "
    "Compare variants within a language; between languages neither tokens nor characters are the same amount of code."
)


@dataclass(frozen=True, slots=True)
class Row:
    """Texts of one name: a score for each column, with its difference from the base."""

    first: LikelihoodScore
    cells: list[tuple[LikelihoodScore | None, LikelihoodComparison | None]]


def verdict(comparison: LikelihoodComparison) -> str:
    """`likelier`, `less likely` or `no difference shown`, by p < 0.05."""
    difference = comparison["bits_per_character"]["difference"]
    if comparison["p_value"] >= SIGNIFICANCE or difference == 0:
        return NO_DIFFERENCE
    return LIKELIER if difference < 0 else LESS_LIKELY


def columns(likelihoods: Likelihoods) -> list[str]:
    """The variants by name."""
    return list(dict.fromkeys(score_name(score, likelihoods["scores"]) for score in likelihoods["scores"]))


def rows(likelihoods: Likelihoods) -> list[Row]:
    """A row for the texts of each name."""
    scores = likelihoods["scores"]
    by_cell = {(score["task"], score_name(score, scores)): score for score in scores}
    against_base = {
        (one["task"], side_name(one)): one for one in likelihoods["comparisons"] if one["against"]["variant"] == "base"
    }
    found = []
    for task in dict.fromkeys(score["task"] for score in scores):
        row = [by_cell.get((task, name)) for name in columns(likelihoods)]
        first = next(score for score in row if score is not None)
        found.append(
            Row(first, [(score, against_base.get((task, side_name(score))) if score else None) for score in row])
        )
    return found


def rate(value: Rate) -> str:
    """`0.512 [0.481, 0.546]`."""
    return f"{value['estimate']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def difference(value: RateDifference) -> str:
    """`−0.012 [−0.020, −0.004]`, with minus signs."""
    return f"{_signed(value['difference'])} [{_signed(value['low'])}, {_signed(value['high'])}]"


def size(score: LikelihoodScore) -> str:
    """How many functions, and what was not scored of them."""
    said = [f"{score['functions']:,} functions"]
    said += [f"{score['cut']:,} cut"] * bool(score["cut"])
    said += [f"{score['left_out']:,} left out"] * bool(score["left_out"])
    return ", ".join(said)


def sentence(comparison: LikelihoodComparison, against: str | None = None) -> str:
    """One comparison in words.

    Args:
        against: what to call the other side; by default its arm and variant.
    """
    tokens = comparison["nats_per_token"]
    per_token = f", {difference(tokens)} nats/token" if tokens else ""
    return (
        f"{language_name(comparison['language'])} ({comparison['task']}): {side_name(comparison)} "
        f"{difference(comparison['bits_per_character'])} bits/character{per_token} against "
        f"{against or side_name(comparison['against'])}, {p_text(comparison['p_value'])}: {verdict(comparison)}; "
        f"{comparison['likelier']} of {comparison['functions']} functions are likelier, {comparison['less_likely']} "
        "less."
    )


def sentences(likelihoods: Likelihoods) -> list[str]:
    """Each comparison in words; of many, those that differ, and how many do not."""
    compared = likelihoods["comparisons"]
    shown = [one for one in compared if len(compared) <= SENTENCES or verdict(one) != NO_DIFFERENCE]
    said = [sentence(one) for one in shown]
    if left_out := len(compared) - len(shown):
        said.append(f"In {left_out} of {len(compared)} comparisons of likelihoods no difference was shown.")
    return said


def print_likelihoods(likelihoods: Likelihoods, console: Console | None = None) -> None:
    """Print the table, and each comparison in words."""
    console = console or Console()
    table = Table(
        title="Likelihood, 95 % interval; difference of bits from base",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        padding=(0, 1, 0, 0),
    )
    table.add_column("texts and variant", overflow="fold", ratio=1)
    for column in ("nats/token", "bits/character", "difference"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows(likelihoods):
        name = Text.assemble((language_name(row.first["language"]), "bold"), f" {row.first['task']}")
        table.add_row(name.append(f"\n{size(row.first)}", "dim"))
        for score, compared in row.cells:
            if score is not None:
                table.add_row(f"  {score_name(score, likelihoods['scores'])}", *_cells(score, compared))
        table.add_section()
    console.print(table)
    for line in sentences(likelihoods):
        console.print(Text(line))
    for note in filter(None, (NOTE, chance_note(likelihoods["comparisons"]))):
        console.print(Text(note, "dim"))


def _cells(score: LikelihoodScore, compared: LikelihoodComparison | None) -> list[Text]:
    cells = [_two_lines(rate(score["nats_per_token"])), _two_lines(rate(score["bits_per_character"]))]
    if compared is None:
        return cells
    number, _, interval = difference(compared["bits_per_character"]).partition(" ")
    cell = Text(f"{number} {p_text(compared['p_value'])}", COLOURS[verdict(compared)])
    return [*cells, cell.append(f"\n{interval}", "dim")]


def _two_lines(value: str) -> Text:
    number, _, interval = value.partition(" ")
    return Text.assemble((number, "bold"), "\n", (interval, "dim"))


def _signed(value: float) -> str:
    text = f"{value:+.3f}"
    return "0.000" if text in ("+0.000", "-0.000") else text.replace("-", "−")
