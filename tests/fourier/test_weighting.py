"""The four shapes, their ends, and the values that are refused."""

import math

import pytest
import torch

from flexlora.fourier import Weighting


def test_the_step_leaves_the_threshold_itself_alone_and_its_ends_are_exact() -> None:
    assert Weighting(tau=0.5).h(8).tolist() == [0, 0, 0, 1, 1]
    assert Weighting(tau=1.0).h(8).sum() == 0
    assert Weighting(tau=0.0).h(8).tolist() == [0, 1, 1, 1, 1]


def test_the_ramp_rises_from_tau_to_nyquist() -> None:
    assert Weighting(shape="ramp", tau=0.5).h(8).tolist() == [0, 0, 0, 0.5, 1]
    assert Weighting(shape="ramp", tau=0.0, order=2.0).h(8).tolist() == [0, 0.0625, 0.25, 0.5625, 1]
    assert Weighting(shape="ramp", tau=1.0).h(8).sum() == 0


def test_the_sigmoid_is_one_half_at_tau_and_a_step_where_it_is_narrow() -> None:
    h = Weighting(shape="sigmoid", tau=0.5, width=0.25).h(8)
    assert h[2] == 0.5
    assert h[3].item() == pytest.approx(1 / (1 + math.exp(-1)))
    torch.testing.assert_close(Weighting(shape="sigmoid", tau=0.4, width=1e-4).h(8), Weighting(tau=0.4).h(8))


def test_floor_and_gain_are_the_weights_at_both_ends() -> None:
    assert Weighting(tau=0.5, floor=0.25, gain=2.0).g(8).tolist() == [0.25, 0.25, 0.25, 2, 2]
    assert Weighting(shape="uniform", gain=3.0).g(4).tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"tau": -0.1}, "-0.1"),
        ({"tau": 1.1}, "1.1"),
        ({"order": 0}, "order .* 0"),
        ({"width": -1}, "width .* -1"),
        ({"floor": 2.0}, r"got 2\.0 and 1\.0"),
        ({"shape": "box"}, "'box'"),
    ],
)
def test_values_out_of_range_are_named(options: dict[str, float], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        Weighting(**options)
