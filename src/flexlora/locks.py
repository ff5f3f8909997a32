"""Locks between processes: a file that one of them holds until it lets go or dies."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from flexlora.errors import UsageError

ATTEMPTS = 5


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
        if not _taken(lock):
            raise UsageError(f"{of or file}: another process is {busy}; wait for it.")
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
    """Whether a process holds a file; not where there is none.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with file.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}).") from error
    return False


def _taken(lock: IO[bytes]) -> bool:
    """Whether it could be taken; asked again for a moment, since `is_held` of another process takes it for one."""
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        else:
            return True
    return False


def _opened(file: Path, of: Path) -> IO[bytes]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.open("ab")
    except OSError as error:
        raise UsageError(f"{of}: cannot be written ({error.strerror}). Choose another --output.") from error
