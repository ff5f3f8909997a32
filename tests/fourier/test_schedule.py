"""Schedules of lambda, step by step."""

import math
from typing import Any

import pytest

from flexlora.fourier import Schedule


def strengths(schedule: Schedule, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(schedule.strength)
        schedule.advance()
    return found


def test_constant_linear_and_cosine() -> None:
    assert strengths(Schedule(lam=0.3), 3) == [0.3, 0.3, 0.3]
    assert strengths(Schedule("linear", lam=1.0, warmup_steps=4), 6) == [0, 0.25, 0.5, 0.75, 1, 1]
    cosine = strengths(Schedule("cosine", lam=1.0, warmup_steps=2, total_steps=6), 8)
    assert cosine == pytest.approx([0, 0.5, 1, (1 + math.cos(math.pi / 4)) / 2, 0.5, 0.5 - math.sqrt(0.125), 0, 0])


def test_the_controller_multiplies_lambda_by_a_power_of_the_share_over_its_target() -> None:
    schedule = Schedule("target", lam=0.2, target=0.25, rate=0.5)
    schedule.advance(share=0.36)
    assert schedule.strength == pytest.approx(0.2 * math.sqrt(0.36 / 0.25))
    schedule.advance(share=0.0)  # clipped to a half
    assert schedule.strength == pytest.approx(0.2 * 1.2 * math.sqrt(0.5))
    for _ in range(1000):
        schedule.advance(share=1.0)
    assert schedule.strength == pytest.approx(200)


def test_a_schedule_goes_on_from_its_state() -> None:
    first = Schedule("target", lam=0.2, target=0.25)
    first.advance(share=0.5)
    second = Schedule("target", lam=0.2, target=0.25)
    second.load_state_dict(first.state_dict())
    assert (second.step, second.strength) == (1, first.strength) != (1, 0.2)


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [
        ("constant", {"lam": -1.0}, "-1.0"),
        ("constant", {"lam": math.nan}, "nan"),
        ("constant", {"lam": 1.0, "warmup_steps": 3}, "the schedule is 'constant'"),
        ("constant", {"lam": 1.0, "target": 0.3}, "no other takes one"),
        ("linear", {"lam": 1.0}, "must be at least 1"),
        ("cosine", {"lam": 1.0, "warmup_steps": -1}, "-1"),
        ("target", {"lam": 1.0}, "needs a target"),
        ("target", {"lam": 1.0, "target": 1.0}, "between 0 and 1"),
        ("target", {"lam": 0.0, "target": 0.5}, "above 0"),
    ],
)
def test_bad_options_are_refused(name: Any, options: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        Schedule(name, **options)


def test_cosine_says_what_it_lacks() -> None:
    with pytest.raises(ValueError, match="total_steps"):
        Schedule("cosine", lam=1.0).strength  # noqa: B018
