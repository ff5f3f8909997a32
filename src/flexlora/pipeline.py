"""The main job: from a recipe to a run directory with scores and a report.

Stages, in order: preflight, train, likelihood, generate, execute, score, report. Each reads files and writes files, so
each is also a function (and a command) of its own, and a run that was stopped anywhere continues when it is run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, Unpack

from flexlora import execution, models, processes, serving
from flexlora.adapters import load_adapter
from flexlora.data import Problem, Text
from flexlora.data.task_list import with_all_tasks
from flexlora.data.tasks import load_problems
from flexlora.data.texts import load_texts
from flexlora.errors import FlexError, UsageError
from flexlora.evaluation.likelihood import LikelihoodEntry, score_likelihoods
from flexlora.evaluation.schema import Likelihoods, Summary, read_summary
from flexlora.evaluation.summary import Entry, score_run
from flexlora.evaluation.trainings import Trainings, compare_trainings, read_logs
from flexlora.execution import How
from flexlora.execution.results_file import recorded
from flexlora.execution.samples import execute_programs, survey
from flexlora.execution.verdict import Program
from flexlora.files import iterate_appended, read_appended, write_json
from flexlora.folder import Evaluation, RunFolder, begin, locked, open_run
from flexlora.generation import complete, generate_samples
from flexlora.jobs import jobs_of, missing_jobs
from flexlora.likelihood import likelihood_files, measure_texts
from flexlora.methods import execute_methods, repairs, selections
from flexlora.overlap import Overlap
from flexlora.plan import Plan
from flexlora.preflight import check
from flexlora.progress import say, verdict_bar
from flexlora.provenance import languages_of, provenance, record_environment
from flexlora.recipe import Engine, ModelSource, Recipe, Sampling, from_dict, load, with_sharding
from flexlora.report.page import write_report
from flexlora.training import Probe, probe_steps, train_adapter
from flexlora.training.sharded import shards
from flexlora.training.stage import starts_fresh

T = TypeVar("T", Problem, Text)


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


def train(run: RunFolder, arms: Sequence[str] = (), probe: bool = True) -> None:
    """Train the adapters of all arms, or of some; finished ones are left alone. Writes `trainings.json`.

    Args:
        arms: by default all.
        probe: take two steps of every arm that begins anew on its longest batches first, before any is trained.
    """
    wanted = arms or run.recipe.arm_names()
    if probe:
        probe_arms(run, processes.once(lambda: [arm for arm in wanted if starts_fresh(run.train(arm))]))
    for arm in wanted:
        train_adapter(run.recipe.arm(arm), run.train(arm), label=f"train {arm}")
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


def likelihood(run: RunFolder) -> Likelihoods | None:
    """Measure the held-out texts that the recipe names by everything it evaluates; several processes share the texts.

    Returns:
        Their scores, as `summary.json` will hold them; None where there are no texts.

    Raises:
        UsageError: an arm's adapter has not been trained.
        FlexError: out of GPU memory, or a model's output is not a number.
    """
    for group in _by_model(processes.once(lambda: _pending_likelihoods(run))):
        model = tokenizer = None
        for item, texts in group:
            if model is None:
                models.quiet()
                tokenizer = models.load_tokenizer(run.recipe.source(item.model))
                model = models.load_model(run.recipe.source(item.model))
            model = _as_variant(run, model, item)
            files = likelihood_files(run.path / item.path)
            measure_texts(
                model,
                tokenizer,
                processes.mine(texts),
                run.recipe.likelihood,
                files.mine,
                label=f"likelihood {item.label()}",
                elsewhere=files.all,
            )
            processes.wait()
            processes.once(files.take_in)
        del model
        models.free_memory()
    return processes.once(lambda: _likelihoods(run))


def generate(run: RunFolder, executing: How | None = None) -> None:
    """Write the missing completions of everything that the recipe evaluates; several processes share the problems.

    Args:
        executing: how programs are run, as in `execute`: those of finished completions are run meanwhile already,
            where the recipe's `execution.overlap` has it; None runs none.

    Raises:
        UsageError: an arm's adapter has not been trained, or the server lacks a model.
        FlexError: out of GPU memory, or the server no longer answers; what is finished is kept.
    """
    pending = processes.once(lambda: _pending(run))
    with Overlap(program_of, _overlapping(run, executing)) as overlap:
        generates = serving.generate if run.recipe.engine.is_remote else _generate
        generates(run, pending, overlap)


def _overlapping(run: RunFolder, executing: How | None) -> How | None:
    """How programs are run while completions are generated; None where they are not."""
    wanted = run.recipe.execution.overlap
    if wanted == "auto":
        wanted = run.recipe.engine.is_remote or models.device().type == "cuda"
    if executing is None or not wanted or processes.count() > 1:
        return None
    return {**executing, "workers": executing.get("workers") or run.recipe.execution.workers}


def _generate(run: RunFolder, pending: Sequence[tuple[Evaluation, list[Problem]]], overlap: Overlap) -> None:
    for group in _by_model(pending):
        model = tokenizer = None
        for item, problems in group:
            if model is None:
                models.quiet()
                tokenizer = models.load_tokenizer(run.recipe.source(item.model))
                model = models.load_model(run.recipe.source(item.model))
            model = _as_variant(run, model, item)
            for job in processes.once(partial(missing_jobs, run, item, problems)):
                if job.is_of_benchmark:
                    overlap.follow(job.files.folder, problems)
                fitting = processes.once(partial(job.fitting, model, tokenizer))
                generate_samples(
                    model,
                    tokenizer,
                    processes.mine(fitting),
                    job.sampling,
                    run.recipe.seed,
                    job.files.mine,
                    label=f"generate {job.label}",
                    elsewhere=job.files.all,
                )
                processes.wait()
                processes.once(job.files.take_in)
        del model
        models.free_memory()


def _pending(run: RunFolder) -> list[tuple[Evaluation, list[Problem]]]:
    """What lacks samples, once those are taken in that the processes of a killed run left."""
    evaluations = list(_with_problems(run))
    for item, problems in evaluations:
        for job in jobs_of(run, item, problems):
            job.files.take_in()
    pending = [(item, problems) for item, problems in evaluations if missing_jobs(run, item, problems)]
    _refuse_untrained(run, [item for item, _ in pending])
    return pending


def _pending_likelihoods(run: RunFolder) -> list[tuple[Evaluation, list[Text]]]:
    """What lacks likelihoods, once those are taken in that the processes of a killed run left."""
    pending = []
    for item, texts in _with_texts(run):
        files = likelihood_files(run.path / item.path)
        files.take_in()
        if {text.task_id for text in texts} - {record["task_id"] for record in read_appended(files.all)}:
            pending.append((item, texts))
    _refuse_untrained(run, [item for item, _ in pending])
    return pending


def _refuse_untrained(run: RunFolder, pending: Sequence[Evaluation]) -> None:
    for item in pending:
        if item.arm is not None and not run.adapter(item.arm).is_dir():
            raise UsageError(f"{run.adapter(item.arm)}: not trained yet; `flexlora train {run.path}` does that.")


def repair(run: RunFolder, **how: Unpack[How]) -> None:
    """Second answers to what failed, generated and executed; nothing where the recipe does not ask for them.

    Several processes generate, and wait for the first's verdicts before it.
    """
    if run.recipe.repair.rounds:
        processes.wait()
        generate(run)
        processes.once(partial(execute, run, **how))


def answer(
    model: str, prompt: str, adapter: Path | None = None, max_new_tokens: int = 256, engine: Engine | None = None
) -> str:
    """The greedy completion of one prompt, by a model with or without an adapter.

    Args:
        engine: a server, which has the model under this name; None loads it here.
    """
    sampling = Sampling(max_new_tokens=max_new_tokens)
    if engine is not None and engine.is_remote:
        return serving.answer(engine, model, prompt, sampling)
    models.quiet()
    source = ModelSource(name=model)
    tokenizer = models.load_tokenizer(source)
    loaded = models.load_model(source)
    if adapter is not None:
        if not (adapter / "adapter_config.json").is_file():
            raise UsageError(f"{adapter}: not an adapter (no adapter_config.json); a run has it in ARM/train/adapter.")
        loaded = load_adapter(loaded, adapter)
    return complete(loaded, tokenizer, prompt, sampling, seed=0)[0]


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
    for item, problems in _with_problems(run):
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
        execute_methods(run, item, problems, program_of, overwrite, **how)


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
        for item, problems in _with_problems(run)
    ]
    recipe = run.recipe
    summary = score_run(
        run.path,
        entries,
        recipe.sampling.k,
        name=recipe.name,
        provenance=provenance(run),
        likelihood=_likelihoods(run),
        seed=recipe.seed,
    )
    evaluations = list(_with_problems(run))
    if recipe.selection.methods:
        summary["selections"] = [one for found in evaluations for one in selections(run, *found)]
    if recipe.repair.rounds:
        summary["repairs"] = [one for found in evaluations for one in repairs(run, *found)]
    write_json(run.path / "summary.json", summary)
    return summary


def _likelihoods(run: RunFolder) -> Likelihoods | None:
    entries = [
        LikelihoodEntry(
            arm=item.arm,
            variant=item.variant,
            model=item.model,
            task=item.task.name,
            language=texts[0].language,
            path=item.path,
            expected=frozenset(text.task_id for text in texts),
        )
        for item, texts in _with_texts(run)
    ]
    return score_likelihoods(run.path, entries, seed=run.recipe.seed) if entries else None


def report(run: RunFolder) -> Path:
    """Write `report.html` from the run's files."""
    prompts = {(p.task, p.task_id): p.prompt for _, problems in _with_problems(run) for p in problems}
    return write_report(run.path, read_summary(run.path), prompts)


def _programs(samples: Path, problems: Sequence[Problem]) -> Iterator[Program]:
    by_id = {problem.task_id: problem for problem in problems}
    return (program_of(by_id[sample["task_id"]], sample) for _, sample in iterate_appended(samples))


def program_of(problem: Problem, sample: Mapping[str, Any]) -> Program:
    """The program of one completion of a problem."""
    return Program(
        task_id=problem.task_id,
        sample=sample["sample"],
        language=problem.language,
        source=problem.program(sample["completion"]),
        timeout_s=problem.timeout_s,
        cases=problem.cases,
    )


def _with_problems(run: RunFolder) -> Iterator[tuple[Evaluation, list[Problem]]]:
    style = run.recipe.prompting.style
    loaded = {task.name: load_problems(task, run.recipe.data_dir, style)[0] for task in run.recipe.tasks}
    for item in run.evaluations():
        yield item, loaded[item.task.name]


def _with_texts(run: RunFolder) -> Iterator[tuple[Evaluation, list[Text]]]:
    loaded = {source.name: load_texts(source, run.recipe.data_dir)[0] for source in run.recipe.likelihood.texts}
    for item in run.likelihoods():
        yield item, loaded[item.task.name]


def _by_model(pending: Sequence[tuple[Evaluation, list[T]]]) -> Iterator[list[tuple[Evaluation, list[T]]]]:
    """Groups that share one load of weights: the base with all unmerged adapters, each merged arm, each baseline.

    In the first group the base comes first, before any adapter is put on it.
    """
    groups: dict[tuple[str, str | None, bool], list[tuple[Evaluation, list[T]]]] = {}
    for item, wanted in pending:
        merged = item.variant == "merged"
        groups.setdefault((item.model, item.arm if merged else None, merged), []).append((item, wanted))
    yield from groups.values()


def _as_variant(run: RunFolder, model: Any, item: Evaluation) -> Any:
    """The loaded model as a variant: with the arm's adapter on top or merged, or as it is."""
    if item.arm is None:
        return model
    adapter = run.adapter(item.arm)
    # PEFT's name for it: an arm may be called what a module attribute is, or have a dot in its name.
    name = f"arm{run.recipe.arm_names().index(item.arm)}"
    if item.variant == "merged":
        # Already merged for an earlier task of this group: PEFT's wrapper is gone, our mark is there.
        if not getattr(model, "flexlora_merged", False):
            model = load_adapter(model, adapter).merge_and_unload()
            model.flexlora_merged = True
        return model
    if not hasattr(model, "peft_config"):
        return load_adapter(model, adapter, name=name)
    if name not in model.peft_config:
        model.load_adapter(adapter, adapter_name=name)
    model.set_adapter(name)
    return model
