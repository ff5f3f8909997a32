"""Commands on studies: many runs over arms, a grid and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flexlora.cli.options import JsonOption, SandboxOption, print_json
from flexlora.errors import UsageError

StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="A study's file, or the name of a packaged one.")]
ResultsArgument = Annotated[
    Path, typer.Argument(metavar="STUDY", help="The directory of a study, or its results.jsonl, packed or not.")
]


def run(
    study: StudyArgument,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Runs at a time (default: the GPUs, else as cores and memory allow)."),
    ] = None,
    executor: Annotated[
        Literal["local", "ray"],
        typer.Option("--executor", help="Where runs run: here, or on the nodes of a Ray cluster that runs already."),
    ] = "local",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the study, or of its recipe; repeatable."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="The study's directory (default: STUDY where it is one, else runs/NAME)."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete what another study left there and start anew.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, show the cells and the time they take, and stop.")
    ] = False,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="With --dry-run: measure speeds, where no cell is finished.")
    ] = True,
    sandbox: SandboxOption = "bubblewrap",
    as_json: JsonOption = False,
) -> None:
    """Run all cells of a study, and show what they show together. Running again continues."""
    from flexlora.studies.files import load_study
    from flexlora.studies.folder import folder_of
    from flexlora.studies.running import run_study

    loaded = load_study(study, set_ or ())
    folder = output or folder_of(study) or Path("runs") / loaded.name
    if dry_run:
        from flexlora.studies.estimate import estimate_study

        estimate = estimate_study(loaded, folder, workers, executor, overwrite=overwrite, probe=probe, sandbox=sandbox)
        if as_json:
            print_json(estimate.as_dict())
        else:
            typer.echo("\n".join(estimate.lines()))
        return
    if not probe:
        raise UsageError("--no-probe goes with --dry-run.")
    findings = run_study(loaded, folder, workers, executor, overwrite=overwrite, sandbox=sandbox)
    _show(folder, findings, as_json)


def report(
    study: ResultsArgument,
    plan: Annotated[
        str | None,
        typer.Option("--plan", help="With results.jsonl: the study's file or name (default: study.yaml beside it)."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="With results.jsonl: override a key of the plan; repeatable."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Analyse a study, also a half-finished one, and write its page, figures and tables; or print what results show."""
    if study.is_file():
        from flexlora.studies.analysis import recompute
        from flexlora.studies.files import load_study

        _print(recompute(study, load_study(plan or str(study.with_name("study.yaml")), set_ or ())), as_json)
        return
    if plan or set_:
        raise UsageError("--plan and --set go with results.jsonl; a study's directory has its own plan.")
    from flexlora.studies.running import report_study

    _show(study, report_study(study), as_json)


def listing(as_json: JsonOption = False) -> None:
    """List the packaged studies."""
    from flexlora.recipe import packaged_studies, read_yaml

    described = {name: read_yaml(path).get("description", "") for name, path in packaged_studies().items()}
    if as_json:
        print_json(described)
        return
    width = max(map(len, described), default=0)
    for name, description in described.items():
        typer.echo(f"{name:<{width}}  {description}")


def _show(folder: Path, findings: Any, as_json: bool) -> None:
    """Print the findings, and end with an error where cells have failed."""
    from flexlora.progress import say
    from flexlora.studies.running import listed

    _print(findings, as_json)
    if not as_json:
        typer.echo(f"report: {folder / 'report.html'}")
    if failures := findings["failures"]:
        say(f"{len(failures)} runs failed; running the study again tries them again:\n{listed(failures)}")
        raise typer.Exit(1)


def _print(findings: Any, as_json: bool) -> None:
    from flexlora.report.study_terminal import print_findings

    if as_json:
        print_json(findings)
    else:
        print_findings(findings)
