import io
from pathlib import Path

import pytest
from rich.console import Console

from flexlora.evaluation.published import CAVEATS
from flexlora.report import study_words
from flexlora.report.study_terminal import print_findings
from flexlora.report.words import percent
from flexlora.studies.findings import Findings


def printed(findings: Findings, width: int = 80) -> str:
    text = io.StringIO()
    print_findings(findings, Console(file=text, width=width))
    return text.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_findings_keep_to_the_width_and_hold_everything(study: tuple[Path, Findings], width: int) -> None:
    findings = study[1]
    text = printed(findings, width)
    assert max(map(len, text.splitlines())) <= width
    joined = " ".join(text.split())
    for one in findings["scores"]:
        assert percent(one["estimate"]) in joined
    for caveat in CAVEATS:
        assert caveat in joined
    assert "28 of 32 cells are finished" in joined
    assert "failed: factors,lam=0.08,seed=2" in joined


def test_the_headline_comes_first(study: tuple[Path, Findings]) -> None:
    lines = printed(study[1]).splitlines()
    assert lines[0] == "controls, primary comparison: factors lam=0.02 against permuted lam=0.02"
    assert lines[1].startswith("▲ Java (tiny/A/java) +")
    assert lines[1].rstrip().endswith("after correction: better")
    assert lines[2].startswith("– Java (tiny/B1/java) ")
    assert "would be found in four of five" in lines[3]


def test_of_many_pairs_only_those_that_differ_are_named(study: tuple[Path, Findings]) -> None:
    same = {
        **study[1]["comparisons"][0],
        "family": "exploratory",
        "difference": 0.0,
        "p_value": 1.0,
        "p_corrected": 1.0,
    }
    better = {**same, "config": "best", "difference": 0.1, "low": 0.05, "high": 0.2, "p_corrected": 0.001}
    many = [better, *({**same, "config": f"arm{number}"} for number in range(study_words.MOST_LINES))]
    shown = study_words.short_overview(many)
    assert len(shown) == 2
    assert shown[0].startswith("best against ")
    assert shown[1] == "10 further pairs: no difference shown on any task."
    assert study_words.short_overview(many[1:]) == study_words.overview(many[1:])


def test_a_study_of_which_nothing_is_finished_prints(study: tuple[Path, Findings]) -> None:
    empty: Findings = {
        **study[1],
        "configurations": [],
        "scores": [],
        "comparisons": [],
        "tradeoffs": None,
        "paper": [],
        "failures": [],
        "finished": 0,
    }
    text = " ".join(printed(empty).split())
    assert text.startswith(
        "controls: The primary comparison, factors lam=0.02 against permuted lam=0.02, has no results"
    )
    assert "0 of 32 cells are finished." in text
    text = printed({**empty, "plan": {"analysis": {"primary": None}}})
    assert text.startswith("controls: No primary comparison was fixed beforehand.")


def test_a_finished_study_has_no_warning(study: tuple[Path, Findings]) -> None:
    whole: Findings = {**study[1], "failures": [], "finished": study[1]["cells"]}
    assert study_words.unfinished(whole) == []
    assert "are finished" not in printed(whole)


def test_a_smaller_area_is_not_said_to_tell_of_more_than_less_training(study: tuple[Path, Findings]) -> None:
    tradeoffs = study[1]["tradeoffs"]
    assert tradeoffs
    assert "a smaller area may be less training" in study_words.area_note(tradeoffs)
