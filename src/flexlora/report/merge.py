"""The audit of a merge in the terminal: a row for every dtype and rounding, the worst weights, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WORST = 5
NEGLIGIBLE = 0.01
"""A loss below this share of what the adapter does to logits is no reason for another score."""
COLUMNS = ("dtype", "rounding", "error", "kept", "read", "same", "logits", "tokens", "answers")
LEGEND = (
    "error: of the update, after rounding. kept: how much of the update is there, under that noise. read: the error "
    "for inputs along the rows of A. same: weights as if nothing had been merged. logits: their RMS error, as a share "
    "of the adapter's own effect on them. tokens, answers: next tokens and greedy answers that change against the "
    "unmerged model. All in %."
)


def print_merge(audit: Mapping[str, Any], console: Console | None = None) -> None:
    """Print `MergeAudit.as_dict()`."""
    console = console or Console()
    effect = audit["adapter_effect"]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for column in COLUMNS:
        table.add_column(Text(column), justify="left" if column in ("dtype", "rounding") else "right")
    for row in audit["rows"]:
        chosen = (row["dtype"], row["rounding"]) == (audit["dtype"], audit["rounding"])
        table.add_row(*map(Text, merge_cells(row, effect)), style="bold" if chosen else "")
    console.print(table)
    console.print(Text(LEGEND, "dim"))
    console.print(_worst_table(chosen_row(audit)))
    for sentence in (*audit["notes"], *conclusion(audit)):
        console.print(Text(sentence))
    if audit["output"]:
        console.print(Text(f"merged model: {audit['output']}", "bold"))


def conclusion(audit: Mapping[str, Any]) -> list[str]:
    """What the audit means, in sentences, and for what the paper found."""
    said, row = findings(audit), chosen_row(audit)
    if row["disagreement"] is None or row["dtype"] == "float32":
        return said
    share = _share_of_effect(row, audit["adapter_effect"])
    verdict = "can be part of the reason" if share > NEGLIGIBLE else "would not explain it"
    return [
        *said,
        f"The paper found merged adapters to score lower (8.1, 8.2, 8.4): for this adapter rounding {verdict}, at "
        f"{_percent(share)} % of the adapter's effect on the logits.",
    ]


def findings(audit: Mapping[str, Any]) -> list[str]:
    """What the audit found, in sentences."""
    effect, row = audit["adapter_effect"], chosen_row(audit)
    if row["disagreement"] is None:
        return [f"{row['dtype']} cannot hold the merged weights."]
    said = [
        f"The adapter changes {_percent(effect['next_token'])} % of the base's next tokens; merging it in "
        f"{_name(row)} errs by {_percent(row['update']['relative_error'])} % of its update and changes "
        f"{_percent(row['disagreement']['next_token'])} % of next tokens."
    ]
    if row["dtype"] == "float32":
        return said
    exact = _find(audit, "float32", "nearest")
    said.append(
        f"In float32 it errs by {_percent(exact['update']['relative_error'])} % and changes "
        f"{_percent(exact['disagreement']['next_token'])} % of next tokens."
    )
    said.append(_on_compensation(audit, row["dtype"]))
    return said


def chosen_row(audit: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row that the output was, or would be, saved as."""
    return _find(audit, audit["dtype"], audit["rounding"])


def _on_compensation(audit: Mapping[str, Any], dtype: str) -> str:
    effect = audit["adapter_effect"]
    plain, mended = (_find(audit, dtype, rounding) for rounding in ("nearest", "calibrated"))
    if plain["disagreement"] is None or mended["disagreement"] is None:
        return f"{dtype} cannot hold the merged weights."
    before, after = _share_of_effect(plain, effect), _share_of_effect(mended, effect)
    words = "helps" if after < 0.9 * before else "makes it worse" if after > 1.1 * before else "makes no difference"
    return (
        f"Compensating (--rounding calibrated) in {dtype} {words}: it leaves an error of {_percent(after)} % of the "
        f"adapter's effect on the logits, nearest {_percent(before)} %."
    )


def _worst_table(row: Mapping[str, Any]) -> Table:
    table = Table(title=f"Largest errors, {_name(row)}", box=box.SIMPLE_HEAD, title_justify="left", show_edge=False)
    table.add_column("weight", overflow="fold")
    for column in ("error", "kept", "same"):
        table.add_column(column, justify="right")
    worst = sorted(row["modules"].items(), key=lambda item: -item[1]["relative_error"])[:WORST]
    for name, update in worst:
        figures = (_percent(update[key]) for key in ("relative_error", "kept", "unchanged"))
        table.add_row(Text(name), *figures)
    return table


def merge_cells(row: Mapping[str, Any], effect: Mapping[str, Any]) -> list[str]:
    """A row of the audit, for `COLUMNS`."""
    update, said = row["update"], row["disagreement"]
    if said is None:
        return [row["dtype"], row["rounding"], f"{update['overflow']} weights too large"]
    read = "–" if update["read_error"] is None else _percent(update["read_error"])
    figures = [_percent(update["relative_error"]), _percent(update["kept"]), read, _percent(update["unchanged"])]
    shares = [_share_of_effect(row, effect), said["next_token"], said["answers"]]
    return [row["dtype"], row["rounding"], *figures, *map(_percent, shares)]


def _share_of_effect(row: Mapping[str, Any], effect: Mapping[str, Any]) -> float:
    rms: float = row["disagreement"]["logit_rms"]
    return rms / effect["logit_rms"] if effect["logit_rms"] else 0.0


def _find(audit: Mapping[str, Any], dtype: str, rounding: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(r for r in audit["rows"] if (r["dtype"], r["rounding"]) == (dtype, rounding))
    return found


def _name(row: Mapping[str, Any]) -> str:
    return str(row["dtype"]) if row["rounding"] == "nearest" else f"{row['dtype']} ({row['rounding']})"


def _percent(share: float) -> str:
    """0.342 -> `34.2`, 0.00006 -> `0.006`, 6e-9 -> `6e-07`: two figures of what is small."""
    value = 100 * share
    if value == 0 or abs(value) >= 0.1:
        return f"{value:.1f}"
    return f"{value:.1g}"
