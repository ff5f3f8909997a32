"""From how a program ended to its verdict: the rules that all languages share, and then the language's own."""

from __future__ import annotations

from flexlora.execution.languages import Language, get_language
from flexlora.execution.outcome import End, Outcome, Phase
from flexlora.execution.verdict import Program, Status, Verdict

RECORDED_BYTES = 16 << 10
"""Of each stream in a verdict: its first and its last half of this."""
LEFT_EARLY = (
    "\n[flexlora: exit code 0, but the program left before its end, its tests may not have run; --compat believes it]"
)
DOUBTED = frozenset({Status.TIMEOUT, Status.OUT_OF_MEMORY, Status.OUTPUT_LIMIT, Status.INFRASTRUCTURE_ERROR})


def judge(program: Program, outcome: Outcome, *, compat: bool = False) -> Verdict:
    """The verdict on a program that ended so.

    Args:
        compat: judge as the harness of the published figures does, where it is laxer: by the exit code alone, and by
            `Language.judge_compat`.
    """
    status = status_of(get_language(program.language), outcome, compat=compat)
    note = LEFT_EARLY if _left_early(outcome) and status is Status.EXCEPTION else ""
    return Verdict(
        task_id=program.task_id,
        sample=program.sample,
        language=program.language,
        status=status,
        passed=status is Status.OK,
        exit_code=outcome.exit_code,
        stdout=shorten(outcome.compiler_stdout + outcome.stdout),
        stderr=shorten(outcome.compiler_stderr + outcome.stderr) + note,
        wall_s=round(outcome.wall_s, 4),
        cpu_s=round(outcome.cpu_s, 4),
        cached=False,
        program_sha256=program.sha256,
    )


def doubtful(verdict: Verdict, outcome: Outcome) -> bool:
    """Whether the machine, or a warm compiler, may be to blame: run it again, alone and cold, before it is recorded."""
    return verdict.status in DOUBTED or outcome.end is not End.EXIT


def status_of(language: Language, outcome: Outcome, *, compat: bool = False) -> Status:
    """Limits and failed compiles first, as they are the same everywhere; a finished run is the language's to judge."""
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
    if _left_early(outcome) and not compat:
        return Status.EXCEPTION
    if compat and language.judge_compat is not None:
        return language.judge_compat(outcome)
    return language.judge(outcome)


def _left_early(outcome: Outcome) -> bool:
    """Whether the exit code says nothing, as the program was not seen to come to its end."""
    return outcome.exit_code == 0 and outcome.finished is False


def shorten(text: str) -> str:
    """Text as it is recorded: of a long one the head, the tail, and how much was left out between."""
    data = text.encode()
    if len(data) <= RECORDED_BYTES:
        return text
    half = RECORDED_BYTES // 2
    head, tail = (part.decode("utf-8", "ignore") for part in (data[:half], data[-half:]))
    return f"{head}\n[... {len(data) - RECORDED_BYTES} bytes left out ...]\n{tail}"
