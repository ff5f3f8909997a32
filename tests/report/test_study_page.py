import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chromium import Opened
from fake_study import HOSTILE, make_study, over_two_bases
from test_page import Page

from flexlora.evaluation.published import CAVEATS
from flexlora.files import write_json
from flexlora.report import study_words as words
from flexlora.report.study_curves import grid_panels, numeric_keys, tradeoff_panel
from flexlora.report.study_figures import difference_figures, score_figures
from flexlora.report.study_flips import study_flips
from flexlora.report.study_page import write_study_report
from flexlora.report.study_training import study_spectra, training_panels
from flexlora.studies.findings import Findings

Study = tuple[Path, Findings]
Open = Callable[[Path, str], Opened]


def html_of(study: Study) -> str:
    return (study[0] / "report.html").read_text("utf-8")


def test_the_headline_is_the_primary_comparison_in_words(study: Study) -> None:
    html = html_of(study).replace("\u00a0", " ")
    headlines = re.findall(r'<p class="headline (\w+)">([^<]+)</p>', html)
    assert [(kind, line.split("] ")[-1].rpartition(": ")[2]) for kind, line in headlines] == [
        ("better", "better"),
        ("no", "not shown"),
    ]
    assert re.fullmatch(
        r"Java \(tiny/A/java\) \+\d+\.\d \[[+−]\d+\.\d, \+\d+\.\d\], p = 0\.\d+ after correction: better",
        headlines[0][1],
    )
    second = words.of_kind(study[1], words.PRIMARY)[1]
    assert html.count(words.detectable(second)) >= 1
    assert html.index("not shown</p>") < html.index(words.detectable(second))


def test_every_section_of_a_study_is_there(study: Study) -> None:
    html = html_of(study)
    for section in [
        "verdict",
        "scores",
        "differences",
        "grid",
        "tradeoff",
        "flipped",
        "training",
        "spectrum",
        "cost",
        "paper",
        "provenance",
        "cite",
    ]:
        assert f'<section id="{section}"' in html
        assert f'<a href="#{section}">' in html
    for title in ("Training loss", "Gradient norm", "Validation loss", "Retention against gain"):
        assert title in html
    for title in ("Primary comparison against", "Confirmatory comparisons against", "Exploratory comparisons against"):
        assert title in html
    for caveat in CAVEATS:
        assert caveat.replace("'", "&#39;") in html


def test_what_is_unfinished_comes_before_the_verdict(study: Study) -> None:
    html = html_of(study)
    warning = html.index('id="unfinished"')
    assert warning < html.index('class="headline')
    assert "28 of 32 cells are finished" in html[warning:]
    assert "none (seed 7); factors lam=0.08 (seed 2)" in html[warning:]
    assert "factors,lam=0.08,seed=2" in html[warning : html.index('class="headline')]


def test_nothing_of_a_study_points_outside_its_page_or_becomes_a_tag(study: Study) -> None:
    page = Page(html_of(study))
    links = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "action")]
    assert links
    assert all(str(link).startswith("#") for link in links)
    assert not {tag for tag, _ in page.tags} & {"link", "img", "iframe", "object", "base"}
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 2
    assert not re.search(r"\sstyle=", html_of(study))
    assert any(HOSTILE in sample["completion"] for sample in json.loads(page.data)["samples"])


def test_both_programs_of_a_flipped_problem_are_of_one_seed(study: Study) -> None:
    data = json.loads(Page(html_of(study)).data)
    findings = study[1]
    primary = words.of_kind(findings, words.PRIMARY)[0]
    shown = next(flip for flip in data["flips"] if flip["name"].endswith(primary["task"]))
    assert [pair["id"] for pair in shown["pairs"]] == primary["gained"] + primary["lost"]
    for flip in data["flips"]:
        for pair in flip["pairs"]:
            left, right = data["samples"][pair["left"]], data["samples"][pair["right"]]
            assert left["id"] == right["id"] == pair["id"]
            assert (left["status"] == "OK", right["status"] == "OK") == (
                pair["kind"] == "lost",
                pair["kind"] == "gained",
            )
            if "against base" not in flip["name"]:
                assert [
                    name for name, value in left["facts"] if name == "seed" and [name, value] in right["facts"]
                ] == ["seed"]


def test_programs_that_flipped_against_one_of_two_bases_are_shown(study: Study, tmp_path: Path) -> None:
    shutil.copytree(study[0] / "cells", tmp_path / "cells")
    for model in "ab":
        shutil.copytree(study[0] / "bases" / "base", tmp_path / "bases" / f"base,model={model}")
    samples = tmp_path / "bases" / "base,model=b" / "base" / "tiny--A--java" / "samples.jsonl"
    samples.write_text(samples.read_text().replace("    total = ", "    b = total = "))
    of_two = over_two_bases(study[1])
    for model in "ab":
        comparisons = [one for one in of_two["comparisons"] if one["against"] == f"base,model={model}"]
        flips = study_flips(tmp_path, {**of_two, "comparisons": comparisons})
        shown = {flip["name"]: flip["pairs"] for flip in flips.flips}
        java = next(one for one in comparisons if one["task"] == "tiny/A/java" and one["lost"])
        pairs = shown[f"{java['config']} against base,model={model}, tiny/A/java"]
        assert [pair["id"] for pair in pairs] == java["gained"] + java["lost"]
        bases = [flips.samples[pair["left"]] for pair in pairs]
        assert {one["completion"].startswith("    b = ") for one in bases} == {model == "b"}


def test_a_line_is_called_the_base_only_where_there_is_one(study: Study, tmp_path: Path) -> None:
    of_two = over_two_bases(study[1])
    waiting: Findings = {**study[1], "unfinished_bases": ["base,model=b"]}
    for findings, one_base in ((study[1], True), (of_two, False), (waiting, False)):
        groups = [group for figure in score_figures(findings) for group in figure.groups]
        assert {group.line is not None for group in groups} == {one_base}
        _, panels = grid_panels(findings, "penalty.lam")
        assert any(panel.level is not None for panel in panels) == one_base
    caption = "dashed line is the base"
    assert html_of(study).count(caption) == 2
    html = write_study_report(tmp_path, of_two).read_text("utf-8")
    assert caption not in html
    assert "Small strokes are seeds." in html


def test_a_study_of_which_nothing_is_finished_renders(study: Study, tmp_path: Path) -> None:
    empty: Findings = {
        **study[1],
        "configurations": [{**one, "seeds": [], "cells": {}} for one in study[1]["configurations"]],
        "scores": [],
        "comparisons": [],
        "tradeoffs": None,
        "paper": [],
        "finished": 0,
        "unfinished_bases": ["base"],
    }
    for one in empty["configurations"]:
        one.pop("cost", None)
    html = write_study_report(tmp_path, empty).read_text("utf-8")
    assert "0 of 32 cells are finished" in html
    assert "Without a base" in html
    assert "The primary comparison, factors lam=0.02 against permuted lam=0.02, has no results yet." in html
    for section in ("scores", "differences", "grid", "tradeoff", "flipped", "training", "cost", "paper"):
        assert f'id="{section}"' not in html


def test_audits_of_merges_in_cells_are_shown(study: Study, tmp_path: Path) -> None:
    assert 'id="merge"' not in html_of(study)
    update = {"relative_error": 0.08, "kept": 0.97, "read_error": 0.05, "unchanged": 0.4, "overflow": 0}
    row = {"dtype": "bfloat16", "rounding": "nearest", "update": update, "disagreement": None, "modules": {"q": update}}
    audit = {"dtype": "bfloat16", "rounding": "nearest", "notes": [HOSTILE], "rows": [row]}
    audit["adapter_effect"] = {"logit_rms": 1.0, "next_token": 0.5}
    one = study[1]["configurations"][0]
    merged = f"{one['cells']['0']}/{one['arm']}/merged"
    write_json(tmp_path / merged / "merge_audit.json", audit)
    html = write_study_report(tmp_path, study[1]).read_text("utf-8")
    section = html[html.index('<section id="merge"') : html.index('<section id="cost"')]
    assert f"<code>{merged}</code>" in section
    assert '<a href="#merge">' in html


def test_cells_that_are_gone_leave_the_rest_of_the_page(study: Study, tmp_path: Path) -> None:
    html = write_study_report(tmp_path, study[1]).read_text("utf-8")
    assert 'id="scores"' in html
    assert 'id="flipped"' not in html
    assert 'id="training"' not in html


def test_kinds_of_comparisons_are_drawn_apart_and_within_their_axes(study: Study) -> None:
    findings = study[1]
    for kind in words.KINDS:
        rows = [row for figure in difference_figures(findings, kind) for group in figure.groups for row in group.rows]
        assert len(rows) == len(words.of_kind(findings, kind))
        assert all(0 <= at <= 100 for row in rows for at in (row.low, row.at, row.high, *row.dots))
    rows = [row for figure in score_figures(findings) for group in figure.groups for row in group.rows]
    assert len(rows) == len(findings["scores"])
    assert all(0 <= at <= 100 for row in rows for at in (row.low, row.at, row.high, *row.dots))


def test_an_interval_without_an_end_stays_on_the_plot(study: Study) -> None:
    one = {**study[1]["comparisons"][0], "low": -float("inf"), "high": float("inf")}
    findings: Findings = {**study[1], "comparisons": [one]}
    row = difference_figures(findings, words.PRIMARY)[0].groups[0].rows[0]
    assert (row.low, row.high) == (0, 100)


def test_the_grid_is_drawn_over_its_numbers(study: Study) -> None:
    findings = study[1]
    assert numeric_keys(findings) == ["penalty.lam"]
    names, panels = grid_panels(findings, "penalty.lam")
    assert names == ["none", "factors", "permuted"]
    java = next(panel for panel in panels if "tiny/A/java" in panel.title)
    by_name = {curve.arm: curve for curve in java.curves}
    assert [len(by_name[name].marks) for name in names] == [0, 3, 1]
    xs = [mark.x for mark in by_name["factors"].marks]
    assert xs == sorted(xs)
    assert [label for _, label in java.x_ticks] == ["0.005", "0.02", "0.08"]
    # More of the penalty keeps more Java here, and upwards is less.
    assert by_name["factors"].marks[0].y > by_name["factors"].marks[2].y


def test_the_trade_off_has_all_points_of_all_arms(study: Study) -> None:
    tradeoffs = study[1]["tradeoffs"]
    assert tradeoffs
    panel = tradeoff_panel(tradeoffs)
    assert [len(curve.marks) for curve in panel.curves] == [len(curve["points"]) for curve in tradeoffs["curves"]]
    for curve in panel.curves:
        xs, ys = zip(*(map(float, pair.split(",")) for pair in curve.points.split()), strict=True)
        assert xs[0] / 10 == pytest.approx(panel.threshold, abs=0.02)
        assert xs[-1] == pytest.approx(max(mark.x for mark in curve.marks), abs=0.1)
        for mark in curve.marks:
            # Upwards is less: no point lies beyond the front.
            assert mark.x < xs[0] or mark.y >= np.interp(mark.x, xs, ys) - 0.2
            assert mark.across is not None
            assert mark.along is not None
            assert 0 <= mark.across[0] <= mark.x <= mark.across[1] <= 1000
            assert 0 <= mark.along[1] <= mark.y <= mark.along[0] <= 1000


def test_trainings_are_means_within_what_the_seeds_span(study: Study) -> None:
    folder, findings = study
    for panel in training_panels(folder, findings["configurations"]):
        for curve in panel.curves:
            band = [float(pair.split(",")[1]) for pair in curve.band.split()]
            mean = [float(pair.split(",")[1]) for pair in curve.points.split()]
            lower, upper = band[: len(mean)], band[: len(mean) - 1 : -1]
            assert all(high - 0.2 <= at <= low + 0.2 for at, low, high in zip(mean, lower, upper, strict=True))


def test_spectra_are_means_over_seeds(study: Study) -> None:
    folder, findings = study
    one = next(one for one in findings["configurations"] if one["name"] == "factors lam=0.02")
    logs = [(folder / cell / "factors/train/spectrum.jsonl").read_text().splitlines() for cell in one["cells"].values()]
    shares = [json.loads(log[-1])["share"]["A"] for log in logs]
    change = next(c for c in study_spectra(folder, [one]).changes if c.factor == "A")
    assert change.share[1] == pytest.approx(sum(shares) / len(shares))


def test_many_configurations_are_drawn_by_those_fixed_beforehand(study: Study) -> None:
    findings = study[1]
    many = [{**one, "name": f"{one['name']} {n}"} for n in range(3) for one in findings["configurations"]]
    drawn = words.drawn({**findings, "configurations": many})
    assert len(drawn) == words.MOST_DRAWN
    assert all(one["confirmatory"] for one in drawn)


def test_words_of_verdicts_follow_the_corrected_p_value(study: Study) -> None:
    one = {**study[1]["comparisons"][0], "difference": 0.031, "low": 0.004, "high": 0.059, "p_value": 0.01}
    assert words.headline({**one, "p_corrected": 0.03}, 2) == (
        "Java (tiny/A/java) +3.1 [+0.4, +5.9], p = 0.03 after correction: better"
    )
    assert words.verdict({**one, "p_corrected": 0.06}) == "no difference shown"
    alone = words.headline({**one, "p_corrected": 0.06}, 1)
    assert alone.endswith("p = 0.06: not shown")
    said = words.sentence({**one, "p_corrected": 0.06, "detectable": 0.042}, 2)
    assert "4.2 points or more would be found in four of five" in said


def test_a_study_opens_in_a_browser_without_errors_or_requests(study: Study, open_page: Open) -> None:
    flips = json.loads(Page(html_of(study)).data)["flips"]
    number, flip = max(enumerate(flips), key=lambda pair: len(pair[1]["pairs"]))
    gained = [pair["id"] for pair in flip["pairs"] if pair["kind"] == "gained"]
    assert len(gained) > 1
    opened = open_page(study[0] / "report.html", f"#comparison={number}&kind=gained&problem={gained[-1]}")
    assert opened.console == []
    assert opened.requests == []
    place = opened.dom[opened.dom.index('<div id="flip">') : opened.dom.index("<noscript>")]
    assert f">Problem {len(gained)} of {len(gained)}<" in opened.dom
    assert re.findall(r'class="status \w+">(\w+)<', place) == ["Exception", "OK"]
    assert 'class="before differs"' in place
    assert "AssertionError: solve(" in place
    assert "<script" not in place
    assert "<title>controls · FLeX report</title>" in opened.dom


def test_the_browser_test_would_see_errors_and_requests(tmp_path: Path, open_page: Open) -> None:
    page = tmp_path / "leaking.html"
    page.write_text("<img src='http://127.0.0.1:9/pixel.png'><script>nothing.here</script>")
    opened = open_page(page, "")
    assert opened.requests == ["http://127.0.0.1:9/pixel.png"]
    assert "ReferenceError" in opened.console[0]


def test_the_same_findings_make_the_same_page(study: Study, tmp_path: Path) -> None:
    again = make_study(tmp_path)
    assert write_study_report(tmp_path, again).read_bytes() == (study[0] / "report.html").read_bytes()
