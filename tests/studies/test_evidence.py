"""What docs/evidence.md says was found is what its committed answers show."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexlora.studies.cells import cells_of
from flexlora.studies.comparing import comparisons_of, scores_of
from flexlora.studies.files import load_study
from flexlora.studies.findings import StudyComparison
from flexlora.studies.results import Results, load_results

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "evidence.md").read_text()
CONFIRMATORY = ("none", "factors", "permuted", "uniform")


def answers(name: str) -> Results:
    return load_results(DOCS / "evidence" / f"{name}.jsonl.gz")


def row(one: StudyComparison) -> str:
    difference, low, high = (f"{100 * value:+.1f}" for value in (one["difference"], one["low"], one["high"]))
    return f"| {difference} [{low}, {high}] | {one['p_corrected']:.2f} | {100 * one['detectable']:.1f} |"


@pytest.mark.parametrize("name", ["evidence", "evidence-larger"])
def test_the_page_has_the_primary_comparisons_and_scores_of_the_answers(name: str) -> None:
    results, plan = answers(name), load_study(name)
    primary = [one for one in comparisons_of(results, plan) if one["family"] == "primary"]
    assert [len(one["seeds"]) for one in primary] == [8, 8]
    assert all(row(one) in PAGE for one in primary)
    tasks = ("tiny/A/py", "tiny/A/java", "tiny/B1/py", "tiny/B1/java")
    scores = {(one["config"], one["task"]): 100 * one["estimate"] for one in scores_of(results, plan.analysis.k)}
    for config in CONFIRMATORY:
        assert f"| `{config}` | " + " | ".join(f"{scores[config, task]:.1f}" for task in tasks) + " |" in PAGE


@pytest.mark.parametrize("name", ["evidence", "evidence-larger", "evidence-tradeoff"])
def test_every_cell_of_the_plan_is_among_the_answers(name: str) -> None:
    results = answers(name)
    for cell in cells_of(load_study(name)):
        for task in cell.recipe.tasks:
            assert cell.seed in results.answers[cell.config, "adapter", task.name].passes
