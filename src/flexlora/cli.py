"""The command line: a few lines a command, no logic. Heavy imports happen inside the commands that need them."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flexlora.errors import FlexError, UsageError
from flexlora.version import __version__

INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Fine-tune one LoRA adapter on one programming language, and prove what happened to the others.",
)

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a packaged one.")]
TargetArgument = Annotated[str, typer.Argument(metavar="RECIPE|RUN", help="A recipe, or the directory of a run.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a run.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe; repeatable.")
]
OutputOption = Annotated[Path | None, typer.Option("--output", help="Run directory (default: runs/NAME).")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Delete what an earlier run left there and start anew.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything, show the plan, and stop.")]
ProbeOption = Annotated[
    bool,
    typer.Option("--probe-steps", help="With --dry-run: load the models and take two steps on the longest batches."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON on standard output.")]
SandboxOption = Annotated[
    Literal["bubblewrap", "none"],
    typer.Option("--sandbox", help="none: programs run without one, with all your rights. For trusted ones only."),
]
ExecutorOption = Annotated[
    Literal["local", "ray"],
    typer.Option("--executor", help="Where programs run: here, or on all nodes of a Ray cluster that runs already."),
]
ArmOption = Annotated[list[str] | None, typer.Option("--arm", help="Only this arm; repeatable.")]


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options of all commands."""


@app.command()
def run(
    recipe: RecipeArgument,
    set_: SetOption = None,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    probe_steps: ProbeOption = False,
    sandbox: SandboxOption = "bubblewrap",
    executor: ExecutorOption = "local",
    as_json: JsonOption = False,
) -> None:
    """The main job: train every arm, generate, execute, score and report. Running again continues."""
    from flexlora import pipeline

    _refuse_probe(probe_steps, dry_run)
    folder, plan = pipeline.start(recipe, output, set_ or (), overwrite, sandbox=sandbox, executor=executor)
    _announce(plan)
    if dry_run:
        probes = pipeline.probe_arms(folder, folder.recipe.arm_names()) if probe_steps else {}
        _print_plan(plan, probes) if as_json else None
        return
    with pipeline.working(folder, overwrite, sandbox=sandbox, executor=executor):
        pipeline.train(folder)
        pipeline.generate(folder)
        pipeline.execute(folder, sandbox=sandbox, executor=executor)
        _finish(folder, as_json)


@app.command()
def train(
    target: TargetArgument,
    arm: ArmOption = None,
    set_: SetOption = None,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    probe_steps: ProbeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the adapters of a recipe, of all arms or of some."""
    from flexlora import pipeline

    _refuse_probe(probe_steps, dry_run)
    folder, plan = pipeline.start(*_target(target, output, set_), overwrite, executes=False)
    if not folder.recipe.arm_names():
        raise UsageError("train: the recipe evaluates the base only; add adapter or merged to its variants.")
    unknown = set(arm or ()) - set(folder.recipe.arm_names())
    if unknown:
        raise UsageError(f"--arm {min(unknown)}: the recipe has {', '.join(folder.recipe.arm_names())}.")
    _announce(plan)
    arms = arm or folder.recipe.arm_names()
    if dry_run:
        probes = pipeline.probe_arms(folder, arms) if probe_steps else {}
        _print_plan(plan, probes) if as_json else None
        return
    with pipeline.working(folder, overwrite):
        pipeline.train(folder, arms)
    trainings = pipeline.trainings(folder)
    if as_json:
        adapters = {name: str(folder.adapter(name)) for name in arms}
        _print_json({"run": str(folder.path), "adapters": adapters, "trainings": trainings["trainings"]})
    else:
        from flexlora.report.trainings import print_trainings

        print_trainings(trainings)


@app.command()
def generate(
    target: Annotated[str, typer.Argument(metavar="RECIPE|RUN", help="A recipe or a run; with --prompt: a model.")],
    prompt: Annotated[str | None, typer.Option("--prompt", help="Answer this prompt once, and stop.")] = None,
    adapter: Annotated[Path | None, typer.Option("--adapter", help="With --prompt: an adapter to put on.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", min=1, help="With --prompt: longest answer (default: 256).")
    ] = None,
    set_: SetOption = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate the missing completions of a run; or answer one prompt: generate MODEL --prompt TEXT."""
    from flexlora import pipeline

    if prompt is not None:
        _refuse_given("with --prompt there is no run", {"--set": set_, "--output": output})
        answer = pipeline.answer(target, prompt, adapter, max_new_tokens or 256)
        _print_json({"completion": answer}) if as_json else typer.echo(answer)
        return
    _refuse_given("without --prompt", {"--adapter": adapter, "--max-new-tokens": max_new_tokens})
    folder, _ = pipeline.start(*_target(target, output, set_), executes=False)
    with pipeline.working(folder):
        pipeline.generate(folder)
    _print_json({"run": str(folder.path)}) if as_json else None


@app.command()
def execute(
    target: Annotated[
        str, typer.Argument(metavar="SAMPLES|RUN", help="Samples in any of the formats, or the directory of a run.")
    ],
    task: Annotated[
        str | None, typer.Option("--task", help="Task of the samples, where their ids or file name do not tell it.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Folder with the benchmark files.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Results file (default: SAMPLES_results.jsonl, or results.jsonl in a folder)."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Programs at once (default: cores); with Ray, on each node.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier results file.")] = False,
    mode: Annotated[
        Literal["warm", "fresh", "cold"] | None,
        typer.Option(
            "--mode",
            help="How programs start: warm (default), fresh (a new interpreter for each Python program), or cold.",
        ),
    ] = None,
    no_cache: Annotated[
        bool | None, typer.Option("--no-cache", help="Do not use verdicts on equal programs from earlier times.")
    ] = None,
    compat: Annotated[
        bool | None, typer.Option("--compat", help="Judge by the rule behind the published figures, where it is laxer.")
    ] = None,
    sandbox: SandboxOption = "bubblewrap",
    executor: ExecutorOption = "local",
    as_json: JsonOption = False,
) -> None:
    """Run programs in the sandbox and write their verdicts: of a samples file or folder, or of a run."""
    if _is_run(target):
        of_samples: dict[str, Any] = {"--task": task, "--data-dir": data_dir, "--output": output}
        of_samples |= {"--mode": mode, "--no-cache": no_cache, "--compat": compat}
        _refuse_given(f"{target} is a run", of_samples)
        from flexlora import folder, pipeline

        run_folder = folder.existing(Path(target))
        with pipeline.working(run_folder, sandbox=sandbox, executor=executor):
            pipeline.execute(run_folder, overwrite, workers=workers, sandbox=sandbox, executor=executor)
        _print_json({"run": target}) if as_json else None
        return
    from flexlora.evaluation import sample_files

    summary = sample_files.execute_file(
        Path(target),
        task,
        data_dir,
        output,
        overwrite,
        workers=workers,
        mode=mode or "warm",
        cache=not no_cache,
        compat=bool(compat),
        sandbox=sandbox,
        executor=executor,
    )
    _print_json(summary) if as_json else typer.echo(sample_files.in_words(summary))


@app.command()
def evaluate(
    target: TargetArgument,
    set_: SetOption = None,
    output: OutputOption = None,
    sandbox: SandboxOption = "bubblewrap",
    executor: ExecutorOption = "local",
    as_json: JsonOption = False,
) -> None:
    """Generate, execute and score a run whose adapters are trained."""
    from flexlora import pipeline

    folder, _ = pipeline.start(*_target(target, output, set_), sandbox=sandbox, executor=executor)
    with pipeline.working(folder, sandbox=sandbox, executor=executor):
        pipeline.generate(folder)
        pipeline.execute(folder, sandbox=sandbox, executor=executor)
        _finish(folder, as_json)


@app.command()
def score(
    target: Annotated[
        str, typer.Argument(metavar="RUN|RESULTS", help="The directory of a run, or verdicts in any of the formats.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Score a run's verdicts and compare its variants, which writes summary.json; or score a file of verdicts."""
    if not _is_run(target):
        from flexlora.evaluation import sample_files

        scored = sample_files.score_file(Path(target))
        _print_json(scored) if as_json else typer.echo(sample_files.in_words(scored))
        return
    from flexlora import folder, pipeline
    from flexlora.report.terminal import print_summary

    run_folder = folder.existing(Path(target))
    with folder.locked(run_folder):
        summary = pipeline.score(run_folder)
    _print_json(summary) if as_json else print_summary(summary)


@app.command()
def report(run: RunArgument, as_json: JsonOption = False) -> None:
    """Write a run's report.html, and print its tables."""
    from flexlora import folder, pipeline
    from flexlora.evaluation.schema import read_summary
    from flexlora.report.terminal import print_summary
    from flexlora.report.trainings import print_trainings

    run_folder = folder.existing(run)
    page = pipeline.report(run_folder)
    if as_json:
        _print_json({"report": str(page)})
    else:
        print_summary(read_summary(run))
        print_trainings(pipeline.trainings(run_folder))
        typer.echo(f"report: {page}")


@app.command()
def compare(run_a: RunArgument, run_b: RunArgument, as_json: JsonOption = False) -> None:
    """Compare the scores of two runs, paired on their problems (B minus A)."""
    from flexlora.evaluation.runs import compare_runs
    from flexlora.report.terminal import print_comparison

    compared = compare_runs(run_a, run_b)
    _print_json(compared.as_dict()) if as_json else print_comparison(compared)


@app.command()
def spectrum(
    adapters: Annotated[
        list[str],
        typer.Argument(metavar="ADAPTER", help="Folder of an adapter, run (all its arms), or hub id; several."),
    ],
    view: Annotated[
        Literal["factors", "rows", "delta"],
        typer.Option("--view", help="What is transformed: each factor flattened (the paper's), their rows, or s B A."),
    ] = "factors",
    tau: Annotated[float, typer.Option("--tau", help="Threshold as a share of the Nyquist frequency.")] = 0.5,
    bands: Annotated[int, typer.Option("--bands", help="Number of equal bands from 0 to Nyquist.")] = 16,
    flatten: Annotated[
        Literal["row", "column"],
        typer.Option("--flatten", help="For factors: vec(B) runs fastest over the rank (row) or the outputs (column)."),
    ] = "row",
    layers: Annotated[
        bool, typer.Option("--layers", help="A row for each module in place of one for each kind of module.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png", help="Draw them to this file, which is replaced if it exists."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the power spectra of adapters side by side, against white noise. Needs no base model."""
    from flexlora.report.spectrum import print_spectra
    from flexlora.report.spectrum_plot import check_plot, plot_spectra
    from flexlora.spectra import saved_spectra

    if plot is not None:
        check_plot(plot)
    spectra = saved_spectra(adapters, view=view, tau=tau, bands=bands, flatten=flatten)
    if plot is not None:
        plot_spectra(spectra, plot)
    if as_json:
        _print_json({label: one.as_dict() for label, one in spectra.items()})
    else:
        print_spectra(spectra, layers=layers)


@app.command()
def merge(
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", help="A PEFT adapter: a folder, or a hub id.")],
    output: Annotated[Path | None, typer.Option("--output", help="Folder for the merged model; a new one.")] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option("--dtype", help="Of the saved weights (default: the base's own)."),
    ] = None,
    rounding: Annotated[
        Literal["nearest", "calibrated"],
        typer.Option("--rounding", help="calibrated: errors cancel along the inputs that prompts show."),
    ] = "nearest",
    model: Annotated[str | None, typer.Option("--model", help="The base, if not the one the adapter names.")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", help="File of prompts to compare on: .jsonl with `prompt`, or text (blank lines)."),
    ] = None,
    warn_above: Annotated[
        float, typer.Option("--warn-above", min=0, help="Warn if the update errs by more, as a share of it.")
    ] = 0.05,
    audit_only: Annotated[bool, typer.Option("--audit-only", help="Measure, and write nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Merge an adapter into its base and say what that costs, in every dtype."""
    if (output is None) != audit_only:
        raise UsageError("give either --output DIR, for the merged model, or --audit-only.")
    from flexlora import models
    from flexlora.adapters.merge import merge_adapter
    from flexlora.progress import say
    from flexlora.report.merge import print_merge

    models.quiet()
    audit = merge_adapter(
        adapter, output, dtype=dtype, rounding=rounding, model=model, prompts=prompts, warn_above=warn_above
    )
    _print_json(audit.as_dict()) if as_json else print_merge(audit.as_dict())
    if audit.warning:
        say(f"warning: {audit.warning}")


@app.command()
def recipes(as_json: JsonOption = False) -> None:
    """List the packaged recipes."""
    from flexlora.recipe import packaged, read_yaml

    described = {name: read_yaml(path).get("description", "") for name, path in packaged().items()}
    if as_json:
        _print_json(described)
        return
    width = max(map(len, described))
    for name, description in described.items():
        typer.echo(f"{name:<{width}}  {description}")


tiny = typer.Typer(no_args_is_help=True, help="The tiny model that comes with FLeX.")
app.add_typer(tiny, name="tiny")


@tiny.command()
def build(
    output: Annotated[Path, typer.Option("--output", help="Folder for the model.")] = Path("runs/tiny-model"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of documents, tokenizer and first weights.")] = 0,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Training steps; fewer for a trial.")] = None,
    corpus: Annotated[
        Literal["clean", "exposed"], typer.Option("--corpus", help="exposed: 0.4 % is of the B sets.")
    ] = "clean",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Evaluate on the first so many problems of each set only.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build the tiny model from nothing: data, tokenizer, weights, evaluation, card.

    Under an hour on two cores. Stop it anywhere; running it again continues.
    """
    from flexlora import embedded, models
    from flexlora.tiny.pretraining import STEPS, Plan

    models.quiet()
    results = embedded.build(output, Plan(seed, steps or STEPS, corpus), limit)
    same = embedded.same_weights(output)
    if as_json:
        _print_json({"model": str(output), "evaluation": str(output / "evaluation"), "same_as_packaged": same})
        return
    typer.echo(f"{results}\n\nModel: {output}; report: {output / 'evaluation' / 'report.html'}")
    typer.echo(f"Its weights are {'the packaged ones, bit for bit' if same else 'not those of the packaged model'}.")


@app.command()
def doctor(
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Prove that the sandbox holds, by some 340 hostile programs (7 minutes).")
    ] = False,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Show instead what trains with what: supported or refused, and why.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the sandbox and every language's toolchain by running a good and a bad program in each."""
    if matrix:
        _refuse_given("--matrix checks nothing", {"--sandbox": sandbox or None})
        from flexlora import capabilities
        from flexlora.report.terminal import print_matrix

        _print_json(capabilities.matrix()) if as_json else print_matrix(capabilities.AXES, capabilities.rows())
        return
    from flexlora import environment
    from flexlora.execution.doctor import check, proofs_of_sandbox

    rows = check()
    proofs = []
    if sandbox and rows[0]["ok"]:
        from flexlora.progress import bar

        total, results = proofs_of_sandbox()
        with bar("hostile programs", total) as advance:
            for proof in results:
                proofs.append(proof)
                advance(note=f"{proof['language']} {proof['behaviour']}")
    if as_json:
        _print_json({"environment": environment.describe(), "checks": rows, "sandbox": proofs})
    else:
        from flexlora.report.terminal import print_doctor, print_proofs

        print_doctor(environment.describe(), rows)
        if proofs:
            print_proofs(proofs)
    if any(row["ok"] is False for row in (*rows, *proofs)):  # None: not installed, and not needed by everyone
        raise typer.Exit(1)


def main() -> None:
    """Entry point: exit codes 0 done, 1 failed, 2 wrong usage or recipe, 130 interrupted."""
    # Where it is installed, PEFT imports it, and on a CPU it regrets a kernel that nothing here uses.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        app()
    except FlexError as error:
        print(f"flexlora: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as exit_:  # how typer ends, also after Ctrl-C
        if exit_.code == INTERRUPTED and sys.argv[1:2] not in (["doctor"], ["merge"]):
            print("flexlora: what was finished is kept, and running again continues.", file=sys.stderr)
        raise


def _target(target: str, output: Path | None, overrides: list[str] | None) -> tuple[Any, Path | None, list[str]]:
    """The arguments of `pipeline.start` for a recipe, or for a run directory, whose recipe is read from it."""
    if not _is_run(target):
        return target, output, overrides or []
    if overrides or output:
        raise UsageError(f"{target} is a run: its recipe is fixed; --set and --output go with a recipe.")
    return str(Path(target) / "recipe.yaml"), Path(target), []


def _is_run(target: str) -> bool:
    return (Path(target) / "recipe.yaml").is_file()


def _refuse_given(where: str, options: dict[str, Any]) -> None:
    """Refuse options that mean nothing here, rather than pass over them."""
    if given := [name for name, value in options.items() if value is not None]:
        raise UsageError(f"{', '.join(given)}: not to be given here ({where}).")


def _refuse_probe(probe_steps: bool, dry_run: bool) -> None:
    if probe_steps and not dry_run:
        raise UsageError("--probe-steps goes with --dry-run; a training that begins anew takes these steps anyway.")


def _print_plan(plan: Any, probes: dict[str, Any]) -> None:
    probed = {"probes": {arm: probe.as_dict() for arm, probe in probes.items()}} if probes else {}
    _print_json({**plan.as_dict(), **probed})


def _announce(plan: Any) -> None:
    from flexlora.progress import say

    for line in plan.lines():
        say(line)


def _finish(folder: Any, as_json: bool) -> None:
    """Score and report, the end of `run` and of `evaluate`."""
    from flexlora import pipeline
    from flexlora.report.terminal import print_summary
    from flexlora.report.trainings import print_trainings

    summary = pipeline.score(folder)
    page = pipeline.report(folder)
    if as_json:
        _print_json(summary)
    else:
        print_summary(summary)
        print_trainings(pipeline.trainings(folder))
        typer.echo(f"report: {page}")


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
