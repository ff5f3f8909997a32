"""The main job: from a recipe to a run directory with scores and a report.

Stages, in order: preflight, train, likelihood, generate, execute, score, report. Each reads files and writes files, so
each is also a function (and a command) of its own, and a run that was stopped anywhere continues when it is run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from flexlora import execution, models, processes
from flexlora.data import Problem
from flexlora.data.task_list import with_all_tasks
from flexlora.errors import FlexError
from flexlora.evaluated import program_of, with_problems
from flexlora.evaluation.schema import Summary, read_summary
from flexlora.evaluation.summary import Entry, score_run
from flexlora.evaluation.trainings import Trainings, compare_trainings, read_logs
from flexlora.execution import How
from flexlora.execution.results_file import recorded
from flexlora.execution.samples import execute_programs, survey
from flexlora.execution.verdict import Program
from flexlora.files import iterate_appended, write_json
from flexlora.folder import RunFolder, begin, locked, open_run
from flexlora.generating import answer, generate, likelihood, likelihood_scores
from flexlora.jobs import jobs_of
from flexlora.methods import execute_methods, repairs, selections
from flexlora.plan import Plan
from flexlora.preflight import check
from flexlora.progress import say, verdict_bar
from flexlora.provenance import languages_of, provenance, record_environment
from flexlora.recipe import Recipe, from_dict, load, with_sharding
from flexlora.report.page import write_report
from flexlora.training import Probe, probe_steps, train_adapter
from flexlora.training.sharded import shards
from flexlora.training.stage import starts_fresh

__all__ = [
    "answer",
    "execute",
    "generate",
    "likelihood",
    "probe_arms",
    "read_summary",
    "repair",
    "report",
    "run_recipe",
    "score",
    "start",
    "train",
    "trainings",
    "working",
]


def start(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    output: str | Path | None = None,
    overrides: Iterable[str] = (),
    overwrite: bool = False,
    executes: bool = True,
    generates: bool = True,
    **how: Unpack[How],
) -> tuple[RunFolder, Plan]:
    """Find and check a recipe and everything that it needs; writes nothing.

    Args:
        recipe: a recipe, its values, the path of a file, or the name of a packaged recipe.
        output: the run directory; by default `runs/NAME`.
        overrides: `dotted.key=value` strings, for a recipe from a file.
        overwrite: accept a directory that holds a run of another recipe.
        executes: whether programs are to be run.
        generates: whether completions are to be made.
        how: how programs are run, as in `execute`.

    Raises:
        UsageError: anything is wrong or missing; all problems are listed.
    """
    sharded = processes.asked_to_shard()
    processes.join()

    def prepared() -> tuple[RunFolder, Plan]:
        resolved = _resolved(recipe, overrides)
        resolved = with_sharding(resolved) if sharded else resolved
        run = open_run(resolved, Path(output) if output else Path("runs") / (resolved.name or "run"), overwrite)
        return run, check(run, executes, generates, **how)

    return processes.once(prepared)


def _resolved(recipe: Recipe | Mapping[str, Any] | str | Path, overrides: Iterable[str]) -> Recipe:
    if not isinstance(recipe, Recipe):
        recipe = from_dict(recipe) if isinstance(recipe, Mapping) else load(recipe, overrides)
    return with_all_tasks(recipe)


def run_recipe(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    output: str | Path | None = None,
    overrides: Iterable[str] = (),
    overwrite: bool = False,
    **how: Unpack[How],
) -> RunFolder:
    """The main job, all stages; see `start` for the arguments. Returns the finished run.

    Of several processes all train and generate, and the first does the rest.

    Raises:
        UsageError: before the start, for anything wrong or missing.
        FlexError: under way; what is finished is kept, and running again continues.
    """
    run, _ = start(recipe, output, overrides, overwrite, **how)
    with working(run, overwrite, **how):
        train(run)
        likelihood(run)
        generate(run, how)
        if processes.is_first():
            execute(run, **how)
        repair(run, **how)
        if processes.is_first():
            score(run)
            report(run)
    return run


@contextmanager
def working(run: RunFolder, overwrite: bool = False, **how: Unpack[How]) -> Iterator[None]:
    """Hold the run directory while stages work in it; the recipe and the environment are written first."""
    with ExitStack() as stack:

        def begun() -> None:
            stack.enter_context(locked(run))
            begin(run, overwrite)
            record_environment(run, **how)

        processes.once(begun)
        yield


def train(run: RunFolder, arms: Sequence[str] = (), probe: bool = True, callbacks: Sequence[Any] = ()) -> None:
    """Train the adapters of all arms, or of some; finished ones are left alone. Writes `trainings.json`.

    Args:
        arms: by default all.
        probe: take two steps of every arm that begins anew on its longest batches first, before any is trained.
        callbacks: further `transformers.TrainerCallback`s.
    """
    wanted = arms or run.recipe.arm_names()
    if probe:
        probe_arms(run, processes.once(lambda: [arm for arm in wanted if starts_fresh(run.train(arm))]))
    for arm in wanted:
        train_adapter(run.recipe.arm(arm), run.train(arm), label=f"train {arm}", callbacks=callbacks)
        models.free_memory()
    if wanted and processes.is_first():
        write_json(run.path / "trainings.json", trainings(run))


def trainings(run: RunFolder) -> Trainings:
    """How the trainings of all arms went, as far as they are."""
    return compare_trainings(read_logs(run.path, run.recipe.arm_names()))


def probe_arms(run: RunFolder, arms: Sequence[str]) -> dict[str, Probe]:
    """Two optimizer steps of each of these arms on its longest batches, thrown away; nothing is written.

    Raises:
        FlexError: an arm's training would fail; says how, and what to change.
    """
    if not arms:
        return {}
    models.quiet()
    recipes = {arm: run.recipe.arm(arm) for arm in arms}
    base = None
    if not any(shards(recipe.train) for recipe in recipes.values()):
        base = models.load_model(run.recipe.source(run.recipe.model))  # once for all: arms differ in the adapter
    probes = {}
    for arm, recipe in recipes.items():
        probes[arm] = probe_steps(recipe, f"probe {arm}", base)
        say(f"probe {arm}: {probes[arm].words()}")
    del base
    models.free_memory()
    return probes


def repair(run: RunFolder, **how: Unpack[How]) -> None:
    """Second answers to what failed, generated and executed; nothing where the recipe does not ask for them.

    Several processes generate, and wait for the first's verdicts before it.
    """
    if run.recipe.repair.rounds:
        processes.wait()
        generate(run)
        processes.once(partial(execute, run, **how))


def execute(run: RunFolder, overwrite: bool = False, **how: Unpack[How]) -> None:
    """Run the program of every completion and write its verdict; those with a verdict are left alone.

    Args:
        overwrite: run all again.
        how: as in `flexlora.execution.execute`; without `workers`, the recipe's `execution.workers`.

    Raises:
        FlexError: completions are missing, or programs could not be run for a reason that is not theirs.
    """
    if not run.recipe.tasks:
        return
    execution.require(languages_of(run.recipe), **how)
    how["workers"] = how.get("workers") or run.recipe.execution.workers
    for item, problems in with_problems(run):
        missing = sum(job.missing() for job in jobs_of(run, item, problems) if not job.second_answers)
        if missing:
            raise FlexError(
                f"{run.path / item.path}: {missing} completions are missing; `flexlora generate {run.path}` makes them."
            )
        programs = partial(_programs, run.path / item.path / "samples.jsonl", problems)
        surveyed = survey(programs)
        results = run.path / item.path / "results.jsonl"
        done = {} if overwrite else recorded(results)
        with verdict_bar(f"execute {item.label()}", len(surveyed.hashes), done.values()) as on_verdict:
            execute_programs(programs, results, surveyed=surveyed, overwrite=overwrite, on_verdict=on_verdict, **how)
        execute_methods(run, item, problems, overwrite, **how)


def score(run: RunFolder) -> Summary:
    """Score the verdicts and likelihoods, and compare the variants; writes `summary.json`.

    Raises:
        FlexError: verdicts or likelihoods are missing.
    """
    entries = [
        Entry(
            arm=item.arm,
            variant=item.variant,
            model=item.model,
            task=item.task.name,
            language=problems[0].language,
            path=item.path,
            expected=frozenset((p.task_id, i) for p in problems for i in range(run.recipe.sampling.n)),
            parts={p.task_id: p.part for p in problems if p.part is not None},
        )
        for item, problems in with_problems(run)
    ]
    recipe = run.recipe
    summary = score_run(
        run.path,
        entries,
        recipe.sampling.k,
        name=recipe.name,
        provenance=provenance(run),
        likelihood=likelihood_scores(run),
        seed=recipe.seed,
    )
    evaluations = list(with_problems(run))
    if recipe.selection.methods:
        summary["selections"] = [one for found in evaluations for one in selections(run, *found)]
    if recipe.repair.rounds:
        summary["repairs"] = [one for found in evaluations for one in repairs(run, *found)]
    write_json(run.path / "summary.json", summary)
    return summary


def report(run: RunFolder) -> Path:
    """Write `report.html` from the run's files."""
    prompts = {(p.task, p.task_id): p.prompt for _, problems in with_problems(run) for p in problems}
    return write_report(run.path, read_summary(run.path), prompts)


def _programs(samples: Path, problems: Sequence[Problem]) -> Iterator[Program]:
    by_id = {problem.task_id: problem for problem in problems}
    return (program_of(by_id[sample["task_id"]], sample) for _, sample in iterate_appended(samples))
