"""What a search found, in words: for the terminal, the page and the header of `best.yaml`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flexlora.studies.search.findings import SearchFindings, TrialRecord
    from flexlora.studies.search.running import Checked
    from flexlora.studies.search.signals import Side

VALIDATION_ONLY = (
    "All of it is on validation problems, and chosen for it, so that it flatters what was chosen. The recipe's own "
    "tasks were not looked at: run best.yaml for them."
)
MATTERED = (
    "The share of each key in what told the best third of trials on that side from all trials (PED-ANOVA, arXiv "
    "2304.10255); a hint from few trials, no test."
)
CONTROL = "The best of several trials is better by luck, too: repeat it with other seeds before anything is claimed."


def unit(side: Side) -> str:
    """What a side is measured in."""
    return "points" if side["unit"] == "share" else "nats a token"


def shown(side: Side, value: float) -> float:
    """A value of a side in its unit."""
    return 100 * value if side["unit"] == "share" else value


def cell(side: Side) -> str:
    """`+4.2 [+1.0, +7.4]`, for where the unit stands above."""
    digits = 1 if side["unit"] == "share" else 4
    estimate, low, high = (f"{shown(side, side[key]):+.{digits}f}" for key in ("estimate", "low", "high"))
    return f"{estimate} [{low}, {high}]"


def in_words(side: Side) -> str:
    """`+4.2 points [+1.0, +7.4]`, or nats a token."""
    return cell(side).replace(" ", f" {unit(side)} ", 1)


def drawn(one: TrialRecord) -> dict[str, str]:
    """Key -> value of a trial, short."""
    return {
        key.rpartition(".")[2]: f"{value:.3g}" if isinstance(value, float) else str(value)
        for key, value in one["values"].items()
    }


def values_line(one: TrialRecord) -> str:
    """What a trial drew, in a line."""
    return " ".join(f"{key}={value}" for key, value in drawn(one).items())


def trial_line(one: TrialRecord) -> str:
    """One trial in a line."""
    seconds = "" if one["seconds"] is None else f" in {one['seconds']:.0f} s"
    if one["gain"] is not None and one["retention"] is not None:
        found = f"gain {in_words(one['gain'])}, retention {in_words(one['retention'])}"
    else:
        found = (one["reason"] or "").strip().split("\n")[-1]
    return f"trial {one['number']} {one['state']}{seconds}: {found}; {values_line(one)}"


def counted(findings: SearchFindings) -> str:
    """`12 (9 finished, 2 stopped early, 1 failed)`."""
    states = [one["state"] for one in findings["trials"]]
    names = {"finished": "finished", "stopped": "stopped early", "failed": "failed", "running": "running"}
    parts = [f"{states.count(state)} {words}" for state, words in names.items() if state in states]
    begun = len(states) - states.count("waiting") - states.count("lost")
    return f"{begun} ({', '.join(parts)})" if parts else "0"


def importance_rows(findings: SearchFindings) -> list[tuple[str, float, float]]:
    """Key and its share in what mattered for gain, and for retention; none where trials are too few."""
    both = findings["importances"]
    if both is None:
        return []
    rows = [(key, both["gain"].get(key, 0.0), both["retention"].get(key, 0.0)) for key in both["gain"]]
    return sorted(rows, key=lambda row: -row[1] - row[2])


def plan_lines(checked: Checked) -> list[str]:
    """What a search will do."""
    lines = [f"search     {key}: {_allowed(values)}" for key, values in checked["space"].items()]
    for name in ("gain", "retention"):
        judged = ", ".join(f"{task} ({count})" for task, count in checked[name].items())
        if judged:
            lines.append(f"{name:<10} {judged}, validation problems only")
    if checked["likelihood"]:
        lines.append("likelihood " + ", ".join(f"{name} ({count})" for name, count in checked["likelihood"].items()))
    lines.append(f"guard      {checked['refused']} problems and texts that are reported or trained on judge no trial")
    return lines + [f"note       {note}" for note in checked["notes"]]


def _allowed(values: Any) -> str:
    if isinstance(values, dict):
        zero = f", or 0 (a share of {values['zero']:g})" if values["zero"] else ""
        return f"{values['low']:g} to {values['high']:g}{' by logarithm' if values['log'] else ''}{zero}"
    return ", ".join(map(str, values))
