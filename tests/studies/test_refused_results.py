"""Damaged results, cells that do not go together and plans that name what is not there are refused, by name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from constructed import ARMS, PLAN, analysed, cells_for, rewritten, study_of

from flexlora.errors import FlexError, UsageError
from flexlora.files import append_jsonl
from flexlora.studies.analysis import numbers_of
from flexlora.studies.findings import Findings
from flexlora.studies.results import Results, load_results, write_results


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [], "schema None"),
        (lambda lines: ['{"schema": 9}', *lines[1:]], "schema 9"),
        (lambda lines: [*lines[:-1], lines[-1].replace('"4":"', '"4":"1')], "seed 4: not 60 numbers"),
        (lambda lines: [*lines[:-1], lines[-1].replace('"samples":1', '"samples":0')], "numbers from 0 to 0"),
        (lambda lines: [*lines, lines[-1]], "twice"),
        (lambda lines: [*lines, lines[-1].replace("permuted", "other")], "no configuration"),
        (lambda lines: [*lines, '{"arm": "x"}'], "KeyError"),
        (lambda lines: [*lines, "{"], "not valid JSON"),
    ],
)
def test_a_damaged_compact_file_is_refused_by_its_line(
    planted: tuple[Path, Findings, Results], tmp_path: Path, damage: Any, message: str
) -> None:
    path = tmp_path / "results.jsonl"
    write_results(path, planted[2])
    path.write_text("\n".join(damage(path.read_text().splitlines())) + "\n")
    with pytest.raises(UsageError, match=message):
        load_results(path)


def test_cells_that_were_evaluated_in_another_way_are_refused(
    planted: tuple[Path, Findings, Results], tmp_path: Path
) -> None:
    study, cells = study_of(**PLAN), cells_for(ARMS, 5)
    folder = shutil.copytree(planted[0], tmp_path / "data")
    rewritten(folder, "none,seed=1", lambda s: s["provenance"]["tasks"]["tiny/A/py"]["data"].update(revision="2"))
    with pytest.raises(UsageError, match=r"tiny/A/py: evaluated in different ways.*data.revision: '1' in .*'2' in"):
        analysed(folder, study, cells)

    folder = shutil.copytree(planted[0], tmp_path / "sampling")
    recipe = folder / "cells" / "none,seed=1" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("max_new_tokens: 512", "max_new_tokens: 64"))
    with pytest.raises(UsageError, match=r"sampling.max_new_tokens: 512 in .*64 in"):
        analysed(folder, study, cells)

    folder = shutil.copytree(planted[0], tmp_path / "seed")
    recipe = folder / "cells" / "none,seed=1" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("\nseed: 1", "\nseed: 2"))
    with pytest.raises(UsageError, match="was run with seed 2, and the study has 1"):
        analysed(folder, study, cells)


def test_other_problems_and_changed_verdicts_are_refused(
    planted: tuple[Path, Findings, Results], tmp_path: Path
) -> None:
    study, cells = study_of(**PLAN), cells_for(ARMS, 5)
    folder = shutil.copytree(planted[0], tmp_path / "study")
    results = folder / "cells" / "none,seed=1" / "none" / "eval" / "adapter" / "tiny--A--py" / "results.jsonl"
    append_jsonl(results, {"task_id": "A/60", "sample": 0, "status": "OK", "passed": True})
    with pytest.raises(FlexError, match="changed since"):
        analysed(folder, study, cells)

    def more(summary: Any) -> None:
        score = summary["scores"][0]
        score["problems"], score["statuses"]["OK"] = 61, score["statuses"]["OK"] + 1

    rewritten(folder, "none,seed=1", more)
    with pytest.raises(UsageError, match=r"other problems \(61\).*\(60\).*A/60"):
        analysed(folder, study, cells)


@pytest.mark.parametrize(
    ("analysis", "message"),
    [
        ({"against": ["nobody"]}, "analysis.against: 'nobody'"),
        ({"confirmatory": ["factor"]}, "analysis.confirmatory: 'factor'"),
        ({"primary": {"config": "x", "against": "none", "tasks": ["tiny/A/py"]}}, "analysis.primary: 'x'"),
        ({"primary": {"config": "none", "against": "factors", "tasks": ["tiny/C/py"]}}, "tiny/C/py"),
        ({"tradeoff": {"gain": ["tiny/C/py"], "retention": ["tiny/A/py"]}}, "tiny/C/py"),
    ],
)
def test_a_plan_that_names_what_is_not_there_is_refused(
    planted: tuple[Path, Findings, Results], analysis: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        numbers_of(planted[2], study_of(arms=PLAN["arms"], analysis=analysis))
