"""Commands on a run: its stages one by one or all at once, its report, and two runs compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flexlora import processes
from flexlora.cli.options import (
    ArmOption,
    BaseUrlOption,
    DryRunOption,
    EngineOption,
    ExecutorOption,
    JsonOption,
    OutputOption,
    OverwriteOption,
    ProbeOption,
    RecipeArgument,
    RunArgument,
    SandboxOption,
    SetOption,
    TargetArgument,
    TasksOption,
    engine_of,
    overrides_of,
    print_json,
    refuse_early,
    refuse_given,
    target_of,
)
from flexlora.errors import UsageError


def run(
    recipe: RecipeArgument,
    set_: SetOption = None,
    tasks: TasksOption = None,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    probe_steps: ProbeOption = None,
    engine: EngineOption = None,
    base_url: BaseUrlOption = None,
    sandbox: SandboxOption = "bubblewrap",
    executor: ExecutorOption = "local",
    as_json: JsonOption = False,
) -> None:
    """The main job: train every arm, evaluate and report. Running again continues."""
    _refuse_probe(probe_steps, dry_run)
    overrides = overrides_of(set_, tasks, engine, base_url)
    refuse_early(recipe, overrides)
    from flexlora import pipeline

    folder, plan = pipeline.start(recipe, output, overrides, overwrite, sandbox=sandbox, executor=executor)
    _announce(plan)
    if dry_run:
        probes = pipeline.probe_arms(folder, folder.recipe.arm_names()) if probe_steps else {}
        _print_plan(plan, probes) if as_json and processes.is_first() else None
        return
    with pipeline.working(folder, overwrite, sandbox=sandbox, executor=executor):
        pipeline.train(folder, probe=probe_steps is not False)
        _measure(folder)
        pipeline.generate(folder, {"sandbox": sandbox, "executor": executor})
        if processes.is_first():
            pipeline.execute(folder, sandbox=sandbox, executor=executor)
        pipeline.repair(folder, sandbox=sandbox, executor=executor)
        if processes.is_first():
            _finish(folder, as_json)


def train(
    target: TargetArgument,
    arm: ArmOption = None,
    set_: SetOption = None,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    probe_steps: ProbeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the adapters of a recipe, of all arms or of some."""
    _refuse_probe(probe_steps, dry_run)
    aim = target_of(target, output, set_)
    from flexlora import pipeline
    from flexlora.report.trainings import print_trainings

    folder, plan = pipeline.start(*aim, overwrite, executes=False, generates=False)
    if not folder.recipe.arm_names():
        raise UsageError("train: the recipe evaluates the base only; add adapter or merged to its variants.")
    unknown = set(arm or ()) - set(folder.recipe.arm_names())
    if unknown:
        raise UsageError(f"--arm {min(unknown)}: the recipe has {', '.join(folder.recipe.arm_names())}.")
    _announce(plan)
    arms = arm or folder.recipe.arm_names()
    if dry_run:
        probes = pipeline.probe_arms(folder, arms) if probe_steps else {}
        _print_plan(plan, probes) if as_json and processes.is_first() else None
        return
    with pipeline.working(folder, overwrite):
        pipeline.train(folder, arms, probe=probe_steps is not False)
    if not processes.is_first():
        return
    trainings = pipeline.trainings(folder)
    if as_json:
        adapters = {name: str(folder.adapter(name)) for name in arms}
        print_json({"run": str(folder.path), "adapters": adapters, "trainings": trainings["trainings"]})
    else:
        print_trainings(trainings)


def generate(
    target: Annotated[str, typer.Argument(metavar="RECIPE|RUN", help="A recipe or a run; with --prompt: a model.")],
    prompt: Annotated[str | None, typer.Option("--prompt", help="Answer this prompt once, and stop.")] = None,
    adapter: Annotated[Path | None, typer.Option("--adapter", help="With --prompt: an adapter to put on.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", min=1, help="With --prompt: longest answer (default: 256).")
    ] = None,
    set_: SetOption = None,
    tasks: TasksOption = None,
    output: OutputOption = None,
    engine: EngineOption = None,
    base_url: BaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate the missing completions of a run; or answer one prompt: generate MODEL --prompt TEXT."""
    from flexlora import pipeline

    overrides = overrides_of(set_, tasks, engine, base_url)
    if prompt is not None:
        refuse_given("with --prompt there is no run", {"--tasks": tasks, "--output": output})
        if processes.count() > 1:
            raise UsageError("generate --prompt: one prompt is answered by one process.")
        asked = engine_of(overrides)
        if asked.is_remote:
            refuse_given("a server has the adapter under a name of its own", {"--adapter": adapter})
        answer = pipeline.answer(target, prompt, adapter, max_new_tokens or 256, asked)
        print_json({"completion": answer}) if as_json else typer.echo(answer)
        return
    refuse_given("without --prompt", {"--adapter": adapter, "--max-new-tokens": max_new_tokens})
    folder, _ = pipeline.start(*target_of(target, output, overrides), executes=False)
    with pipeline.working(folder):
        pipeline.generate(folder)
    print_json({"run": str(folder.path)}) if as_json and processes.is_first() else None


def likelihood(
    target: TargetArgument, set_: SetOption = None, output: OutputOption = None, as_json: JsonOption = False
) -> None:
    """Measure how likely the held-out texts of a recipe are, of a run whose adapters are trained. Runs no programs."""
    aim = target_of(target, output, set_)
    from flexlora import pipeline
    from flexlora.report.likelihood import print_likelihoods

    folder, _ = pipeline.start(*aim, executes=False, generates=False)
    if not folder.recipe.likelihood.texts:
        raise UsageError(
            "likelihood: the recipe names no texts; name some, e.g. --set likelihood=[codesearchnet/java]."
        )
    with pipeline.working(folder):
        measured = pipeline.likelihood(folder)
    if measured is not None and processes.is_first():
        print_json(measured) if as_json else print_likelihoods(measured)


def evaluate(
    target: TargetArgument,
    set_: SetOption = None,
    tasks: TasksOption = None,
    output: OutputOption = None,
    engine: EngineOption = None,
    base_url: BaseUrlOption = None,
    sandbox: SandboxOption = "bubblewrap",
    executor: ExecutorOption = "local",
    as_json: JsonOption = False,
) -> None:
    """Measure likelihoods, generate, execute and score, of a run whose adapters are trained."""
    aim = target_of(target, output, overrides_of(set_, tasks, engine, base_url))
    from flexlora import pipeline

    folder, _ = pipeline.start(*aim, sandbox=sandbox, executor=executor)
    with pipeline.working(folder, sandbox=sandbox, executor=executor):
        _measure(folder)
        pipeline.generate(folder, {"sandbox": sandbox, "executor": executor})
        if processes.is_first():
            pipeline.execute(folder, sandbox=sandbox, executor=executor)
        pipeline.repair(folder, sandbox=sandbox, executor=executor)
        if processes.is_first():
            _finish(folder, as_json)


def report(
    run: RunArgument,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="DIR", help="Write figures (SVG) and tables (LaTeX, CSV) for papers here."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's report.html, and print its tables."""
    from flexlora import folder, pipeline
    from flexlora.evaluation.schema import read_summary
    from flexlora.report.exports import write_run_exports
    from flexlora.report.terminal import print_summary
    from flexlora.report.trainings import print_trainings

    _refuse_studies(run)
    run_folder = folder.existing(run)
    page = pipeline.report(run_folder)
    exported = write_run_exports(run, read_summary(run), export) if export is not None else []
    if as_json:
        print_json({"report": str(page), **({"exported": [str(path) for path in exported]} if exported else {})})
    else:
        print_summary(read_summary(run))
        print_trainings(pipeline.trainings(run_folder))
        typer.echo(f"report: {page}")
        if export is not None:
            typer.echo(f"figures and tables: {export / 'figures'}, {export / 'tables'} ({len(exported)} files)")


def compare(run_a: RunArgument, run_b: RunArgument, as_json: JsonOption = False) -> None:
    """Compare the scores of two runs, paired on their problems (B minus A)."""
    from flexlora.evaluation.runs import compare_runs
    from flexlora.report.terminal import print_comparison

    _refuse_studies(run_a, run_b)
    compared = compare_runs(run_a, run_b)
    print_json(compared.as_dict()) if as_json else print_comparison(compared)


def _refuse_probe(probe_steps: bool | None, dry_run: bool) -> None:
    if probe_steps and not dry_run:
        raise UsageError("--probe-steps goes with --dry-run; a training that begins anew takes these steps anyway.")


def _print_plan(plan: Any, probes: dict[str, Any]) -> None:
    probed = {"probes": {arm: probe.as_dict() for arm, probe in probes.items()}} if probes else {}
    print_json({**plan.as_dict(), **probed})


def _announce(plan: Any) -> None:
    from flexlora.progress import say

    for line in plan.lines():
        say(line)


def _measure(folder: Any) -> None:
    """Measure likelihoods, and say what they are before the hours of generation begin."""
    from flexlora import pipeline
    from flexlora.progress import say
    from flexlora.report.likelihood import sentences

    if measured := pipeline.likelihood(folder):
        for line in sentences(measured):
            say(line)


def _finish(folder: Any, as_json: bool) -> None:
    """Score and report, the end of `run` and of `evaluate`."""
    from flexlora import pipeline
    from flexlora.report.terminal import print_summary
    from flexlora.report.trainings import print_trainings

    summary = pipeline.score(folder)
    page = pipeline.report(folder)
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)
        print_trainings(pipeline.trainings(folder))
        typer.echo(f"report: {page}")


def _refuse_studies(*folders: Path) -> None:
    """A study's directory is none of a run.

    Raises:
        UsageError: one of them is a study's.
    """
    for folder in folders:
        if (folder / "study.yaml").is_file() and not (folder / "recipe.yaml").exists():
            raise UsageError(
                f"{folder}: a study; `flexlora study report {folder}` shows it and compares its arms. Its runs are in "
                f"{folder / 'cells'} and {folder / 'bases'}."
            )
