"""The arms' trainings side by side: in words, and as a table in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from flexlora.evaluation.trainings import Reached, Training, Trainings, Validation

NOTE = (
    "One training an arm: these figures have no intervals. Time is that of optimizer steps, without loading, "
    "validation and checkpoints; a loss counts as reached at the first validation at or below it."
)

SENTENCES = 3
"""Arms that are put in words; of more, the table says enough."""


def print_trainings(trainings: Trainings, console: Console | None = None) -> None:
    """Print a table of at least two arms, where it fits; of a few, each later one against the first in words."""
    console = console or Console()
    if len(trainings["trainings"]) < 2:
        return
    table = _table(trainings)
    if Measurement.get(console, console.options.update(width=1000), table).maximum <= console.width:
        console.print(table)
        said = sentences(trainings)
        for line in said if len(said) <= SENTENCES else ():
            console.print(Text(line))
        console.print(Text(NOTE, "dim"))


def sentences(trainings: Trainings) -> list[str]:
    """Each later arm with a validation loss against the first one with one."""
    validated = [(one, found) for one in trainings["trainings"] if (found := one["validation"]) is not None]
    return [_sentence(pair, validated[0]) for pair in validated[1:]]


def _sentence(one: tuple[Training, Validation], first: tuple[Training, Validation]) -> str:
    """Whose best validation loss is lower, and how much sooner that arm came to the other's."""
    (ahead, _), (behind, higher) = sorted((one, first), key=lambda pair: (pair[1]["best"], pair is first))
    reached = ahead["reached"][behind["arm"]]
    assert reached is not None  # its own best is not above
    mine, other = one[1], first[1]
    return (
        f"{one[0]['arm']}: best validation loss {number(mine['best'])} at step {mine['best_at']['step']:,}, "
        f"{_against(mine['best'], other['best'])} {first[0]['arm']}'s {number(other['best'])} at step "
        f"{other['best_at']['step']:,}. {ahead['arm']} reached {number(higher['best'])} at step {reached['step']:,}, "
        f"{behind['arm']} at step {higher['best_at']['step']:,}: {_sooner(reached, higher['best_at'])}."
    )


def kept(one: Training) -> str:
    """`stopped early, kept step 100`; empty for a training whose last adapter is the result."""
    found = one["early_stopping"]
    if found is None:
        return ""
    return f"{'stopped early, ' if found['early'] else ''}kept step {found['kept']:,}"


def number(value: float) -> str:
    """Four digits, as 1.240 or 0.05512."""
    return f"{value:#.4g}".removesuffix(".")


def duration(seconds: float) -> str:
    """`8.5 s`, `40.3 min` or `12.1 h`."""
    if seconds < 600:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 36_000 else f"{seconds / 3600:.1f} h"


def _against(mine: float, other: float) -> str:
    if mine == other:
        return "the same as"
    share = f"{100 * abs(mine - other) / abs(other):.1f} % " if other else ""
    return f"{share}{'below' if mine < other else 'above'}"


def _sooner(reached: Reached, other: Reached) -> str:
    steps = _change(reached["step"], other["step"], "fewer", "more", "steps") or "as many steps"
    if reached["train_s"] is None or not other["train_s"]:
        return steps
    return f"{steps}, {_change(reached['train_s'], other['train_s'], 'less', 'more', 'time') or 'as much time'}"


def _change(mine: float, other: float, less: str, more: str, what: str) -> str:
    """`36 % fewer steps`; empty for a change that rounds to nothing."""
    percent = round(100 * (mine - other) / other)
    return f"{abs(percent)} % {less if percent < 0 else more} {what}" if percent else ""


def _table(trainings: Trainings) -> Table:
    table = Table(title="Trainings", box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("arm", no_wrap=True)
    columns = (
        "best\nval. loss",
        "at\nstep",
        "last\nval. loss",
        "grad. norm,\nvariation",
        "clipped\nin %",
        "time",
        "GB",
    )
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for one in trainings["trainings"]:
        validation, norm, clipped = one["validation"], one["gradient_norm"], one["clipped_fraction"]
        table.add_row(
            Text(one["arm"] + (f"\n{kept(one)}" if one["early_stopping"] else "")),
            number(validation["best"]) if validation else "",
            f"{validation['best_at']['step']:,}" if validation else "",
            number(validation["last"]) if validation else "",
            f"{norm['variation']:.2f}" if norm and norm["variation"] is not None else "",
            f"{100 * clipped['mean']:.1f}" if clipped else "",
            duration(one["train_s"]) if one["train_s"] is not None else "",
            f"{one['peak_memory_gb']:.2f}" if one["peak_memory_gb"] is not None else "",
        )
    return table
