"""The search for settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flexlora.cli.options import (
    DryRunOption,
    JsonOption,
    RecipeArgument,
    SandboxOption,
    SetOption,
    print_json,
)
from flexlora.errors import UsageError


def search(
    recipe: RecipeArgument,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="TIME", help="Wall time of this command: 2h, 30m, 90s.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=0, help="Trials in all, with those that are there already.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Trials at once, each in a process.")] = 1,
    space: Annotated[
        Path | None,
        typer.Option("--space", metavar="FILE.yaml", help="What to draw, and what to judge by, if not the default."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option("--storage", metavar="URL", help="Database for the trials (default: a journal in the folder)."),
    ] = None,
    choose: Annotated[
        str, typer.Option("--choose", metavar="kept|TRIAL", help="By the rule (best.yaml), or trial N (best-N.yaml).")
    ] = "kept",
    set_: SetOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of the search (default: runs/NAME-search).")
    ] = None,
    dry_run: DryRunOption = False,
    sandbox: SandboxOption = "bubblewrap",
    as_json: JsonOption = False,
) -> None:
    """Search for settings on validation problems; test problems are refused. Running again continues.

    The same command on another machine that shares the folder joins in.
    """
    if budget is None and trials is None and not dry_run:
        raise UsageError("search: say how long, e.g. --budget 2h, or how many trials, e.g. --trials 40.")
    from flexlora import models
    from flexlora.progress import say
    from flexlora.report.search_terminal import print_search
    from flexlora.report.search_words import plan_lines
    from flexlora.studies.search.best import best_file
    from flexlora.studies.search.budget import Budget, seconds
    from flexlora.studies.search.plan import plan_search
    from flexlora.studies.search.running import check, run_search

    models.quiet()
    limits = Budget(seconds=None if budget is None else seconds(budget), trials=trials)
    plan = plan_search(recipe, set_ or (), space)
    folder = output or Path("runs") / f"{plan.recipe.name}-search"
    checked = check(plan, folder, sandbox=sandbox)
    for line in plan_lines(checked):
        say(line)
    if dry_run:
        if as_json:
            print_json(checked)
        return
    findings = run_search(plan, folder, limits, workers=workers, url=storage, choose=choose, sandbox=sandbox)
    if as_json:
        print_json(findings)
        return
    print_search(findings)
    typer.echo(f"report: {folder / 'report.html'}")
    if findings["choice"]:
        beside = "" if choose == "kept" else " (best.yaml beside it is the rule's choice)"
        typer.echo(f"recipe: {folder / best_file(choose)}{beside}")
