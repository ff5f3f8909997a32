"""Trade-off curves, costs and a paper's figures in the findings of studies of constructed answers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from constructed import ARMS, PLAN, analysed, cells_for, drawn, study_of, write_base, write_cells

from flexlora.studies.analysis import numbers_of
from flexlora.studies.findings import Findings
from flexlora.studies.results import Origin, Results


def test_curves_have_every_strength_and_grid_point_above_one_reference(tmp_path: Path) -> None:
    grid: dict[str, tuple[str, dict[str, Any]]] = {
        "none": ("none", {}),
        "factors lam=1": ("factors", {"penalty.lam": 1}),
        "factors lam=2": ("factors", {"penalty.lam": 2}),
    }
    cells = cells_for(grid, 3)
    draw = drawn({"none": -0.1, "factors lam=1": 0.1, "factors lam=2": 0.2})
    write_base(tmp_path, draw)
    write_cells(tmp_path, cells, draw, variants=["adapter@0.5", "adapter", "merged"])
    study = study_of(analysis=PLAN["analysis"] | {"primary": None, "confirmatory": []})
    tradeoffs = analysed(tmp_path, study, cells)[0]["tradeoffs"]
    assert tradeoffs is not None
    none, factors = tradeoffs["curves"]
    assert [(point["config"], point["variant"]) for point in factors["points"]] == [
        (f"factors lam={lam}", variant) for lam in (1, 2) for variant in ("adapter@0.5", "adapter")
    ]
    points = [point for curve in tradeoffs["curves"] for point in curve["points"]]
    assert tradeoffs["reference"] == min(0.0, *(point["retention"] for point in points)) < 0
    assert all(point["gain_low"] <= point["gain"] <= point["gain_high"] for point in points)
    assert factors["low"] <= factors["area"] <= factors["high"]
    assert "difference" not in none
    assert factors["difference"]["against"] == "none"
    assert factors["difference"]["difference"] == pytest.approx(factors["area"] - none["area"])


def test_points_over_two_bases_make_two_curves(planted: tuple[Path, Findings, Results]) -> None:
    results = copy.deepcopy(planted[2])
    for config in ("base", "none", "factors"):
        origin = results.configurations[config]
        other = Origin(arm=origin.arm, point={"model": "b"}, base="base,model=b")
        name = "base,model=b" if config == "base" else f"{config} model=b"
        results.configurations[name] = other
        for (owner, variant, task), answers in planted[2].answers.items():
            if owner == config:
                results.answers[name, variant, task] = answers
    study = study_of(analysis={"tradeoff": PLAN["analysis"]["tradeoff"]})
    curves = numbers_of(results, study)[2]["curves"]
    assert [(curve["arm"], [point["config"] for point in curve["points"]]) for curve in curves] == [
        ("none over base", ["none"]),
        ("factors over base", ["factors"]),
        ("permuted over base", ["permuted"]),
        ("none over base,model=b", ["none model=b"]),
        ("factors over base,model=b", ["factors model=b"]),
    ]
    assert curves[-1]["difference"]["against"] == "none over base,model=b"
    assert curves[-1]["area"] == curves[1]["area"]


def test_costs_and_a_papers_figures_stand_beside_the_studys(
    planted: tuple[Path, Findings, Results],
) -> None:
    figures = [
        {"config": "none", "measure": "tiny/A/py", "value": 40.1, "note": "n"},
        {"config": "base", "measure": "tiny/A/py", "value": 30.0},
        {"config": "none", "measure": "validation_loss", "value": 1.0},
        {"config": "none", "measure": "train_minutes", "value": 10.0},
        {"config": "none", "measure": "peak_memory_mb", "value": 3671.0},
        {"config": "none", "measure": "humaneval", "value": 1.0},
    ]
    paper = {"model": "tiny", "source": "Table 1", "figures": figures}
    study, cells = study_of(**PLAN, paper=paper), cells_for(ARMS, 5)
    findings, _ = analysed(planted[0], study, cells)
    rows = findings["paper"]
    score = next(s for s in findings["scores"] if (s["config"], s["task"]) == ("none", "tiny/A/py"))
    assert (rows[0]["ours"], rows[0]["low"]) == pytest.approx((100 * score["estimate"], 100 * score["low"]))
    assert rows[1]["ours"] == pytest.approx(100 * findings["scores"][0]["estimate"])
    assert [row["ours"] for row in rows[2:]] == [pytest.approx(0.52), pytest.approx(2.0), pytest.approx(1500), None]
    assert rows[2]["low"] == pytest.approx(0.52 - 2.776 * 0.015811 / 5**0.5, abs=1e-4)
    cost = findings["configurations"][0]["cost"]
    assert cost["validation_loss"] == pytest.approx(0.52)
    assert (cost["steps"], cost["train_s"], cost["trainable_parameters"]) == (20, 120, None)
    other = study_of(**PLAN, paper=paper | {"model": "codellama/CodeLlama-7b-hf"})
    assert analysed(planted[0], other, cells)[0]["paper"] == []
