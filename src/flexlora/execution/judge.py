"""From a program to its verdict: run it once, then apply the rules that all languages share."""

from __future__ import annotations

from flexlora.execution.languages import Language, get_language, toolchain
from flexlora.execution.outcome import End, Outcome, Phase
from flexlora.execution.running import StopSignal
from flexlora.execution.supervisor import supervise
from flexlora.execution.verdict import Program, Status, Verdict

RECORDED_BYTES = 16 << 10
"""Of each stream in a verdict: its first and its last half of this."""
DOUBTED = (Status.OUT_OF_MEMORY, Status.OUTPUT_LIMIT, Status.INFRASTRUCTURE_ERROR)


def judge_program(
    program: Program, *, patience: float = 1, compat: bool = False, stop: StopSignal | None = None
) -> tuple[Verdict, bool]:
    """Run a program once: its verdict, and whether the machine may be to blame for it.

    Args:
        patience: what the time limits are multiplied by.
        compat: see `status_of`.

    Raises:
        Stopped: `stop` was set.
    """
    language = get_language(program.language)
    outcome = supervise(
        language,
        toolchain(program.language),
        program.source,
        compile_timeout_s=patience * language.compile_timeout_s,
        run_timeout_s=patience * (program.timeout_s or language.run_timeout_s),
        stop=stop,
    )
    status = status_of(language, outcome, compat=compat)
    verdict = Verdict(
        task_id=program.task_id,
        sample=program.sample,
        language=program.language,
        status=status,
        passed=status is Status.OK,
        exit_code=outcome.exit_code,
        stdout=shorten(outcome.compiler_stdout + outcome.stdout),
        stderr=shorten(outcome.compiler_stderr + outcome.stderr),
        wall_s=round(outcome.wall_s, 4),
        cpu_s=round(outcome.cpu_s, 4),
        cached=False,
        program_sha256=program.sha256,
    )
    return verdict, outcome.starved or status in DOUBTED


def status_of(language: Language, outcome: Outcome, *, compat: bool = False) -> Status:
    """Limits and failed compiles first, as they are the same everywhere; a finished run is the language's to judge.

    Args:
        compat: where a published harness is laxer than the language's own rule, judge as it does.
    """
    if outcome.end is End.BROKEN:
        return Status.INFRASTRUCTURE_ERROR
    if outcome.end is End.OUTPUT_LIMIT:
        return Status.OUTPUT_LIMIT
    if outcome.end is End.TIMEOUT:
        return Status.SYNTAX_ERROR if outcome.phase is Phase.COMPILE else Status.TIMEOUT
    if outcome.oom_killed or (outcome.exit_code != 0 and language.memory_error.search(outcome.stderr)):
        return Status.OUT_OF_MEMORY
    if outcome.phase is Phase.COMPILE:
        return Status.SYNTAX_ERROR
    judge = (language.judge_compat if compat else None) or language.judge
    return judge(outcome)


def shorten(text: str) -> str:
    """Text as it is recorded: of a long one the head, the tail, and how much was left out between."""
    data = text.encode()
    if len(data) <= RECORDED_BYTES:
        return text
    half = RECORDED_BYTES // 2
    head, tail = (part.decode("utf-8", "ignore") for part in (data[:half], data[-half:]))
    return f"{head}\n[... {len(data) - RECORDED_BYTES} bytes left out ...]\n{tail}"
