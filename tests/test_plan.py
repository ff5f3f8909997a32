"""What the plan says of an optimizer before it trains."""

from typing import Any

import pytest

from flexlora.plan import optimizer_in_words
from flexlora.recipe import Optimizer


@pytest.mark.parametrize(
    ("options", "steps", "said", "unsaid"),
    [
        ({"name": "adamw"}, 100, "adamw, learning rate 0.0002", "rho"),
        (
            {"name": "sophia"},
            100,
            "rho 1.6 at 300 supervised tokens a step; by the last step the curvature has 10% of",
            "usual",
        ),
        ({"name": "sophia"}, 5000, "rho 1.6 at 300 supervised tokens a step", "bias_correction"),
        ({"name": "sophia", "bias_correction": True}, 100, "rho 1.6 at 300", "set optimizer.bias_correction"),
        (
            {"name": "sophia", "rho": 0.04},
            5000,
            "rho 0.04 at 300 supervised tokens a step (usual is 1.6; this one clips nearly",
            "hardly",
        ),
        ({"name": "sophia", "rho": 10}, 5000, "this one clips hardly a value", "nearly"),
    ],
)
def test_what_does_not_fit_a_training_is_remarked_upon(
    options: dict[str, Any], steps: int, said: str, unsaid: str
) -> None:
    words = optimizer_in_words(Optimizer(**options), 300, steps)
    assert said in words
    assert unsaid not in words
