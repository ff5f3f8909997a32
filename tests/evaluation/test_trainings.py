"""Figures of trainings, on logs made by hand whose answers are known."""

import json
from math import inf, log, nan
from pathlib import Path

import pytest

from flexlora.evaluation.trainings import Training, compare_trainings, read_logs
from flexlora.files import Record, append_jsonl

Losses = dict[int, float]


def lines(losses: Losses, seconds: float = 2.0) -> list[Record]:
    """A validation at each of these steps, a step taking so long."""
    return [{"step": step, "eval_loss": loss, "train_s": seconds * step} for step, loss in losses.items()]


def compared(**logs: list[Record]) -> dict[str, Training]:
    return {one["arm"]: one for one in compare_trainings(logs)["trainings"]}


def test_best_and_last_validation_and_when_each_arm_reached_the_other_s_best() -> None:
    found = compared(
        a=lines({20: 1.5, 40: 1.25, 60: 1.25, 80: 1.5}),
        b=lines({20: 1.25, 40: 1.0, 60: 1.125}, seconds=3.0),
    )
    best_of_a = {"step": 40, "train_s": 80.0}  # the first of two
    assert found["a"]["validation"] == {"best": 1.25, "best_at": best_of_a, "last": 1.5, "last_step": 80}
    assert found["b"]["validation"] is not None
    assert found["b"]["validation"]["best"] == 1.0
    assert found["a"]["reached"] == {"b": None}
    assert found["b"]["reached"] == {"a": {"step": 20, "train_s": 60.0}}  # equal is reached


def test_nothing_is_read_between_two_validations() -> None:
    found = compared(a=lines({10: 2.0, 20: 1.0}), b=lines({10: 1.75, 20: 1.5}))
    assert found["a"]["reached"]["b"] == {"step": 20, "train_s": 40.0}


def test_equal_arms_reach_each_other_where_they_are_best() -> None:
    same = lines({10: 2.0, 20: 1.0, 30: 1.0})
    found = compared(a=same, b=same, c=same)
    for arm in "abc":
        assert found[arm]["reached"] == {other: {"step": 20, "train_s": 40.0} for other in "abc" if other != arm}


def test_an_arm_without_validation_has_none_and_is_nobody_s_measure() -> None:
    found = compared(a=lines({10: 1.0}), b=[{"step": 10, "loss": 0.5}], c=[])
    assert found["b"]["validation"] is None
    assert found["b"]["loss"] == 0.5
    assert found["b"]["reached"] == found["a"]["reached"] == {}
    assert "c" not in found


def test_the_gradient_s_norm_over_logged_steps() -> None:
    norms = (2.0, 4.0, nan, 2.0, inf, 8.0)
    (one,) = compared(a=[{"step": i, "grad_norm": norm} for i, norm in enumerate(norms)]).values()
    assert one["gradient_norm"] == {
        "logged": 4,
        "not_finite": 2,
        "mean": 4.0,
        "deviation": pytest.approx(6**0.5),
        "variation": pytest.approx(6**0.5 / 4),
        "fluctuation": pytest.approx(log(2 * 2 * 4) / 3),
        "largest": 8.0,
        "median": 3.0,
    }


def test_a_gradient_that_is_zero_or_logged_once_has_no_variation_or_fluctuation() -> None:
    found = compared(a=[{"step": i, "grad_norm": 0.0} for i in (1, 2)], b=[{"step": 1, "grad_norm": 3.0}])
    zero, once = found["a"]["gradient_norm"], found["b"]["gradient_norm"]
    assert zero is not None
    assert once is not None
    assert (zero["variation"], zero["fluctuation"]) == (None, None)
    assert (once["variation"], once["fluctuation"]) == (0.0, None)


def test_time_memory_clipped_fraction_and_last_loss() -> None:
    log = [
        {"step": 5, "loss": 3.0, "clipped_fraction": 0.5, "train_s": 10.0, "peak_memory_gb": 1.5},
        {"step": 10, "loss": 2.0, "clipped_fraction": 0.25, "train_s": 20.0, "peak_memory_gb": 1.75},
        {"step": 10, "eval_loss": nan, "train_s": 20.0, "peak_memory_gb": 1.75},
    ]
    (one,) = compared(a=log).values()
    assert (one["steps"], one["train_s"], one["s_per_step"], one["peak_memory_gb"]) == (10, 20.0, 2.0, 1.75)
    assert one["clipped_fraction"] == {"mean": 0.375, "last": 0.25}
    assert one["loss"] == 2.0
    assert one["validation"] is None


def test_a_log_without_times_or_memory_says_nothing_of_them() -> None:
    (one,) = compared(a=[{"step": 5, "loss": 3.0, "peak_memory_gb": None}, {"step": 5, "eval_loss": 2.0}]).values()
    assert (one["train_s"], one["s_per_step"], one["peak_memory_gb"]) == (None, None, None)
    assert one["validation"] is not None
    assert one["validation"]["best_at"] == {"step": 5, "train_s": None}


def test_logs_are_read_in_the_order_of_steps_and_a_step_twice_counts_with_its_later_line(tmp_path: Path) -> None:
    path = tmp_path / "a" / "train" / "log.jsonl"
    for step, loss in ((10, 3.0), (20, 9.0), (20, 2.0)):
        append_jsonl(path, {"step": step, "eval_loss": loss})
        append_jsonl(path, {"step": step, "loss": loss})
    append_jsonl(path, {"loss": 0.0})  # without a step
    logs = read_logs(tmp_path, ["a", "absent"])
    assert [(record["step"], "loss" in record) for record in logs["a"]] == [
        (10, True),
        (10, False),
        (20, True),
        (20, False),
    ]
    assert logs["absent"] == []
    (one,) = compare_trainings(logs)["trainings"]
    assert one["loss"] == 2.0
    assert one["validation"] is not None
    assert one["validation"]["best"] == 2.0


def test_the_figures_are_plain_json() -> None:
    found = compare_trainings({"a": [{"step": 1, "grad_norm": inf, "loss": nan, "eval_loss": inf}]})
    assert json.loads(json.dumps(found, allow_nan=False)) == found
