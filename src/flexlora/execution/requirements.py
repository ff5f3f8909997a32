"""What has to be there before anything runs: a sandbox that works and the toolchains."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from functools import cache
from typing import Unpack

from flexlora.errors import UsageError
from flexlora.execution.how import Executor, How
from flexlora.execution.judge import judge
from flexlora.execution.languages import ToolchainMissing, get_language, toolchain
from flexlora.execution.runner import Mode, Runner
from flexlora.execution.sandbox import Sandbox
from flexlora.execution.verdict import Program, Verdict
from flexlora.execution.worker import probe


def require(languages: Collection[str], **how: Unpack[How]) -> dict[str, str]:
    """Check the sandbox and the toolchains of these languages, each by a program that must pass.

    Args:
        how: as in `execute`; what has nothing to do with this is passed over.

    Returns:
        Language -> version of its toolchain; with Ray, of the one that all nodes have.

    Raises:
        UsageError: lists all that is missing and how to install it.
    """
    sandbox, problems, versions = Sandbox(how.get("sandbox", Sandbox.BUBBLEWRAP)), [], {}
    if Executor(how.get("executor", Executor.LOCAL)) is Executor.RAY:
        return dict(_require_of_cluster(frozenset(languages), sandbox))
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
def _require_of_cluster(languages: Collection[str], sandbox: Sandbox) -> dict[str, str]:
    """Once in a process; whoever runs programs there asks again for what he runs."""
    from flexlora.execution.ray_pool import RayPool  # needs this file

    with closing(RayPool(1, Mode.COLD, False, sandbox)) as pool:
        return {code: pool.version_of(code) for code in sorted(languages)}


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
