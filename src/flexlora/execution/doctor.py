"""What `flexlora doctor` says about execution: each part is not only looked for but made to work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flexlora.errors import UsageError
from flexlora.execution import sandbox
from flexlora.execution.cgroups import in_force
from flexlora.execution.conformance import Result, behaviours, check_all, modes_of
from flexlora.execution.languages import LANGUAGES, Language, ToolchainMissing, toolchain
from flexlora.execution.requirements import check_program
from flexlora.execution.worker import OUTPUT_BYTES, probe

HELD = {"memory": "memory", "pids": "processes"}
"""Controller of cgroups -> what it limits."""
Row = dict[str, Any]


def check() -> list[Row]:
    """One row for the sandbox and one for each language.

    Fields: `name`; `ok`: whether it judges both of its programs rightly, None where it is not installed; `found`;
    `version`; `good` and `bad`: status of the known-good and the known-bad program, None where they could not be run;
    `limits`: in force, in words; `install`: what to do where something is missing or wrong, else None.
    """
    try:
        version, problem = probe(), None
    except UsageError as error:
        version, problem = None, str(error)
    first = _row("sandbox", version is not None, version, problem)
    first["limits"] = (
        f"{sandbox.PROCESSES} processes, {_mib(sandbox.SCRATCH_BYTES)} scratch in memory, "
        f"{_mib(OUTPUT_BYTES)} per output stream, no network, {_held_together()}"
    )
    return [first, *(_check_language(language, first["ok"]) for language in LANGUAGES.values())]


def proofs_of_sandbox() -> tuple[int, Iterator[Row]]:
    """How many hostile programs and paths there are, and one row for each as it is run.

    Fields: `behaviour`, `language`, `mode`; `ok`: whether it did no harm and the next verdict was right, None where it
    was not run; `problems`: what is wrong, in words; `not_run`: why it was not run, else None.
    """
    total = sum(len(modes_of(one.language)) for one in behaviours())
    return total, map(_proof, check_all())


def _proof(result: Result) -> Row:
    return {
        "behaviour": result.behaviour.name,
        "language": result.behaviour.language,
        "mode": str(result.mode),
        "ok": None if result.not_run else not result.problems,
        "problems": list(result.problems),
        "not_run": result.not_run,
    }


def _check_language(language: Language, sandbox_works: bool) -> Row:
    try:
        row = _row(language.code, sandbox_works, toolchain(language.code).version, None)
    except ToolchainMissing as missing:
        row = _row(language.code, None, None, f"{missing}: {language.install}")
    compiling = f"compile {language.compile_timeout_s:g} s, " if language.compile else ""
    row["limits"] = f"{compiling}run {language.run_timeout_s:g} s, {language.memory_bytes >> 30} GiB"
    if row["ok"]:
        good, bad = (check_program(language.code, source) for source in (language.known_good, language.known_bad))
        row["good"], row["bad"] = str(good.status), str(bad.status)
        row["ok"] = good.passed and not bad.passed
        if not row["ok"]:
            row["install"] = f"{(good.stderr.strip() or good.stdout.strip())[-500:]} Try: {language.install}"
    return row


def _row(name: str, ok: bool | None, version: str | None, install: str | None) -> Row:
    return {
        "name": name,
        "ok": ok,
        "found": version is not None,
        "version": version,
        "good": None,
        "bad": None,
        "limits": "",
        "install": install,
    }


def _held_together() -> str:
    """What limits all processes of a program together, in words."""
    within = in_force()
    words = [
        f"{what} of all together by {within[controller]}" for controller, what in HELD.items() if controller in within
    ]
    return ", ".join(words) or "memory of each process alone (no cgroup can be made here)"


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"
