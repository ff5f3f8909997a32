import io
from typing import Any

import pytest
from rich.console import Console

from flexlora.report.merge import conclusion, print_merge


def row(dtype: str, rounding: str, error: float, logits: float, overflow: int = 0) -> dict[str, Any]:
    update = {"relative_error": error, "kept": 0.8, "read_error": None, "unchanged": 0.5, "overflow": overflow}
    said = {"logit_rms": logits, "next_token": logits / 10, "answers": 0.25}
    modules = {f"layers.{i}[x].weight": update | {"relative_error": error * i / 10} for i in range(10)}
    return {
        "dtype": dtype,
        "rounding": rounding,
        "update": update,
        "disagreement": None if overflow else said,
        "modules": modules,
    }


def audit(plain: float = 0.6, shaped: float = 0.3, **changes: Any) -> dict[str, Any]:
    """An adapter that moves logits by 1, merged with errors of these sizes."""
    return {
        "adapter_effect": {"logit_rms": 1.0, "next_token": 0.12},
        "rows": [
            row("float32", "nearest", 6e-7, 1e-8),
            row("bfloat16", "nearest", 0.61, plain),
            row("bfloat16", "calibrated", 0.74, shaped),
            row("float16", "nearest", 0.1, 0.1, overflow=3),
            row("float16", "calibrated", 0.1, 0.1, overflow=3),
        ],
        "dtype": "bfloat16",
        "rounding": "nearest",
        "notes": ["A note."],
        "output": "/merged",
    } | changes


def test_the_conclusion_says_what_is_lost_what_mends_it_and_what_that_explains() -> None:
    said = " ".join(conclusion(audit()))
    assert "changes 12.0 % of the base's next tokens" in said
    assert "in bfloat16 errs by 61.0 % of its update and changes 6.0 % of next tokens" in said
    assert "In float32 it errs by 6e-05 % and changes" in said
    assert (
        "in bfloat16 helps: it leaves an error of 30.0 % of the adapter's effect on the logits, nearest 60.0 %" in said
    )
    assert "rounding can be part of the reason, at 60.0 %" in said


@pytest.mark.parametrize(
    ("plain", "shaped", "words"),
    [
        (0.3, 0.6, "makes it worse"),
        (0.3, 0.31, "makes no difference"),
        (0.009, 0.001, "helps: it leaves an error of 0.1 %"),
    ],
)
def test_a_compensation_is_praised_only_where_it_helps(plain: float, shaped: float, words: str) -> None:
    said = " ".join(conclusion(audit(plain, shaped)))
    assert words in said
    assert ("would not explain it" in said) == (plain < 0.01)


def test_in_float32_there_is_nothing_to_mend_and_an_overflow_is_named() -> None:
    said = " ".join(conclusion(audit(dtype="float32")))
    assert "in float32 errs by 6e-05 %" in said
    assert "Compensating" not in said
    assert conclusion(audit(dtype="float16")) == ["float16 cannot hold the merged weights."]


def test_the_table_has_every_row_and_the_worst_weights_and_fits_80_columns() -> None:
    text = io.StringIO()
    print_merge(audit(), Console(file=text, width=80))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    (found,) = [line.split() for line in lines if line.split()[:2] == ["bfloat16", "nearest"]]
    assert found == ["bfloat16", "nearest", "61.0", "80.0", "–", "50.0", "60.0", "6.0", "25.0"]
    assert any(line.startswith("float16") and "3 weights" in line for line in lines)
    shown = [line.split()[0] for line in lines if line.strip().startswith("layers.")]
    assert shown == [f"layers.{i}[x].weight" for i in (9, 8, 7, 6, 5)]
    assert "A note." in lines
    assert "merged model: /merged" in lines
