import json
import math
from pathlib import Path
from typing import Any

import pytest

from flexlora.evaluation import Summary
from flexlora.files import append_jsonl
from flexlora.report import write_report
from flexlora.report.training_spectra import MOST_COLUMNS, HeatMap, training_spectra

Fake = tuple[Path, Summary]


def log(run: Path, arm: str, step: int, bands: dict[str, list[float]], view: str = "factors", tau: float = 0.5) -> None:
    """A line whose share above tau is what its bands say."""
    energy = {factor: sum(values) for factor, values in bands.items()}
    record: dict[str, Any] = {"step": step, "view": view, "tau": tau, "energy": energy, "bands": bands}
    record["noise"] = {factor: [1 / len(values)] * len(values) for factor, values in bands.items()}
    record["share"] = {f: sum(v[len(v) // 2 :]) / energy[f] if energy[f] else 0.0 for f, v in bands.items()}
    record["centroid"] = {f: 0.25 if energy[f] else None for f in bands}
    record |= {key: dict.fromkeys(bands, 0.5) for key in ("noise_share", "noise_centroid")}
    append_jsonl(run / arm / "train" / "spectrum.jsonl", record)


def cells(found: HeatMap) -> dict[tuple[int, int], int]:
    """(column, row from the top) -> colour"""
    return {
        (int(part.split()[0]), int(part.split()[1].split("h")[0])): colour
        for colour, path in found.paths
        for part in path.split("M")[1:]
    }


def test_colours_tell_power_from_white_noise_with_low_frequencies_at_the_bottom(tmp_path: Path) -> None:
    log(tmp_path, "main", 0, {"A": [1, 1, 1, 1]})
    log(tmp_path, "main", 50, {"A": [20, 10, 10, 0]})  # 2, 1, 1, 0 times white noise
    log(tmp_path, "main", 99, {"A": [1, 0.25, 0.25, 1.5]})  # 4/3, 1/3, 1/3, 2 times
    (found,) = training_spectra(tmp_path, ["main"]).maps
    assert (found.columns, found.rows) == (3, 4)
    assert [cells(found)[0, row] for row in range(4)] == [4, 4, 4, 4]
    assert [cells(found)[1, row] for row in (3, 2, 1, 0)] == [6, 4, 4, 0]
    assert [cells(found)[2, row] for row in (3, 2, 1, 0)] == [5, 1, 1, 6]
    assert [label for _, label in found.x_ticks] == ["0", "50", "99"]


def test_a_factor_of_zeros_is_empty_and_its_change_begins_where_it_has_energy(tmp_path: Path) -> None:
    log(tmp_path, "main", 0, {"A": [1, 1], "B": [0, 0]})
    log(tmp_path, "main", 10, {"A": [1, 1], "B": [1, 3]})
    log(tmp_path, "main", 20, {"A": [3, 1], "B": [6, 2]})
    found = training_spectra(tmp_path, ["main"])
    of_b = next(one for one in found.maps if one.title == "B")
    assert {column for column, _ in cells(of_b)} == {1, 2}
    a, b = found.changes
    assert (a.steps, a.share, a.energy) == ((0, 20), (0.5, 0.25), (2, 4))
    assert (b.steps, b.share, b.energy) == ((10, 20), (0.75, 0.25), (4, 8))


def test_curves_are_steps_on_a_logarithmic_scale(tmp_path: Path) -> None:
    log(tmp_path, "plain", 5, {"A": [1, 1]})
    log(tmp_path, "fourier", 5, {"A": [7, 1]})  # 7/4 and 1/4
    (panel,) = training_spectra(tmp_path, ["plain", "none", "fourier"]).panels
    assert [label for _, label in panel.y_ticks] == ["1/4", "1/2", "1", "2"]
    assert panel.level == pytest.approx(100 / 3)
    assert panel.threshold == 50
    points = [tuple(map(float, pair.split(","))) for pair in panel.curves[1].points.split()]
    assert [x for x, _ in points] == [0, 500, 500, 1000]
    assert points[3][1] == 1000
    assert points[0][1] == pytest.approx(1000 * (1 - math.log2(7 / 4)) / 3, abs=0.1)
    assert [(curve.arm, curve.index, curve.last) for curve in panel.curves] == [
        ("plain", 0, "50.0 % above tau"),
        ("fourier", 2, "12.5 % above tau"),
    ]


def test_white_noise_always_has_its_tick(tmp_path: Path) -> None:
    log(tmp_path, "main", 5, {"A": [2.0, 2.0**-6]})  # from 1/128 to 2: every second power is written
    (panel,) = training_spectra(tmp_path, ["main"]).panels
    assert [label for _, label in panel.y_ticks] == ["1/64", "1/16", "1/4", "1"]
    assert panel.y_ticks[-1][0] == panel.level


def test_views_and_thresholds_that_differ_are_told_apart(tmp_path: Path) -> None:
    log(tmp_path, "one", 5, {"A": [1, 1], "B": [1, 1]})
    log(tmp_path, "two", 5, {"A": [1, 1], "B": [1, 1]}, tau=0.3)
    log(tmp_path, "merged", 5, {"dW": [1, 3]}, view="delta")
    panels = training_spectra(tmp_path, ["one", "two", "merged"]).panels
    assert [panel.title for panel in panels] == ["A (view factors)", "B (view factors)", "dW (view delta)"]
    assert [panel.threshold for panel in panels] == [None, None, 50]


def test_long_logs_are_thinned_and_keep_both_ends(tmp_path: Path) -> None:
    for step in range(500):
        log(tmp_path, "main", step, {"A": [1, 1 + step]})
    (found,) = training_spectra(tmp_path, ["main"]).maps
    assert found.columns == MOST_COLUMNS
    assert cells(found)[0, 0] == 4
    assert cells(found)[MOST_COLUMNS - 1, 1] == 0


def test_a_diverged_step_is_not_drawn(tmp_path: Path) -> None:
    log(tmp_path, "main", 0, {"A": [1, 1]})
    log(tmp_path, "main", 1, {"A": [math.nan, 1]})
    found = training_spectra(tmp_path, ["main"])
    assert found.maps[0].columns == 1
    assert found.changes[0].steps == (0, 0)


def test_the_page_shows_every_arms_spectrum_and_nothing_where_none_was_logged(fake: Fake) -> None:
    run, summary = fake
    html = (run / "report.html").read_text("utf-8")
    section = html[html.index('<section id="spectrum"') : html.index('<section id="samples"')]
    for arm in ("plain", "fourier"):
        assert f"A of {arm}: power by step and frequency" in section
        assert f"B of {arm}: power by step and frequency" in section
    assert "A: power by frequency, against white noise" in section
    # The last line of the penalised arm: exp(-3) of its high half is left.
    last = json.loads((run / "fourier" / "train" / "spectrum.jsonl").read_text().splitlines()[-1])
    assert f"<b>{100 * last['share']['A']:.1f}</b>" in section
    assert '<a href="#spectrum">' in html
    for path in run.glob("*/train/spectrum.jsonl"):
        path.rename(path.with_suffix(".kept"))
    write_report(run, summary, {})
    without = (run / "report.html").read_text("utf-8")
    assert 'href="#spectrum"' not in without
    assert 'id="spectrum"' not in without
    for path in run.glob("*/train/spectrum.kept"):
        path.rename(path.with_suffix(".jsonl"))
    write_report(run, summary, {})
