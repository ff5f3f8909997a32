"""`flexlora execute SAMPLES` and `flexlora score VERDICTS`: a score for a file in any of the public formats.

Verdicts are appended to our own `results.jsonl`, from which a stopped execution continues. When all are there, the
format's own results file is written beside it, whole. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Unpack

from flexlora.errors import UsageError
from flexlora.evaluation.formats import SampleFile, recognise
from flexlora.evaluation.formats.sample_file import stem
from flexlora.evaluation.formats.verdicts import read_verdicts, tally_of
from flexlora.evaluation.score import Estimate
from flexlora.evaluation.tally import Tally
from flexlora.execution import How, require
from flexlora.execution.results_file import open_results, recorded
from flexlora.execution.samples import execute_programs, survey
from flexlora.progress import say, verdict_bar


def execute_file(
    path: Path,
    task: str | None = None,
    data_dir: Path | None = None,
    output: Path | None = None,
    overwrite: bool = False,
    **how: Unpack[How],
) -> dict[str, Any]:
    """Run every program of a samples file; programs that `output` has a verdict of are not run again.

    Args:
        path: a file in one of the formats of `evaluation.formats`, or a folder of MultiPL-E completions.
        task: the task that completions belong to, where neither ids nor file name tell it.
        data_dir: folder with the benchmark files; None loads from the hub.
        output: results file; by default beside `path` and ending in `_results.jsonl`, of a folder in it. The format's
            own results file comes into the same folder.
        overwrite: replace earlier results.
        how: as in `flexlora.execution.execute`.

    Returns:
        What `_summary` says, and `results` and `native_results`: the files.

    Raises:
        UsageError: before anything runs: a sample, the task, a toolchain or the sandbox is wrong or missing, or there
            are results that are not of these samples.
    """
    samples = recognise(path, task, data_dir)
    output = output or (path / "results.jsonl" if path.is_dir() else path.with_name(f"{stem(path)}_results.jsonl"))
    native = samples.native_results(output.parent)
    _refuse_output(path, output, native)
    surveyed = survey(samples)
    if not surveyed.hashes:
        raise UsageError(f"{path}: the file holds no samples.")
    require(surveyed.languages, **how)
    done = {} if overwrite else recorded(output)
    _refuse_foreign(native, output, continued=bool(done), overwrite=overwrite)
    if done:
        say(f"{len(done)} verdicts are in {output} already and are kept; --overwrite runs all anew")
    with verdict_bar(f"execute {path.name}", len(surveyed.hashes), done.values()) as on_verdict:
        execute_programs(
            samples,
            output,
            surveyed=surveyed,
            overwrite=overwrite,
            on_verdict=on_verdict,
            **how,
        )
    tally = tally_of(output)
    scores = tally.scores()
    with open_results(output) as results:
        samples.write_native(output.parent, results, scores)
    summary = _summary(samples.format, tally, scores, samples.task, samples.problems)
    return summary | {"results": str(output), "native_results": [str(file) for file in native]}


def score_file(path: Path) -> dict[str, Any]:
    """The score of a file, or a folder, that holds verdicts already; nothing is run.

    Returns:
        What `_summary` says, and `results`: the file.

    Raises:
        UsageError: it holds no verdicts, or one is damaged.
    """
    format_, tally = read_verdicts(path)
    return _summary(format_, tally, tally.scores()) | {"results": str(path), "native_results": []}


def _summary(
    format_: str, tally: Tally, scores: dict[int, Estimate], task: str | None = None, problems: int | None = None
) -> dict[str, Any]:
    """Counts and scores, for `--json`. `pass_at_k` is shaped as in a run's `summary.json`."""
    counts, tests_passed = tally.samples.values(), tally.tests_passed()
    return {
        "format": format_,
        "task": task,
        "task_problems": problems,
        "problems": len(tally.samples),
        "samples": tally.samples.total(),
        "samples_per_problem": [min(counts), max(counts)],
        "passed": tally.passes.total(),
        "pass@1": scores[1].estimate,
        "pass_at_k": {str(k): _interval(score) for k, score in scores.items()},
        "statuses": dict(tally.statuses.most_common()),
        **({} if tests_passed is None else {"tests_passed": tests_passed}),
    }


def _interval(score: Estimate) -> dict[str, Any]:
    return {
        "estimate": score.estimate,
        "low": score.interval.low,
        "high": score.interval.high,
        "method": score.method,
    }


def in_words(summary: dict[str, Any]) -> str:
    """The summary for a reader."""
    statuses = ", ".join(f"{count} {status}" for status, count in summary["statuses"].items())
    least, most = summary["samples_per_problem"]
    problems = f"{summary['problems']} problem{'s' if summary['problems'] != 1 else ''}"
    if summary["task_problems"] not in (None, summary["problems"]):
        problems += f" of the {summary['task_problems']} of {summary['task']}"
    each = f"{most}" if least == most else f"{least} to {most}"
    lines = [
        f"{summary['passed']} of {summary['samples']} programs passed ({statuses})",
        *(
            f"pass@{k} {100 * score['estimate']:.1f} %, 95 % interval {100 * score['low']:.1f} to "
            f"{100 * score['high']:.1f} ({score['method'].replace('wilson', 'Wilson')})"
            for k, score in summary["pass_at_k"].items()
        ),
        *(
            f"tests passed {100 * share:.1f} %, in the mean"
            for share in [summary.get("tests_passed")]
            if share is not None
        ),
        f"over {problems}, {each} sample{'s' if most != 1 else ''} each; {_read_as(summary)}",
        f"verdicts: {summary['results']}",
    ]
    if native := summary["native_results"]:
        where = native[0] if len(native) == 1 else f"{len(native)} files, {native[0]} the first"
        lines.append(f"as {summary['format']} writes them: {where}")
    return "\n".join(lines)


def _read_as(summary: dict[str, Any]) -> str:
    return f"read as {summary['format']}" + (f", task {summary['task']}" if summary["task"] else "")


def _refuse_output(path: Path, output: Path, native: Iterable[Path]) -> None:
    if output.resolve() == path.resolve():
        raise UsageError(f"--output {output}: that is the samples file itself.")
    if output.resolve() in {file.resolve() for file in native}:
        raise UsageError(
            f"--output {output}: that is the format's own results file, which is written beside --output when all "
            "programs have run. Choose another name."
        )


def _refuse_foreign(native: Iterable[Path], output: Path, *, continued: bool, overwrite: bool) -> None:
    """Somebody's verdicts are not replaced by ours; ours, with the results that they were made from beside, are."""
    for file in native:
        if overwrite:
            file.unlink(missing_ok=True)
        elif file.exists() and not continued:
            raise UsageError(
                f"{file}: is there already, and not from {output}, which holds nothing. Pass --overwrite to replace "
                "it, or --output with another folder. `flexlora score` scores what is there."
            )


__all__ = ["SampleFile", "execute_file", "in_words", "score_file"]
