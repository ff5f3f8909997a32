import math
from pathlib import Path

import pytest

from flexlora.files import Record
from flexlora.report.curves import MOST_POINTS, VALIDATION, panels
from flexlora.report.figures import difference_figures, score_figures


def lines(points: list[tuple[float, float]], name: str = "loss") -> list[Record]:
    return [{"step": step, name: value} for step, value in points]


def test_a_panel_for_each_metric_that_is_logged_and_validation_by_second_too() -> None:
    log = [
        {"step": 10, "loss": 1.5, "penalty": None, "train_s": 30.0},
        {"step": 10, "eval_loss": 1.25, "train_s": 30.0},
        {"step": 20, "eval_loss": 1.0, "train_s": 90.0},
    ]
    untimed = [{"step": 40, "eval_loss": 2.0}]
    drawn = {(panel.title, panel.by): panel for panel in panels({"main": log, "old": untimed, "absent": []})}
    assert list(drawn) == [(VALIDATION, "step"), (VALIDATION, "second"), ("Training loss", "step")]
    assert [curve.index for curve in drawn[VALIDATION, "step"].curves] == [0, 1]
    (curve,) = drawn[VALIDATION, "second"].curves
    assert [float(pair.split(",")[0]) for pair in curve.points.split()] == [pytest.approx(1000 / 3, abs=0.1), 1000]
    assert (curve.first, curve.last) == ("1.25", "1")


def test_a_run_without_the_penalty_has_no_plots_of_it() -> None:
    without = [{"step": step, "penalty": 0.0, "lam": 0.0, "high_frequency_share": 0.5} for step in (1, 2)]
    assert [panel.title for panel in panels({"a": without})] == ["High-frequency share"]
    titles = [panel.title for panel in panels({"a": without, "b": lines([(1, 0.02)], "lam")})]
    assert titles == ["Penalty strength (lambda)", "High-frequency share"]


def test_thinning_keeps_spikes_ends_and_order() -> None:
    points = [(float(step), 50.0 if step == 7777 else 1.0 + step / 20_000) for step in range(10_000)]
    (panel,) = panels({"main": lines(points)})
    drawn = [tuple(map(float, pair.split(","))) for pair in panel.curves[0].points.split()]
    assert len(drawn) <= MOST_POINTS
    assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)
    assert min(y for _, y in drawn) == pytest.approx(1000 * (1 - 50 / 60), abs=1)
    assert (drawn[0][0], drawn[-1][0]) == (0.0, pytest.approx(1000, abs=0.1))


def test_values_that_are_not_finite_are_counted_and_steps_logged_twice_count_once() -> None:
    points = [(1.0, 2.0), (2.0, math.nan), (3.0, math.inf), (3.5, 1e308), (4.0, 1.0), (4.0, 0.5)]
    (panel,) = panels({"main": lines(points, "grad_norm")})
    assert panel.not_finite == 3
    assert (panel.curves[0].first, panel.curves[0].last) == ("2", "0.5")


@pytest.mark.parametrize(
    "values", [[0.0], [5.0, 5.0], [1e-4, 0.0], [-3.0, 1e6], [0.0, 5e-324], [-1e99, 1e99], [7.0, 7.0 + 1e-14]]
)
def test_axes_enclose_their_values(values: list[float]) -> None:
    (panel,) = panels({"main": lines([(float(i), value) for i, value in enumerate(values)])})
    labels = [float(label) for _, label in panel.y_ticks]
    assert labels[0] <= min(values) <= max(values) <= labels[-1]
    assert 2 <= len(labels) <= 6
    assert all(0 <= at <= 100 for at, _ in panel.y_ticks + panel.x_ticks)


def test_nothing_logged_gives_no_panel() -> None:
    assert panels({}) == []
    assert panels({"main": lines([(1.0, math.nan)])}) == []


def test_plots_stay_inside_their_axes(fake: tuple[Path, dict]) -> None:  # type: ignore[type-arg]
    for figure in score_figures(fake[1]) + difference_figures(fake[1]):  # type: ignore[arg-type]
        assert 3 <= len(figure.ticks) <= 6
        for group in figure.groups:
            assert group.line is not None
            for row in group.rows:
                assert 0 <= row.low <= row.at <= row.high <= 100
