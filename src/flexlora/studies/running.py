"""Running a study: all its runs, several at a time, each in a process of its own; then what they show together.

A run that fails is listed and keeps no other from running. A study that is stopped anywhere, also by a kill, continues
when it is run again: finished runs are recognised by their directories, half-done ones go on as `flexlora run` does,
and failed ones are tried again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from flexlora.errors import FlexError
from flexlora.progress import say
from flexlora.studies.checking import check_study
from flexlora.studies.events import Events, last_words
from flexlora.studies.findings import Failure, Findings
from flexlora.studies.folder import (
    OVERWRITING,
    Run,
    begin_study,
    existing_study,
    locked_study,
    open_study,
    runs_of,
)
from flexlora.studies.progress import Progress
from flexlora.studies.schema import Executor, Study
from flexlora.studies.workers import Workers, local_workers

POLL_S = 0.2
HELD_S = 60.0
"""How long a directory may be held by a process that ends, as those of a killed study do."""


def run_study(
    study: Study,
    folder: Path,
    workers: int | None = None,
    executor: Executor = "local",
    *,
    overwrite: bool = False,
    sandbox: str = "bubblewrap",
) -> Findings:
    """Run what is missing of a study, and write what it shows.

    Args:
        study: from `files.load_study`.
        folder: its directory; of an executor `ray` on a file system that all nodes share.
        workers: runs at a time; by default one for each GPU, or as cores and memory allow.
        executor: `local`, or `ray`: runs are tasks of a Ray cluster that runs already.
        overwrite: delete another study that is there.
        sandbox: of the programs, as in `flexlora run`.

    Returns:
        Its findings; `failures` has the runs that could not be finished.

    Raises:
        UsageError: before the start, for anything wrong or missing.
        FlexError: not one cell could be finished; lists why.
    """
    open_study(study, folder, overwrite)
    with locked_study(folder):
        open_study(study, folder, overwrite)  # another process may have begun one meanwhile
        overwrite = overwrite or (folder / OVERWRITING).exists()  # an earlier one was stopped amid its deleting
        runs = runs_of(study, folder)
        todo = runs if overwrite else [run for run in runs if not run.is_finished()]
        with ExitStack() as stack:
            if todo:
                say(f"study {study.name}: {len(runs)} runs, {len(runs) - len(todo)} finished; checking")
                checked = check_study(study, sandbox)
                with_them = _workers(executor, workers, checked.parameters, sandbox, folder, len(todo))
                stack.enter_context(closing(with_them))
            begin_study(study, folder, overwrite)
            failures = _work(runs, todo, with_them, Events(folder)) if todo else []
        if not any(run.is_finished() for run in runs if run.config != "base"):
            raise FlexError(f"{folder}: no cell could be finished.\n{listed(failures)}")
        return write_all(folder)


def report_study(folder: Path) -> Findings:
    """Write a study's findings, page and exports from what is there, finished or not.

    Raises:
        UsageError: it is not a study's directory.
        FlexError: no cell is finished yet.
    """
    study = existing_study(folder)
    if not any(run.is_finished() for run in runs_of(study, folder) if run.config != "base"):
        raise FlexError(f"{folder}: no cell is finished yet, so that there is nothing to report.")
    return write_all(folder)


def write_all(folder: Path) -> Findings:
    """`study.json`, `results.jsonl`, the page, figures and tables."""
    from flexlora.report.exports import write_exports
    from flexlora.report.study_page import write_study_report
    from flexlora.studies.analysis import write_findings

    findings = write_findings(folder)
    write_exports(folder, findings)
    write_study_report(folder, findings)
    return findings


def listed(failures: Sequence[Failure]) -> str:
    """Failed runs with their last words."""
    blocks = []
    for failure in failures:
        said = "\n".join(f"    {line}" for line in failure["error"].splitlines())
        blocks.append(f"- {failure['cell']}, see {failure['log']}:\n{said}")
    return "\n".join(blocks)


def _workers(
    executor: Executor, count: int | None, parameters: int | None, sandbox: str, folder: Path, runs: int
) -> Workers:
    if executor == "local":
        return local_workers(count, parameters, sandbox, runs)
    from flexlora.studies.ray_workers import RayWorkers

    return RayWorkers(count, sandbox, folder)


def _work(runs: Sequence[Run], todo: Sequence[Run], workers: Workers, events: Events) -> list[Failure]:
    """Run all of `todo`; returns those that failed."""
    waiting, begun = deque(todo), dict[str, tuple[float, bool]]()
    unfinished = {run.name for run in todo}
    held_since: float | None = None
    with Progress(runs, todo, workers, events) as progress:
        while waiting or begun:
            while len(begun) < workers.count and (run := _next(waiting, unfinished)) is not None:
                held_since = None
                resumed = (run.path / "recipe.yaml").exists()
                try:
                    run.prepare()
                    events.add(run.name, "started", resumed=resumed)
                    workers.start(run)
                except (OSError, FlexError) as error:  # of its files; other runs can go on
                    _fail(run, str(error), waiting, events, progress)
                    continue
                begun[run.name] = time.monotonic(), resumed
                progress.started(run)
            for run, exit_code in workers.ended():
                since, resumed = begun.pop(run.name)
                if _record(run, exit_code, time.monotonic() - since, resumed, events, progress):
                    unfinished.discard(run.name)
                else:
                    _give_up(run, waiting, events, progress)
            held_since = (held_since or time.monotonic()) if waiting and not begun else None
            if held_since is not None and time.monotonic() - held_since > HELD_S:
                run = next(run for run in waiting if run.follows not in unfinished)
                waiting.remove(run)
                busy = f"another process is working in {run.path}; wait for it, or end it"
                _fail(run, busy, waiting, events, progress)
            progress.refresh()
            time.sleep(POLL_S)
    return events.failures({run.name for run in runs if run.is_finished()})


def _next(waiting: deque[Run], unfinished: Collection[str]) -> Run | None:
    """The first whose predecessor is finished and that no other process works in, as one of a killed study may for a
    moment; taken out.
    """
    for run in waiting:
        if run.follows not in unfinished and not run.is_held():
            waiting.remove(run)
            return run
    return None


def _fail(run: Run, error: str, waiting: deque[Run], events: Events, progress: Progress) -> None:
    """Take note of a run that could not be started."""
    events.add(run.name, "failed", error=error, resumed=True, wall_s=0.0)
    progress.failed(run, error)
    _give_up(run, waiting, events, progress)


def _give_up(failed: Run, waiting: deque[Run], events: Events, progress: Progress) -> None:
    """Those that would have gone on from a run that failed fail with it."""
    for run in [run for run in waiting if run.follows == failed.name]:
        waiting.remove(run)
        error = f"goes on from the adapter of {failed.name}, which failed"
        events.add(run.name, "failed", error=error, resumed=False, wall_s=0.0)
        progress.failed(run, error)


def _record(run: Run, exit_code: int, seconds: float, resumed: bool, events: Events, progress: Progress) -> bool:
    """Take note of how a run ended; returns whether it is finished."""
    if exit_code == 0 and run.is_finished():
        events.add(run.name, "finished", resumed=resumed, wall_s=round(seconds, 1))
        progress.finished(run, seconds)
        return True
    error = last_words(run.log, exit_code)
    events.add(run.name, "failed", resumed=resumed, wall_s=round(seconds, 1), error=error)
    progress.failed(run, error)
    return False
