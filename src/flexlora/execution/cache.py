"""Verdicts kept on disk by content: equal program, toolchain, limits and engine, equal verdict.

One SQLite file, shared by all processes. A damaged or unwritable one is an error that names it; infrastructure errors
never come here.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from flexlora.errors import FlexError
from flexlora.execution.languages import get_language
from flexlora.execution.sandbox import PROCESSES, SCRATCH_BYTES, Sandbox
from flexlora.execution.verdict import Program, Status, TestsPassed, Verdict
from flexlora.execution.worker import OUTPUT_BYTES

ENGINE = 3
"""Raised whenever a change of the engine or of a language file can change a verdict."""


def key_of(program: Program, version: str, *, compat: bool, sandbox: Sandbox) -> str:
    """Hash of all that a verdict depends on.

    Args:
        version: of the toolchain that the program runs with.
    """
    language = get_language(program.language)
    facts = {
        "engine": ENGINE,
        "language": language.code,
        "toolchain": version,
        "program": program.sha256,
        "compile_s": language.compile_timeout_s,
        "run_s": program.timeout_s or language.run_timeout_s,
        "memory": language.memory_bytes,
        "output": OUTPUT_BYTES,
        "scratch": SCRATCH_BYTES,
        "processes": PROCESSES,
        "compat": compat,
        "sandbox": sandbox,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class VerdictCache:
    """Verdicts by key. Used by one thread at a time."""

    def __init__(self, folder: Path | None) -> None:
        """Open the cache, making it if need be.

        Args:
            folder: None for one that lasts as long as this object.

        Raises:
            FlexError: the file cannot be read or written.
        """
        self._path = folder / "verdicts.sqlite" if folder else None
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="flexlora-")
        path = self._path or Path(self._temporary.name if self._temporary else "", "verdicts.sqlite")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute("CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, record TEXT NOT NULL)")
        except (OSError, sqlite3.Error) as error:
            raise self._error(path, error) from error

    def get(self, key: str, program: Program) -> Verdict | None:
        """The verdict under this key, as one on `program`."""
        try:
            with closing(self._database.execute("SELECT record FROM verdicts WHERE key = ?", (key,))) as rows:
                row = rows.fetchone()
        except sqlite3.Error as error:
            raise self._error(self._path, error) from error
        return None if row is None else as_cached(_verdict(row[0]), program)

    def put(self, key: str, verdict: Verdict) -> None:
        """Keep a verdict; one that the harness is to blame for is passed over."""
        if verdict.status is Status.INFRASTRUCTURE_ERROR:
            return
        record = json.dumps(verdict.record())
        try:
            self._database.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?)", (key, record))
        except sqlite3.Error as error:
            raise self._error(self._path, error) from error

    def close(self) -> None:
        self._database.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @staticmethod
    def _error(path: Path | None, error: Exception) -> FlexError:
        return FlexError(
            f"{path}: the verdict cache cannot be used ({error}). Delete the file, name another folder in "
            "FLEXLORA_CACHE, or pass --no-cache."
        )


def as_cached(verdict: Verdict, program: Program) -> Verdict:
    """The same verdict on another sample with the same program."""
    return replace(verdict, task_id=program.task_id, sample=program.sample, cached=True)


def _verdict(record: str) -> Verdict:
    fields = json.loads(record)
    tests = fields.get("tests")
    return Verdict(**(fields | {"status": Status(fields["status"]), "tests": tests and TestsPassed(**tests)}))
