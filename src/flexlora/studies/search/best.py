"""`best.yaml`: the user's recipe with the values of the trial that the rule chooses; `best-12.yaml`: of trial 12."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from flexlora.files import write_whole
from flexlora.recipe import from_dict, merged
from flexlora.report.search_words import counted, in_words
from flexlora.studies.search.findings import KEPT, SearchFindings
from flexlora.studies.search.plan import SearchPlan
from flexlora.studies.search.space import nested

FILE = "best.yaml"


def best_file(choose: str) -> str:
    """Its name. A trial that is named has a file of its own, which no later search writes over."""
    return FILE if choose == KEPT else f"best-{int(choose)}.yaml"


def write_best(plan: SearchPlan, findings: SearchFindings, folder: Path, choose: str = KEPT) -> Path | None:
    """Write it, and return its path; None where there is nothing to choose.

    Args:
        plan: what was searched.
        findings: with the choice.
        folder: of the search.
        choose: what the choice was made by.
    """
    chosen = findings["choice"]
    if chosen is None:
        return None
    path = folder / best_file(choose)
    (record,) = [one for one in findings["trials"] if one["number"] == chosen["trial"]]
    values: dict[str, Any] = plan.recipe.model_dump(mode="json", exclude_defaults=True)
    values.pop("arms", None)
    values["name"] = f"{plan.recipe.name}-{path.stem}"
    values = merged(values, nested(record["values"]))
    from_dict(values)  # what is written can be run
    gain, retention = record["gain"], record["retention"]
    assert gain is not None
    assert retention is not None  # a chosen trial is finished
    header = [
        f"Found by `flexlora search`: trial {record['number']} of {counted(findings)}.",
        f"Rule: {chosen['rule']}.",
        f"On validation problems, against the base: source gain {in_words(gain)};",
        f"target retention {in_words(retention)}.",
        "It was chosen for these figures, so they flatter it. No trial saw the tasks below; what they say counts.",
    ]
    text = "".join(f"# {line}\n" for line in header)
    write_whole(path, text + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100))
    return path
