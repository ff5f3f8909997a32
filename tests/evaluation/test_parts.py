"""Programs with test cases: the share of tests passed, and scores by the parts of a task."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flexlora.errors import FlexError
from flexlora.evaluation import Entry, Summary, score_run
from flexlora.report import print_summary, write_report

PARTS = {"A/0": "easy", "A/1": "easy", "A/2": "hard"}
NOTE = "2 of 5 apps problems left out: no tests (A/3, A/4)"


def write_results(folder: Path, passed: dict[str, list[int]], total: int = 4, **fields: Any) -> None:
    """`passed`: task_id -> how many of the `total` tests each of its samples passed."""
    folder.mkdir(parents=True)
    lines = [
        {
            "task_id": task_id,
            "sample": sample,
            "status": "OK" if count == total else "Exception",
            "passed": count == total,
            "tests": {"passed": count, "total": total, "first_failed": None if count == total else 1, "reason": ""},
            **fields,
        }
        for task_id, counts in passed.items()
        for sample, count in enumerate(counts)
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def scored(run: Path, samples: int = 1, parts: dict[str, str] = PARTS, ks: tuple[int, ...] = (1,)) -> Summary:
    entry = Entry(
        arm=None,
        variant="base",
        model="m",
        task="apps",
        language="py",
        path="base/apps",
        expected=frozenset((task_id, sample) for task_id in PARTS for sample in range(samples)),
        parts=parts,
    )
    provenance = {"tasks": {"apps": {"data": {"notes": [NOTE]}}}}
    return score_run(run, [entry], ks, name="run", provenance=provenance)


def test_strict_accuracy_and_share_of_tests_in_all_and_by_part(tmp_path: Path) -> None:
    write_results(tmp_path / "base/apps", {"A/0": [4], "A/1": [1], "A/2": [2]})
    (score,) = scored(tmp_path)["scores"]
    assert score["pass_at_k"]["1"]["estimate"] == pytest.approx(1 / 3)
    assert score["tests_passed"]["estimate"] == pytest.approx((1 + 0.25 + 0.5) / 3)
    assert score["tests_passed"]["low"] <= score["tests_passed"]["estimate"] <= score["tests_passed"]["high"]
    assert list(score["parts"]) == ["easy", "hard"]
    easy, hard = score["parts"].values()
    assert (easy["problems"], easy["pass_at_k"]["1"]["estimate"]) == (2, 0.5)
    assert easy["tests_passed"]["estimate"] == pytest.approx(0.625)
    assert (hard["problems"], hard["pass_at_k"]["1"]["estimate"]) == (1, 0.0)
    assert hard["tests_passed"]["estimate"] == 0.5


def test_of_several_samples_the_share_is_their_mean(tmp_path: Path) -> None:
    write_results(tmp_path / "base/apps", {"A/0": [4, 0], "A/1": [1, 3], "A/2": [2, 2]})
    (score,) = scored(tmp_path, samples=2, ks=(1, 2))["scores"]
    assert score["tests_passed"]["estimate"] == pytest.approx(0.5)
    assert score["pass_at_k"]["1"]["estimate"] == pytest.approx(0.5 / 3)
    assert set(score["parts"]["easy"]["pass_at_k"]) == {"1", "2"}


def test_tasks_without_cases_or_parts_say_nothing_of_them(tmp_path: Path) -> None:
    write_results(tmp_path / "base/apps", {"A/0": [4], "A/1": [1], "A/2": [2]}, tests=None)
    (score,) = scored(tmp_path, parts={})["scores"]
    assert not {"tests_passed", "parts"} & set(score)


def test_results_of_which_only_some_count_tests_are_refused(tmp_path: Path) -> None:
    write_results(tmp_path / "base/apps", {"A/0": [4], "A/1": [1]})
    with (tmp_path / "base/apps/results.jsonl").open("a") as file:
        file.write(json.dumps({"task_id": "A/2", "sample": 0, "status": "OK", "passed": True}) + "\n")
    with pytest.raises(FlexError, match="1 results do not say how many tests passed"):
        scored(tmp_path)


def test_both_reports_show_them(tmp_path: Path) -> None:
    write_results(tmp_path / "base/apps", {"A/0": [4], "A/1": [1], "A/2": [2]})
    summary = scored(tmp_path)
    text = io.StringIO()
    print_summary(summary, Console(file=text, width=80))
    shown = text.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    lines = [line.split() for line in shown.splitlines()]
    assert ["base", "3", "33.3", "[6.1,", "79.2]", "58.3", "[25.0,", "100.0]"] in lines
    assert any(line[:4] == ["easy", "2", "50.0", "[9.5,"] and line[5] == "62.5" for line in lines)
    assert NOTE in " ".join(shown.split())
    page = write_report(tmp_path, summary, {}).read_text()
    assert "Programs with tests" in page
    assert "58.3" in page
    assert "base, easy" in page
    assert NOTE in page
