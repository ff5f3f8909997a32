"""Locks between processes: a file that one of them holds until it lets go or dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from flexlora.errors import UsageError


@contextmanager
def held(file: Path, busy: str, of: Path | None = None) -> Iterator[None]:
    """Hold a file, made if need be, and keep every other process from holding it.

    Args:
        busy: what the process that holds it is doing, for the error.
        of: what an error names: the directory that the file stands for, say.

    Raises:
        UsageError: another process holds it, or it cannot be written.
    """
    with _opened(file, of or file) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"{of or file}: another process is {busy}; wait for it.") from error
        yield


@contextmanager
def waiting(file: Path) -> Iterator[None]:
    """`held`, once no other process holds it any longer.

    Raises:
        UsageError: it cannot be written.
    """
    with _opened(file, file.parent) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_held(file: Path) -> bool:
    """Whether a process holds a file; not where there is none."""
    try:
        with file.open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _opened(file: Path, of: Path) -> IO[bytes]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.open("ab")
    except OSError as error:
        raise UsageError(f"{of}: cannot be written ({error.strerror}). Choose another --output.") from error
