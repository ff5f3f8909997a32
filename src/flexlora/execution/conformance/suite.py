"""Runs the hostile programs and looks at what became of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass

from flexlora.execution import cgroups
from flexlora.execution.conformance import bash, compilers, cpp, java, javascript, python
from flexlora.execution.conformance.bait import Bait
from flexlora.execution.conformance.behaviour import HARM, Behaviour
from flexlora.execution.judge import judge
from flexlora.execution.languages import ToolchainMissing, get_language, toolchain
from flexlora.execution.runner import Mode, Runner
from flexlora.execution.verdict import Program, Status, Verdict


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one hostile program on one path."""

    behaviour: Behaviour
    mode: Mode
    problems: tuple[str, ...]
    """What is wrong, in words."""
    not_run: str | None = None
    """Why it was not run."""


def behaviours() -> list[Behaviour]:
    """All hostile programs."""
    return [one for part in (python, java, javascript, cpp, bash, compilers) for one in part.BEHAVIOURS]


def modes_of(language: str) -> list[Mode]:
    """The paths on which programs of a language start differently."""
    return [mode for mode in Mode if mode is not Mode.FRESH or language == "py"]


def check_all(languages: Collection[str] = (), modes: Collection[Mode] = ()) -> Iterator[Result]:
    """Run every hostile program on every path, or those of some languages and modes; one runner meets all of a path."""
    with Bait() as bait:
        for language in languages or dict.fromkeys(one.language for one in behaviours()):
            for mode in modes_of(language):
                if modes and mode not in modes:
                    continue
                with closing(Runner(mode)) as runner:
                    for one in behaviours():
                        if one.language == language:
                            yield check(one, mode, runner, bait)


def check(behaviour: Behaviour, mode: Mode, runner: Runner, bait: Bait) -> Result:
    """Run one hostile program, then an honest right and an honest wrong one, on a runner that may have met others."""
    try:
        toolchain(behaviour.language)
    except ToolchainMissing as missing:
        return Result(behaviour, mode, (), f"{behaviour.language}: {missing}")
    if behaviour.needs_memory_cgroup and "memory" not in cgroups.in_force():
        return Result(behaviour, mode, (), "no cgroup limits memory here")
    verdict = _run(runner, behaviour.language, behaviour.source(bait), behaviour.timeout_s)
    said = verdict.stdout + verdict.stderr
    problems = [f"it {line.removeprefix(HARM).strip()}" for line in said.splitlines() if line.startswith(HARM)]
    problems += bait.harm(said)
    if verdict.status not in behaviour.ends:
        wanted = " or ".join(sorted(behaviour.ends))
        problems.append(f"its verdict is {verdict.status}, not {wanted}: {said.strip()[-300:]!r}")
    language = get_language(behaviour.language)
    for source, right in ((language.known_good, True), (language.known_bad, False)):
        after = _run(runner, behaviour.language, source, None)
        if after.passed is not right or after.status not in (Status.OK, Status.EXCEPTION):
            said = (after.stdout + after.stderr).strip()
            problems.append(
                f"the next verdict, on a {'right' if right else 'wrong'} program, is {after.status}: {said!r}"
            )
    return Result(behaviour, mode, tuple(problems))


def _run(runner: Runner, language: str, source: str, timeout_s: float | None) -> Verdict:
    program = Program("hostile", 0, language, source, timeout_s)
    return judge(program, runner.run(program))
