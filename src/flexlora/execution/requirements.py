"""What has to be there before anything runs: a sandbox that works and the toolchains."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

from flexlora.errors import UsageError
from flexlora.execution.judge import judge
from flexlora.execution.languages import ToolchainMissing, get_language, toolchain
from flexlora.execution.runner import Mode, Runner
from flexlora.execution.sandbox import Sandbox
from flexlora.execution.verdict import Program, Verdict
from flexlora.execution.worker import probe


def require_here(languages: Collection[str], sandbox: Sandbox) -> dict[str, str]:
    """Check the sandbox and the toolchains of these languages on this machine, each by a program that must pass.

    Returns:
        Language -> version of its toolchain.

    Raises:
        UsageError: lists all that is missing and how to install it.
    """
    problems, versions = [], {}
    if sandbox is not Sandbox.NONE:
        try:
            probe()
        except UsageError as error:
            problems.append(str(error))
    for code in sorted(languages):
        try:
            versions[code] = toolchain(code).version
            if not problems:
                _run_known_good(code, sandbox)
        except ToolchainMissing as missing:
            problems.append(f"{code}: {missing}. Install it: {get_language(code).install}")
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("Programs cannot be run here.\n" + "\n".join(f"- {problem}" for problem in problems))
    return versions


@cache
def _run_known_good(code: str, sandbox: Sandbox) -> None:
    """Once in a process: a tool that is there may still not work in the sandbox, and no model is to blame for that."""
    language = get_language(code)
    verdict = check_program(code, language.known_good, sandbox)
    if not verdict.passed:
        said = (verdict.stderr.strip() or verdict.stdout.strip())[-500:]
        raise UsageError(
            f"{code}: {toolchain(code).version} does not work"
            f"{' in the sandbox, which shows only /usr of this system' if sandbox is not Sandbox.NONE else ''}: a "
            f"correct program ended in {verdict.status} ({said}). Install it there: {language.install}"
        )


def check_program(code: str, source: str, sandbox: Sandbox = Sandbox.BUBBLEWRAP) -> Verdict:
    """The verdict on a program of ours, run cold."""
    program = Program("check", 0, code, source)
    return judge(program, Runner(Mode.COLD, sandbox).run(program))
