"""The command line: a few lines a command, no logic. Heavy imports happen inside the commands that need them.

One file for each group of commands; here they are put together.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from flexlora import processes
from flexlora.cli import adapters, machine, programs, runs, search, studies
from flexlora.errors import FlexError, UsageError
from flexlora.version import __version__

INTERRUPTED = 130
KEEP_NOTHING = ("doctor", "merge", "export")
"""Commands that begin from the start after Ctrl-C."""

SHARED = ("run", "train", "likelihood", "generate", "evaluate")
"""Commands that several processes may start together."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Fine-tune one LoRA adapter on one programming language, and prove what happened to the others.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001  # its callback acts
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options of all commands."""
    if processes.count() > 1 and context.invoked_subcommand not in SHARED:
        raise UsageError(
            f"flexlora {context.invoked_subcommand}: {processes.count()} processes were started, and it works with "
            f"one; several share the work of {', '.join(SHARED)}."
        )


for command in (
    runs.run,
    runs.train,
    runs.likelihood,
    runs.generate,
    programs.execute,
    runs.evaluate,
    programs.score,
    runs.report,
    runs.compare,
    search.search,
    adapters.spectrum,
    adapters.merge,
    adapters.export,
    machine.recipes,
    machine.tasks,
    machine.doctor,
):
    app.command()(command)

study = typer.Typer(no_args_is_help=True, help="Studies: many runs over arms, a grid and seeds, and what they show.")
study.command()(studies.run)
study.command()(studies.report)
study.command("list")(studies.listing)
app.add_typer(study, name="study")

tiny = typer.Typer(no_args_is_help=True, help="The tiny model that comes with FLeX.")
tiny.command()(machine.build)
app.add_typer(tiny, name="tiny")


def main() -> None:
    """Entry point: exit codes 0 done, 1 failed, 2 wrong usage or recipe, 130 interrupted."""
    # Where it is installed, PEFT imports it, and on a CPU it regrets a kernel that nothing here uses.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        app()
    except FlexError as error:
        if not isinstance(error, processes.FailedElsewhere):
            who = "flexlora" if processes.is_first() else f"flexlora, process {processes.rank()}"
            print(f"{who}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as exit_:  # how typer ends, also after Ctrl-C
        if not exit_.code:
            processes.leave()
        if exit_.code == INTERRUPTED and not set(sys.argv[1:2]) & set(KEEP_NOTHING):
            print("flexlora: what was finished is kept, and running again continues.", file=sys.stderr)
        raise
