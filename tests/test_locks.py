"""Locks: one holder at a time, and free again when it lets go."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from flexlora.errors import UsageError
from flexlora.locks import held, is_held, waiting


def test_what_is_held_is_refused_to_others_until_it_is_let_go(tmp_path: Path) -> None:
    lock = tmp_path / "run" / ".lock"
    assert not is_held(lock)
    with held(lock, "working here", lock.parent):
        assert is_held(lock)
        with (
            pytest.raises(UsageError, match=f"{lock.parent}: another process is working here; wait"),
            held(lock, "working here", lock.parent),
        ):
            pass
    assert not is_held(lock)
    with held(lock, "working here"):
        pass


def test_who_waits_gets_it_when_it_is_let_go(tmp_path: Path) -> None:
    lock, done = tmp_path / ".lock", threading.Event()

    def wait() -> None:
        with waiting(lock):
            done.set()

    waiter = threading.Thread(target=wait)
    with held(lock, "working here"):
        waiter.start()
        assert not done.wait(0.2)
    waiter.join(10)
    assert done.is_set()


def test_asking_whether_it_is_held_keeps_nobody_from_holding_it(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    lock.touch()
    with lock.open("rb") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        threading.Timer(0.01, asking.close).start()
        with held(lock, "working here"):
            assert is_held(lock)


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match=r"results\.jsonl: cannot be written .* another --output"),
        held(tmp_path / "file" / "results.jsonl", "writing"),
    ):
        pass
    with pytest.raises(UsageError, match="cannot be read"):
        is_held(tmp_path / "file" / "results.jsonl")
