"""Trainings side by side: in words, in the terminal, on the page."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flexlora.evaluation import Summary
from flexlora.evaluation.trainings import Trainings, compare_trainings, read_logs
from flexlora.files import append_jsonl
from flexlora.report import write_report
from flexlora.report.trainings import duration, number, print_trainings, sentences


def trainings(**losses: list[tuple[int, float]]) -> Trainings:
    """Arms that validate at these steps, a step taking two seconds."""
    return compare_trainings(
        {
            arm: [{"step": step, "eval_loss": loss, "train_s": 2.0 * step} for step, loss in points]
            for arm, points in losses.items()
        }
    )


def printed(found: Trainings, width: int = 80) -> str:
    text = io.StringIO()
    print_trainings(found, Console(file=text, width=width))
    return text.getvalue().rstrip()


def test_the_arm_with_the_lower_loss_is_the_one_that_reached_the_other_s() -> None:
    found = trainings(adamw=[(50, 1.5), (100, 1.25)], sophia=[(50, 1.25), (80, 1.0)], late=[(50, 2.0), (200, 1.25)])
    assert sentences(found) == [
        "sophia: best validation loss 1.000 at step 80, 20.0 % below adamw's 1.250 at step 100. "
        "sophia reached 1.250 at step 50, adamw at step 100: 50 % fewer steps, 50 % less time.",
        "late: best validation loss 1.250 at step 200, the same as adamw's 1.250 at step 100. "
        "late reached 1.250 at step 200, adamw at step 100: 100 % more steps, 100 % more time.",
    ]
    (behind,) = sentences(trainings(sophia=[(50, 1.0)], adamw=[(50, 1.25)]))
    assert "25.0 % above sophia's 1.000 at step 50. sophia reached 1.250 at step 50, adamw at step 50:" in behind
    assert behind.endswith("as many steps, as much time.")


def test_without_times_or_validation_nothing_is_said_of_them() -> None:
    found = compare_trainings(
        {
            "none": [{"step": 10, "loss": 1.0}],
            "a": [{"step": 10, "eval_loss": 2.0}],
            "b": [{"step": 10, "eval_loss": 1.5}, {"step": 20, "eval_loss": 1.0}],
        }
    )
    (said,) = sentences(found)
    assert said.startswith("b: best validation loss 1.000 at step 20, 50.0 % below a's 2.000 at step 10.")
    assert said.endswith("as many steps.")
    assert sentences(trainings(a=[(1, 1.0)])) == []


def test_a_table_of_two_arms_or_more_where_it_fits() -> None:
    found = trainings(adamw=[(50, 1.5)], sophia=[(50, 1.25)])
    text = printed(found)
    assert max(map(len, text.splitlines())) <= 80
    assert re.search(r"sophia +1\.250 +50 +1\.250 +100\.0 s", text)
    assert "fewer steps" not in text
    assert "as many steps, as much time." in " ".join(text.split())
    assert "as much time." not in printed(trainings(**{f"arm{i}": [(50, 1.0)] for i in range(5)}))
    assert printed(trainings(adamw=[(50, 1.5)])) == ""
    assert printed(found, width=40) == ""
    assert printed(trainings(adamw=[(50, 1.5)], **{"sophia" * 12: [(50, 1.25)]})) == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (599.0, "599.0 s"), (2418.0, "40.3 min"), (43_560.0, "12.1 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_losses_have_four_digits() -> None:
    assert [number(value) for value in (1.24, 0.0551234, 10.7312, 1234.5)] == ["1.240", "0.05512", "10.73", "1234"]


def test_the_page_has_the_table_the_steps_and_both_curves(fake: tuple[Path, Summary]) -> None:
    html = (fake[0] / "report.html").read_text("utf-8")
    section = html[html.index('<section id="training"') : html.index('<section id="spectrum"')]
    found = compare_trainings(read_logs(fake[0], ["plain", "fourier"]))
    for line in sentences(found):
        assert line.replace("'", "&#39;").replace(" %", "\u00a0%") in section
    for by in ("step", "second"):
        assert f'Validation loss <span class="soft">by {by}</span>' in section
    assert section.index("by second") < section.index("Training loss")
    assert "14.25 GB" in section
    assert "never</span>" in section
    (one, other) = found["trainings"]
    assert (one["reached"], other["reached"]) == (
        {"fourier": None},
        {"plain": {"step": 500, "train_s": 625.0}},
    )


def test_many_arms_keep_apart_and_a_metric_without_values_has_no_plot(
    fake: tuple[Path, Summary], tmp_path: Path
) -> None:
    summary: Any = {**fake[1], "scores": [], "comparisons": []}
    for arm in range(8):
        for step in (1, 2):
            append_jsonl(tmp_path / f"arm{arm}" / "train" / "log.jsonl", {"step": step, "loss": arm + step})
    write_report(tmp_path, summary, {})
    html = (tmp_path / "report.html").read_text("utf-8")
    section = html[html.index('<section id="training"') : html.index('<section id="samples"')]
    drawn = re.findall(r'class="curve (arm\d round\d)" points', section)
    assert len(drawn) == len(set(drawn)) == 8
    assert "First and last values" in section
    assert "Validation loss <span" not in section
    assert "reached the best validation loss" not in section
