from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from flexlora import progress
from flexlora.execution.results_file import Done
from flexlora.execution.verdict import Status, Verdict


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=True, width=80, color_system=None))
    return screen


def test_the_rate_counts_only_what_this_call_did(shown: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.console, "get_time", lambda: now)
    with progress.bar("execute generations_multiple-java.json", 1000, done=900) as advance:
        for _ in range(50):
            now += 0.5
            advance(1, "7 passed")
    last = shown.getvalue().rsplit("execute", 1)[1]
    assert "950/1000" in last
    assert "2/s" in last
    assert "0:00:25" in last  # 50 more at 2 a second
    assert "7 passed" in last


def test_without_a_terminal_one_line_is_left(shown: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "console", Console(file=shown, width=120))
    with progress.bar("execute", 10, done=10):
        pass
    with progress.bar("execute", 10, done=6) as advance:
        for _ in range(4):
            advance(1, "8 passed")
    first, second = shown.getvalue().splitlines()
    assert first == "execute: 10 of 10"
    assert second.startswith("execute: 10 of 10, 8 passed, ")
    assert second.endswith("/s")


@pytest.mark.parametrize(
    ("rate", "shown"), [(0.5, "0.5/s"), (27.44, "27.4/s"), (123.4, "123/s"), (5590.0, "5590/s"), (1e5, "100000/s")]
)
def test_a_rate_has_no_exponent(rate: float, shown: str) -> None:
    assert progress.per_second(rate) == shown


def test_cached_verdicts_are_counted_apart(shown: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "console", Console(file=shown, width=120))
    verdict = Verdict("t", 0, "py", Status.OK, True, 0, "", "", 0.1, 0.1, False, "")
    with progress.verdict_bar("execute", 4, [Done(True, "OK", None, {}, 0)]) as on_verdict:
        on_verdict(verdict)
        on_verdict(replace(verdict, cached=True))
        on_verdict(replace(verdict, cached=True, passed=False))
    assert shown.getvalue().startswith("execute: 4 of 4, 3 passed, 2 cached, ")
