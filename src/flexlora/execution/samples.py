"""The execute stage over files: whole programs in, `results.jsonl` out, resumable at any moment.

Programs are read twice: once to check them all and to keep a hash of each, then once to run them. So memory does not
grow with their size, and nothing runs before all of them are known to be good.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from flexlora.errors import FlexError, UsageError
from flexlora.execution.cases import Case, Cases
from flexlora.execution.how import How
from flexlora.execution.languages import LANGUAGES
from flexlora.execution.pool import execute
from flexlora.execution.results_file import Done, Key, marks_of, recorded
from flexlora.execution.verdict import Program, Status, Verdict
from flexlora.files import append_jsonl, read_jsonl
from flexlora.locks import held

TEST_RUNNERS = ("go", "d")
"""Languages whose run command is a test runner."""
MOST_SECONDS = 3600

Programs = Iterable[Program] | Callable[[], Iterable[Program]]
"""Programs that can be read more than once: a list or the like, or a function that begins anew."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a first reading of all programs found."""

    hashes: Mapping[Key, str]
    languages: frozenset[str]


@dataclass(frozen=True, slots=True)
class ExecutionSummary:
    """What one call of `execute_programs` did."""

    executed: int
    """Programs run by this call; each has its line in the results now."""
    skipped: int
    """Programs whose result was there already."""
    statuses: Mapping[str, int]
    """Status -> number of programs, of this call."""


def survey(programs: Programs) -> Survey:
    """Read all programs once and keep the hash of each.

    Raises:
        UsageError: two programs have the same task and sample, or whatever reading them raises.
        TypeError: they could not be read a second time.
    """
    hashes: dict[Key, str] = {}
    languages = set()
    for program in _anew(programs):
        if (program.task_id, program.sample) in hashes:
            raise UsageError(
                f"Two programs are {program.task_id} sample {program.sample}. Every program needs its own pair."
            )
        hashes[program.task_id, program.sample] = program.sha256
        languages.add(program.language)
    return Survey(hashes, frozenset(languages))


def execute_programs(
    programs: Programs,
    results_path: Path,
    *,
    surveyed: Survey | None = None,
    overwrite: bool = False,
    on_verdict: Callable[[Verdict], None] | None = None,
    **how: Unpack[How],
) -> ExecutionSummary:
    """Run the programs that have no result in `results_path` yet and append one line for each.

    Args:
        surveyed: the `survey` of these programs, where the caller has it already.
        overwrite: drop the results that are there.
        on_verdict: called after each line is written.
        how: as in `execute`.

    Raises:
        UsageError: before the first program: two programs have the same task and sample, the file is no results file,
            it holds results of other programs or
            reached in another way, it cannot be written, or another process writes it. Later: the
            programs are not those of the first reading.
        FlexError: the sandbox failed for some programs, twice each; all others have their results.
    """
    wanted = (surveyed or survey(programs)).hashes
    statuses: Counter[str] = Counter()
    failures, first = 0, None
    with writing(results_path):
        if overwrite:
            os.truncate(results_path, 0)
        done = recorded(results_path)
        _refuse_others(results_path, done, wanted, marks_of(how))
        missing = _missing(programs, wanted, done)
        with closing(execute(missing, **how)) as verdicts:
            for verdict in verdicts:
                if verdict.status is Status.INFRASTRUCTURE_ERROR:
                    failures, first = failures + 1, first or verdict
                    continue
                append_jsonl(results_path, verdict.record() | marks_of(how))
                statuses[verdict.status] += 1
                if on_verdict is not None:
                    on_verdict(verdict)
    if first is not None:
        raise FlexError(
            f"{failures} programs could not be run, tried twice each; the first is {first.task_id} sample "
            f"{first.sample}: {first.stderr.strip()}\nThe results of all others are in {results_path}. "
            "`flexlora doctor` checks this machine; running the same command again runs what is missing."
        )
    return ExecutionSummary(statuses.total(), len(done), dict(statuses))


def _anew(programs: Programs) -> Iterable[Program]:
    if callable(programs):
        return programs()
    if isinstance(programs, Iterator):
        raise TypeError("Programs are read twice: give a list, or a function that returns a new iterator each time.")
    return programs


def _missing(programs: Programs, wanted: Mapping[Key, str], done: Mapping[Key, Done]) -> Iterator[Program]:
    """The programs without a result, in order; all of them are still those of the survey, or it is an error."""
    seen = 0
    for program in _anew(programs):
        seen += 1
        key = program.task_id, program.sample
        if key not in done:
            if program.sha256 != wanted.get(key):
                raise UsageError(f"{key[0]} sample {key[1]} changed while the programs were running. Run them again.")
            yield program
    if seen != len(wanted):
        raise UsageError(f"There were {len(wanted)} programs, now there are {seen}. Run them again.")


def _refuse_others(
    results_path: Path, done: Mapping[Key, Done], wanted: Mapping[Key, str], marks: Mapping[str, str]
) -> None:
    for key, result in done.items():
        if result.marks != marks:
            ways = [", ".join(f"{name} {value}" for name, value in one.items()) or "the usual way" for one in
                    (result.marks, marks)]  # fmt: skip
            raise UsageError(
                f"{results_path} holds verdicts reached by {ways[0]}, and these would be reached by {ways[1]}. Pass "
                "--overwrite to start anew, or another --output."
            )
        if key in wanted and result.program_sha256 == wanted[key]:
            continue
        what = "but of a different program" if key in wanted else "which is not among these programs"
        raise UsageError(
            f"{results_path} holds a result for {key[0]} sample {key[1]}, {what}. Pass --overwrite to start anew, or "
            "another --output."
        )


def writing(results: Path) -> AbstractContextManager[None]:
    """Make the file if need be, and keep every other process from executing into it; see `locks.held`."""
    return held(results, "writing these results")


def read_programs(path: Path) -> Iterator[Program]:
    """Whole programs from a JSONL file with `language` and `program`, and optionally more.

    Without a `task_id` it is `program/LINE`; without a `sample` it is the lowest that the task has free. `cases` is a
    list of `{"input": TEXT, "output": TEXT}`: the program is run for each, and must write the output; `timeout_s` is
    the limit of each run.

    Raises:
        UsageError: a field is missing or of the wrong type, or the language is unknown; names file and line.
    """
    numbers = SampleNumbers(path)
    for line, record in read_jsonl(path):
        for field in ("language", "program"):
            if not isinstance(record.get(field), str):
                raise _field_error(path, line, field, "a string", record)
        if record["language"] not in LANGUAGES:
            raise _field_error(path, line, "language", f"one of {', '.join(LANGUAGES)}", record)
        task_id = record.get("task_id", f"program/{line}")
        if not isinstance(task_id, str):
            raise _field_error(path, line, "task_id", "a string", record)
        timeout_s = record.get("timeout_s")
        if timeout_s is not None and (type(timeout_s) not in (int, float) or not 0 < timeout_s <= MOST_SECONDS):
            raise _field_error(path, line, "timeout_s", f"a number of seconds above 0, {MOST_SECONDS} at most", record)
        yield Program(
            task_id,
            numbers.of(line, record, task_id),
            record["language"],
            record["program"],
            timeout_s,
            cases=_cases(path, line, record) if "cases" in record else None,
        )


def _cases(path: Path, line: int, record: Mapping[str, Any]) -> Cases:
    given, expected = record["cases"], 'a list of {"input": text, "output": text}, at least one'
    if not isinstance(given, list) or not given:
        raise _field_error(path, line, "cases", expected, record)
    for case in given:
        if not isinstance(case, dict) or not all(isinstance(case.get(name), str) for name in ("input", "output")):
            raise _field_error(path, line, "cases", expected, record)
    if record["language"] in TEST_RUNNERS:
        raise UsageError(
            f"{path}, line {line}: `cases` do not go with {record['language']}, whose programs are run as tests and "
            "read no input; put the tests into the program."
        )
    return Cases.of([Case(input=case["input"], expected=case["output"]) for case in given])


class SampleNumbers:
    """The sample number of each line of a samples file: its own, or the lowest that its task has free so far."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken: dict[str, set[int]] = {}
        self._next: dict[str, Iterator[int]] = {}

    def of(self, line: int, record: Mapping[str, object], task_id: str) -> int:
        """The number of this line.

        Raises:
            UsageError: it is not a number from 0, or an earlier line of the task has it; names file and line.
        """
        taken = self._taken.setdefault(task_id, set())
        if "sample" in record:
            sample = record["sample"]
        else:
            # Numbers are never given back, so the search goes on where it ended.
            free = self._next.setdefault(task_id, itertools.count())
            sample = next(number for number in free if number not in taken)
        if type(sample) is not int or sample < 0:
            raise _field_error(self._path, line, "sample", "a number from 0", record)
        if sample in taken:
            raise UsageError(
                f"{self._path}, line {line}: an earlier line is {task_id} sample {sample} too; number them apart."
            )
        taken.add(sample)
        return sample


def _field_error(path: Path, line: int, field: str, expected: str, record: Mapping[str, object]) -> UsageError:
    found = f"it is {record[field]!r:.80}" if field in record else "it is missing"
    return UsageError(f"{path}, line {line}: `{field}` must be {expected}; {found}.")
