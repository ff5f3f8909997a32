"""How a second answer is asked for: the failed program, what went wrong, and the benchmark's prompt again.

EVALUATION/repair/samples.jsonl   second answers; `task_id` names the first: `HumanEval/3 sample 0`
EVALUATION/repair/results.jsonl   their verdicts, under the task_id and sample of the first
"""

from __future__ import annotations

from dataclasses import replace

from flexlora.data.syntax import SYNTAX
from flexlora.data.types import Problem


def key_of(task_id: str, sample: int) -> str:
    """What `EVALUATION/repair/samples.jsonl` calls the answer to one sample that failed."""
    return f"{task_id} sample {sample}"


def repair_problem(problem: Problem, sample: int, completion: str, message: str) -> Problem:
    """The problem with a failed completion shown to the model; its completions make programs as the problem's do."""
    syntax, failed = SYNTAX[problem.language], problem.solution(completion).rstrip()
    if problem.cases is not None:  # what goes before is none of the model's
        failed = failed.removeprefix(problem.prefix)
    if problem.answer == "chat":
        prompt = (
            f"{problem.prompt}\n\nThis answer was tried:\n\n```{syntax.tags[0]}\n{failed}\n```\n\n{message}\n\n"
            f"Correct it. Answer with the whole {syntax.name} code in one fenced block."
        )
    else:
        said = "\n".join(f"{syntax.comment} {line}".rstrip() for line in [*message.split("\n"), "Corrected:"])
        prompt = f"{failed}\n\n{said}\n\n{problem.prompt}"
    return replace(
        problem,
        task=f"{problem.task}/repair",
        task_id=key_of(problem.task_id, sample),
        prompt=prompt,
        prompt_style=f"{problem.prompt_style}+repair",
    )
