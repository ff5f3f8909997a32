"""A program with test cases: run once for each, and one verdict on all.

All cases are run, also after one that failed, as the share that passed is a score of its own; only where the program
does not compile do they all fail at once. The verdict is that of the first case that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from flexlora.execution.outcome import Outcome
from flexlora.execution.outputs import difference
from flexlora.execution.verdict import Program, Status, TestsPassed, Verdict

Attempt = Callable[[Program, Collection[Status]], tuple[Verdict, Outcome]]
"""Runs a program once; where the verdict could be the machine's fault, and is not among these, once more."""


def judge_cases(program: Program, attempt: Attempt, *, compat: bool) -> Verdict:
    """The verdict on a program that has cases.

    A timeout or the like is run again, alone, before it is believed. Once one has been confirmed, further ones of the
    same kind are believed at once: a program that never ends would otherwise hold up all others at every case.
    """
    assert program.cases is not None
    shown: Verdict | None = None
    first_failed, reason = None, ""
    passed = total = 0
    wall_s = cpu_s = 0.0
    confirmed: set[Status] = set()
    compiles = True
    for total, case in enumerate(program.cases, start=1):
        if not compiles:
            continue  # no input changes that
        verdict, outcome = attempt(replace(program, stdin=case.input, cases=None), confirmed)
        wall_s, cpu_s = wall_s + verdict.wall_s, cpu_s + verdict.cpu_s
        if verdict.status is Status.INFRASTRUCTURE_ERROR:
            return replace(verdict, program_sha256=program.sha256)
        why = difference(program.cases, case, outcome.stdout, compat=compat) if verdict.passed else _in_words(verdict)
        if not why:
            passed += 1
            shown = shown or verdict
            continue
        if verdict.passed:
            verdict = replace(verdict, status=Status.EXCEPTION, passed=False)
        elif verdict.status is Status.SYNTAX_ERROR and total == 1:
            compiles = False
        else:
            confirmed.add(verdict.status)
        if first_failed is None:
            shown, first_failed, reason = verdict, total, why
    if shown is None:
        raise ValueError(f"{program.task_id} sample {program.sample} has no test cases.")
    return replace(
        shown,
        wall_s=round(wall_s, 4),
        cpu_s=round(cpu_s, 4),
        program_sha256=program.sha256,
        tests=TestsPassed(passed=passed, total=total, first_failed=first_failed, reason=reason),
    )


def _in_words(verdict: Verdict) -> str:
    """Why a run failed, whatever it wrote: the last line of standard error where it ended by itself."""
    said = verdict.stderr.strip().rpartition("\n")[2]
    if verdict.status is Status.EXCEPTION:
        return f"exit code {verdict.exit_code}" + (f": {said}" if said else "")
    return said if said and verdict.status is Status.SYNTAX_ERROR else str(verdict.status)
