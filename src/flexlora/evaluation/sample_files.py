"""`flexlora execute SAMPLES`: verdicts and a score for a file of completions or of whole programs.

A line is either a completion of a known task (`task_id, completion`, as `openai/human-eval` writes it) or a whole
program (`language, program`). Imports no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from flexlora.data import Problem
from flexlora.data.tasks import load_problems
from flexlora.errors import UsageError
from flexlora.evaluation.passk import pass_at_k
from flexlora.execution import require
from flexlora.execution.samples import SampleNumbers, execute_programs, read_programs, recorded
from flexlora.execution.verdict import Program, Verdict
from flexlora.files import read_jsonl
from flexlora.progress import bar
from flexlora.recipe import Task


def execute_file(
    path: Path,
    task: str | None = None,
    data_dir: Path | None = None,
    output: Path | None = None,
    workers: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Run every program of a samples file; programs that `output` has a verdict of are not run again.

    Args:
        path: JSONL with `task_id, completion` (then `task` is needed) or `language, program`.
        task: the task that completions belong to, e.g. `humaneval`.
        data_dir: folder with the benchmark files; None loads from the hub.
        output: results file; by default beside `path`, ending in `_results.jsonl`.
        overwrite: replace an earlier results file.

    Returns:
        `samples`, `passed`, `problems`, `pass@1` (mean over problems), `statuses` and `results` (the file).

    Raises:
        UsageError: a line, the task, a toolchain or the sandbox is wrong or missing.
    """
    output = output or path.with_name(f"{path.stem}_results.jsonl")
    if output.resolve() == path.resolve():
        raise UsageError(f"--output {output}: that is the samples file itself.")
    if task is None:
        if next((record for _, record in read_jsonl(path) if "program" not in record), None) is not None:
            raise UsageError(
                f"{path}: not all lines hold a whole program (language, program). For completions name their task, "
                "e.g. --task humaneval."
            )
        if data_dir is not None:
            raise UsageError(f"--data-dir {data_dir}: whole programs need no data; name the --task of completions.")
        programs = list(read_programs(path))
    else:
        problems, _ = load_problems(Task(name=task), data_dir)
        programs = list(_joined(path, {problem.task_id: problem for problem in problems}, task))
    if not programs:
        raise UsageError(f"{path}: the file holds no samples.")
    require({program.language for program in programs})
    done = 0 if overwrite else len(recorded(output))
    with bar(f"execute {path.name}", len(programs), done=done) as advance:

        def on_verdict(verdict: Verdict) -> None:
            advance(1, verdict.status)

        execute_programs(programs, output, workers=workers, overwrite=overwrite, on_verdict=on_verdict)
    return summarise(recorded(output).values(), output)


def summarise(results: Collection[dict[str, Any]], output: Path) -> dict[str, Any]:
    """Counts and pass@1 of a results file."""
    samples: Counter[str] = Counter(result["task_id"] for result in results)
    passed: Counter[str] = Counter(result["task_id"] for result in results if result["passed"])
    return {
        "samples": len(results),
        "passed": passed.total(),
        "problems": len(samples),
        "pass@1": sum(pass_at_k(n, passed[task_id], 1) for task_id, n in samples.items()) / len(samples),
        "statuses": dict(Counter(str(result["status"]) for result in results).most_common()),
        "results": str(output),
    }


def in_words(summary: dict[str, Any]) -> str:
    """The summary for a reader."""
    statuses = ", ".join(f"{count} {status}" for status, count in summary["statuses"].items())
    return (
        f"{summary['passed']} of {summary['samples']} programs passed ({statuses})\n"
        f"pass@1 {100 * summary['pass@1']:.1f} % over {summary['problems']} problems\n"
        f"verdicts: {summary['results']}"
    )


def _joined(path: Path, problems: dict[str, Problem], task: str) -> Iterator[Program]:
    numbers = SampleNumbers(path)
    for number, record in read_jsonl(path):
        task_id, completion = record.get("task_id"), record.get("completion")
        if not isinstance(task_id, str) or not isinstance(completion, str):
            raise UsageError(f"{path}, line {number}: a sample of a task has `task_id` and `completion`, both text.")
        if task_id not in problems:
            raise UsageError(f"{path}, line {number}: task {task} has no problem {task_id!r}.")
        problem = problems[task_id]
        yield Program(
            task_id=task_id,
            sample=numbers.of(number, record, task_id),
            language=problem.language,
            source=problem.program(completion),
            timeout_s=problem.timeout_s,
        )
