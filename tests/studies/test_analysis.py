"""Studies of constructed answers: a null study finds nothing, a planted effect is found, and nothing is lost."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from constructed import (
    ARMS,
    PLAN,
    RECIPE,
    TASKS,
    analysed,
    cells_for,
    drawn,
    made,
    rewritten,
    study_of,
    write_base,
    write_cells,
    write_run,
)
from simulated import tolerance
from typer.testing import CliRunner

from flexlora.cli import app
from flexlora.errors import UsageError
from flexlora.evaluation.compare import mcnemar
from flexlora.evaluation.holm import holm
from flexlora.studies.analysis import analyse, numbers_of, recompute, write_findings
from flexlora.studies.cells import bases_of, cells_of
from flexlora.studies.comparing import rivals_of
from flexlora.studies.events import Events
from flexlora.studies.files import load_study
from flexlora.studies.findings import Findings, StudyComparison
from flexlora.studies.folder import begin_study, locked_study
from flexlora.studies.fronts import front_area
from flexlora.studies.results import Answers, Origin, Results, TaskProblems, load_results, write_results
from flexlora.studies.statistics import compare_arms


def one(findings: Findings, config: str, against: str, task: str = "tiny/A/java") -> StudyComparison:
    return next(
        found
        for found in findings["comparisons"]
        if (found["config"], found["against"], found["task"]) == (config, against, task)
    )


def test_a_null_study_finds_nothing(tmp_path: Path) -> None:
    """Two arms from one distribution: neither the primary comparison, nor any against an arm, nor a curve differs."""
    findings, _ = made(tmp_path, {}, seed=4)
    assert len(findings["comparisons"]) == 2 + 2 * (3 + 2)
    among_arms = [found for found in findings["comparisons"] if found["against"] != "base"]
    assert len(among_arms) == 6
    assert all(found["p_corrected"] > 0.05 and found["low"] <= 0 <= found["high"] for found in among_arms)
    assert findings["tradeoffs"] is not None
    for curve in findings["tradeoffs"]["curves"]:
        assert curve["front"][0][0] == 0
        assert front_area(curve["front"], findings["tradeoffs"]["reference"]) == pytest.approx(curve["area"])
    areas = {curve["arm"]: curve["difference"] for curve in findings["tradeoffs"]["curves"] if "difference" in curve}
    assert all(one["p_value"] > 0.05 for one in areas.values())
    corrected = holm({arm: one["p_value"] for arm, one in areas.items()})
    assert {arm: one["p_corrected"] for arm, one in areas.items()} == corrected


def test_of_many_null_studies_few_find_anything_in_their_primary_family() -> None:
    study = study_of(**PLAN | {"analysis": PLAN["analysis"] | {"tradeoff": None}})
    trials, found = 150, 0
    for trial in range(trials):
        draw = drawn(dict.fromkeys(ARMS, 0.0), of_seed=0.1, seed=trial)
        results = Results(study="null")
        for task, language in TASKS.items():
            results.tasks[task] = TaskProblems(language=language, problems=tuple(f"A/{at}" for at in range(60)))
        for arm in ARMS:
            results.configurations[arm] = Origin(arm=arm, point={}, base="base")
            for task in TASKS:
                passes = {seed: tuple(draw(arm, "adapter", task, seed).tolist()) for seed in range(4)}
                results.answers[arm, "adapter", task] = Answers(samples=1, passes=passes)
        primary = [one for one in numbers_of(results, study)[1] if one["family"] == "primary"]
        assert len(primary) == 2
        found += min(one["p_corrected"] for one in primary) < 0.05
    assert found / trials <= 0.05 + tolerance(0.05, trials)


def test_a_planted_effect_is_found_in_the_primary_comparison_and_nowhere_else(
    planted: tuple[Path, Findings, Results],
) -> None:
    _, findings, _ = planted
    primary = findings["comparisons"][:2]
    assert [found["family"] for found in primary] == ["primary", "primary"]
    assert {found["task"] for found in primary} == {"tiny/A/py", "tiny/A/java"}
    for found in primary:
        assert (found["config"], found["against"]) == ("factors", "permuted")
        assert found["p_corrected"] < 0.05
        assert found["low"] > 0
        assert len(found["gained"]) > len(found["lost"])
    assert one(findings, "factors", "none")["p_corrected"] < 0.05
    assert one(findings, "permuted", "none")["p_corrected"] > 0.05


def test_every_number_is_that_of_the_statistics_on_the_drawn_answers(planted: tuple[Path, Findings, Results]) -> None:
    _, findings, _ = planted
    draw = drawn({"none": 0.0, "factors": 0.35, "permuted": 0.0}, seed=1)

    def values(config: str) -> Any:
        rows = np.array([draw(config, "adapter", "tiny/A/java", seed) for seed in range(5)], dtype=float)
        order = sorted(range(60), key=lambda number: f"A/{number}")
        return rows[:, order]

    expected = compare_arms(values("none"), values("factors"))
    found = one(findings, "factors", "none")
    assert found["difference"] == pytest.approx(expected.difference)
    assert (found["low"], found["high"]) == pytest.approx((expected.interval.low, expected.interval.high))
    assert found["p_value"] == pytest.approx(expected.p_value)
    assert found["per_seed"] == pytest.approx((values("factors") - values("none")).mean(axis=1))
    assert found["detectable"] == pytest.approx(expected.spread.detectable(2))
    score = next(s for s in findings["scores"] if (s["config"], s["task"]) == ("factors", "tiny/A/java"))
    assert score["estimate"] == pytest.approx(values("factors").mean())
    assert score["per_seed"] == pytest.approx(values("factors").mean(axis=1))


def test_families_are_corrected_together(planted: tuple[Path, Findings, Results]) -> None:
    _, findings, _ = planted
    families: dict[str, list[StudyComparison]] = {}
    for found in findings["comparisons"]:
        families.setdefault(found["family"], []).append(found)
    assert set(families) == {
        "primary",
        *(f"confirmatory against none: adapter tiny/A/{lang}" for lang in ("py", "java")),
        *(f"exploratory against base: adapter tiny/A/{lang}" for lang in ("py", "java")),
    }
    for members in families.values():
        corrected = holm({str(at): found["p_value"] for at, found in enumerate(members)})
        assert [found["p_corrected"] for found in members] == list(corrected.values())


def test_the_base_has_one_seed_that_all_are_paired_with(planted: tuple[Path, Findings, Results]) -> None:
    _, findings, _ = planted
    found = one(findings, "none", "base")
    assert found["seeds"] == [0, 1, 2, 3, 4]
    assert found["method"] == "t over seeds and problems"
    base = next(score for score in findings["scores"] if score["config"] == "base")
    assert (base["variant"], base["seeds"]) == ("base", [0])


def test_a_half_finished_study_pairs_the_seeds_that_both_have_and_lists_the_rest(
    planted: tuple[Path, Findings, Results], tmp_path: Path
) -> None:
    folder = shutil.copytree(planted[0], tmp_path / "study")
    for name in ("none,seed=0", "factors,seed=1", "factors,seed=4", *(f"permuted,seed={seed}" for seed in range(5))):
        shutil.rmtree(folder / "cells" / name)
    findings, results = analysed(folder, study_of(**PLAN), cells_for(ARMS, 5))
    configurations = {found["name"]: found for found in findings["configurations"]}
    assert configurations["none"]["unfinished"] == [0]
    assert configurations["factors"]["seeds"] == [0, 2, 3]
    assert configurations["permuted"]["unfinished"] == [0, 1, 2, 3, 4]
    assert "cost" not in configurations["permuted"]
    assert one(findings, "factors", "none")["seeds"] == [2, 3]
    assert one(findings, "factors", "base")["seeds"] == [0, 2, 3]
    assert (findings["cells"], findings["finished"]) == (15, 7)
    assert not [found for found in findings["comparisons"] if "permuted" in (found["config"], found["against"])]
    assert [curve["arm"] for curve in findings["tradeoffs"]["curves"]] == ["none", "factors"]
    assert findings["tradeoffs"]["curves"][1]["difference"]["seeds"] == [2, 3]
    assert "permuted" in results.configurations


def test_one_shared_seed_is_compared_over_problems_only_and_says_so(
    planted: tuple[Path, Findings, Results], tmp_path: Path
) -> None:
    folder = shutil.copytree(planted[0], tmp_path / "study")
    for seed in (1, 2, 3, 4):
        shutil.rmtree(folder / "cells" / f"none,seed={seed}")
    found = one(analysed(folder, study_of(**PLAN), cells_for(ARMS, 5))[0], "factors", "none")
    assert (found["seeds"], found["method"]) == ([0], "one seed, so over problems only: exact McNemar")
    assert found["p_value"] == mcnemar(len(found["gained"]), len(found["lost"]))


def test_without_its_base_a_study_is_analysed_all_the_same(
    planted: tuple[Path, Findings, Results], tmp_path: Path
) -> None:
    folder = shutil.copytree(planted[0], tmp_path / "study")
    shutil.rmtree(folder / "bases")
    findings, _ = analysed(folder, study_of(**PLAN), cells_for(ARMS, 5))
    assert findings["unfinished_bases"] == ["base"]
    assert {found["against"] for found in findings["comparisons"]} == {"none", "permuted"}
    assert findings["tradeoffs"]["curves"] == []


def test_nothing_finished_is_no_error(tmp_path: Path) -> None:
    findings, _ = analysed(tmp_path, study_of(**PLAN), cells_for(ARMS, 2))
    assert (findings["finished"], findings["scores"], findings["comparisons"]) == (0, [], [])
    assert [found["unfinished"] for found in findings["configurations"]] == [[0, 1]] * 3


@pytest.mark.parametrize("name", ["results.jsonl", "results.jsonl.gz"])
def test_every_number_can_be_had_again_from_the_compact_file_and_the_plan(
    planted: tuple[Path, Findings, Results], tmp_path: Path, name: str
) -> None:
    _, findings, results = planted
    write_results(tmp_path / name, results)
    scores, comparisons, tradeoffs = numbers_of(load_results(tmp_path / name), study_of(**PLAN))
    assert scores == findings["scores"]
    assert comparisons == findings["comparisons"]
    assert tradeoffs == findings["tradeoffs"]
    assert load_results(tmp_path / name) == results
    first = (tmp_path / name).read_bytes()
    write_results(tmp_path / name, load_results(tmp_path / name))
    assert (tmp_path / name).read_bytes() == first
    assert first.startswith(b"\x1f\x8b") == name.endswith("gz")


def test_many_samples_are_kept_as_numbers_and_pass_at_k_is_recomputed(tmp_path: Path) -> None:
    cells = cells_for({"none": ("none", {}), "factors": ("factors", {})}, 3)
    draw = drawn({"none": 0.0, "factors": 0.1}, samples=12)
    write_base(tmp_path, draw, samples=12)
    write_cells(tmp_path, cells, draw, samples=12)
    study = study_of(arms={"none": {}, "factors": {}}, analysis={"k": 3})
    findings, results = analysed(tmp_path, study, cells)
    write_results(tmp_path / "results.jsonl", results)
    assert '"passes":{"0":[' in (tmp_path / "results.jsonl").read_text()
    assert numbers_of(load_results(tmp_path / "results.jsonl"), study)[1] == findings["comparisons"]
    assert {score["k"] for score in findings["scores"]} == {3}
    assert findings["scores"][0]["estimate"] > 0.5 < findings["scores"][0]["low"] + 0.2


def test_an_arm_stands_for_its_configuration_at_the_same_point(tmp_path: Path) -> None:
    grid = {
        f"{arm} rank={rank}" + (f" lam={lam}" if lam else ""): (
            arm,
            {"lora.rank": rank, **({"penalty.lam": lam} if lam else {})},
        )
        for arm, lams in (("none", (0,)), ("factors", (1, 2)))
        for rank in (4, 8)
        for lam in lams
    }
    _, results = analysed(tmp_path, study_of(), cells_for(grid, 1))
    assert rivals_of(results, study_of().analysis, "factors rank=8 lam=2") == ["none rank=8"]
    named = study_of(analysis={"against": ["none", "factors rank=4 lam=1"]}).analysis
    assert rivals_of(results, named, "factors rank=4 lam=2") == ["none rank=4", "factors rank=4 lam=1"]
    assert rivals_of(results, named, "none rank=8") == ["factors rank=4 lam=1"]


def test_nothing_is_compared_over_two_bases(tmp_path: Path) -> None:
    key = "sampling.temperature"
    grid = {f"{arm} temperature={heat}": (arm, {key: heat}) for arm in ("none", "factors") for heat in (0, 1)}
    cells = [replace(cell, base=f"base,temperature={cell.point[key]}") for cell in cells_for(grid, 1)]
    _, results = analysed(tmp_path, study_of(), cells)
    assert rivals_of(results, study_of().analysis, "factors temperature=1") == ["none temperature=1"]
    named = study_of(analysis={"against": ["none temperature=0"]}).analysis
    assert rivals_of(results, named, "factors temperature=0") == ["none temperature=0"]
    assert rivals_of(results, named, "factors temperature=1") == []
    primary = {"config": "factors temperature=0", "against": "none temperature=1", "tasks": ["tiny/A/py"]}
    with pytest.raises(UsageError, match="Compare two configurations over one base"):
        numbers_of(results, study_of(analysis={"primary": primary}))


def test_provenance_says_what_differs_between_cells(planted: tuple[Path, Findings, Results], tmp_path: Path) -> None:
    assert planted[1]["provenance"]["differs"] == {}
    folder = shutil.copytree(planted[0], tmp_path / "study")
    rewritten(folder, "none,seed=1", lambda summary: summary["provenance"]["environment"].update(cores=64))
    differs = analysed(folder, study_of(**PLAN), cells_for(ARMS, 5))[0]["provenance"]["differs"]
    assert differs["environment.cores"]["64"] == ["cells/none,seed=1"]
    assert len(differs["environment.cores"]["2"]) == 15


def test_findings_are_plain_json(planted: tuple[Path, Findings, Results]) -> None:
    findings = planted[1]
    assert json.loads(json.dumps(findings, allow_nan=False)) == findings


def test_a_folder_is_analysed_as_the_runner_leaves_it(tmp_path: Path) -> None:
    """`study.yaml` to `study.json` and `results.jsonl`, with a cell that failed; and all again from the latter."""
    arms = {"none": {"penalty": {"lam": 0.0}}, "factors": {"penalty": {"lam": 0.02}}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"recipe": RECIPE, "arms": arms, "seeds": 2}, sort_keys=False))
    study, folder = load_study(tmp_path / "plan.yaml"), tmp_path / "study"
    with locked_study(folder):
        begin_study(study, folder)
    cells, draw = cells_of(study), drawn({"none": 0.0, "factors": 0.1})
    assert [cell.config for cell in cells] == ["none", "none", "factors", "factors"]
    write_run(folder / "bases" / "base", bases_of(study)["base"], "base", None, ["base"], draw, 1)
    write_cells(folder, cells[:3], draw)
    Events(folder).add(cells[0].name, "failed", error="finished by hand")
    Events(folder).add(cells[3].name, "failed", error="killed by signal 9")
    findings = write_findings(folder)
    assert (findings["finished"], findings["cells"], findings["unfinished_bases"]) == (3, 4, [])
    assert [(one["cell"], one["error"]) for one in findings["failures"]] == [(cells[3].name, "killed by signal 9")]
    assert one_of(findings["configurations"], "factors")["unfinished"] == [1]
    assert findings["comparisons"] == analyse(folder)["comparisons"]
    assert json.loads((folder / "study.json").read_bytes()) == findings
    recomputed = recompute(folder / "results.jsonl", load_study(folder / "study.yaml"))
    for key in ("scores", "comparisons", "tradeoffs", "plan", "finished", "unfinished_bases"):
        assert recomputed[key] == findings[key]
    assert [{**one, "cost": None} for one in recomputed["configurations"]] == [
        {**one, "cost": None} for one in findings["configurations"]
    ]
    other = load_study(folder / "study.yaml").model_copy(update={"name": "other"})
    with pytest.raises(UsageError, match=r"holds the study .* and the plan is of 'other'"):
        recompute(folder / "results.jsonl", other)
    shown = CliRunner().invoke(app, ["study", "report", str(folder / "results.jsonl")])
    assert shown.exit_code == 0, shown.output
    assert "3 of 4 cells are finished" in shown.output
    assert "Cost of training" not in shown.output
    assert not (folder / "report.html").exists()
    recipe = folder / "cells" / cells[0].name / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("max_new_tokens: ", "max_new_tokens: 1"))
    assert analyse(folder)["finished"] == 2, "a cell of another recipe is none of this study's"
    assert one_of(analyse(folder)["configurations"], "none")["unfinished"] == [0]


def test_two_are_compared_once_and_the_base_is_planned_only_where_it_is_named(tmp_path: Path) -> None:
    plan = {"against": ["none", "permuted"], "confirmatory": list(ARMS)}
    study, cells, draw = study_of(arms=PLAN["arms"], analysis=plan), cells_for(ARMS, 2), drawn(dict.fromkeys(ARMS, 0.0))
    write_base(tmp_path, draw)
    write_cells(tmp_path, cells, draw)
    _, results = analysed(tmp_path, study, cells)

    def pairs(**analysis: Any) -> list[tuple[str, str, str]]:
        found = numbers_of(results, study_of(arms=PLAN["arms"], analysis=plan | analysis))[1]
        return [(one["family"].split()[0], one["config"], one["against"]) for one in found if "py" in one["task"]]

    once = [("none", "permuted"), ("factors", "none"), ("factors", "permuted")]
    assert pairs() == [
        *(("confirmatory", *pair) for pair in once),
        *(("exploratory", arm, "base") for arm in ARMS),
    ]
    other_way = {"config": "permuted", "against": "none", "tasks": ["tiny/A/py"]}
    assert pairs(primary=other_way)[0] == ("primary", "permuted", "none")
    assert ("confirmatory", "none", "permuted") not in pairs(primary=other_way)
    assert pairs(against=["base"]) == [("confirmatory", arm, "base") for arm in ARMS]


def one_of(configurations: list[Any], name: str) -> Any:
    return next(found for found in configurations if found["name"] == name)
