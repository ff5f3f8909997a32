"""Arguments and options that several commands share, and what they do with them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flexlora import processes
from flexlora.errors import UsageError

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a packaged one.")]
TargetArgument = Annotated[str, typer.Argument(metavar="RECIPE|RUN", help="A recipe, or the directory of a run.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a run.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe; repeatable.")
]
TasksOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tasks",
        metavar="NAMES",
        help="Evaluate these tasks rather than the recipe's: names with commas between them, patterns such as "
        "'multipl-e/*', '!*/swift' to leave out; repeatable.",
    ),
]
OutputOption = Annotated[Path | None, typer.Option("--output", help="Run directory (default: runs/NAME).")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Delete what an earlier run left there and start anew.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything, show the plan, and stop.")]
ProbeOption = Annotated[
    bool | None,
    typer.Option(
        "--probe-steps/--no-probe-steps",
        help="Take two steps on the longest batches first, and throw them away: with --dry-run where asked for, else "
        "unless refused.",
    ),
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
EngineOption = Annotated[
    Literal["transformers", "openai"] | None,
    typer.Option("--engine", help="What generates: this process, or an OpenAI-compatible server."),
]
BaseUrlOption = Annotated[
    str | None, typer.Option("--base-url", metavar="URL", help="With --engine openai: the server, with its /v1.")
]
ArmOption = Annotated[list[str] | None, typer.Option("--arm", help="Only this arm; repeatable.")]


def overrides_of(
    set_: list[str] | None, tasks: list[str] | None, engine: str | None = None, base_url: str | None = None
) -> list[str]:
    """What `--set`, `--tasks`, `--engine` and `--base-url` change in a recipe, as overrides."""
    names = [name for given in tasks or () for name in given.split(",") if name]
    overrides = [*(set_ or ()), *([f"tasks={json.dumps(names)}"] if names else [])]
    overrides += [f"engine.name={engine}"] if engine else []
    return overrides + ([f"engine.base_url={base_url}"] if base_url else [])


def target_of(target: str, output: Path | None, overrides: list[str] | None) -> tuple[Any, Path | None, list[str]]:
    """The arguments of `pipeline.start` for a recipe, or for a run directory, whose recipe is read from it."""
    given = overrides or []
    if not is_run(target):
        refuse_early(target, given)
        return target, output, given
    if output or not all(override.startswith(("engine.", "likelihood=", "likelihood.")) for override in given):
        raise UsageError(
            f"{target} is a run: its recipe is fixed; --tasks, --output and --set, but for likelihood and engine.KEY, "
            "go with a recipe."
        )
    return str(Path(target) / "recipe.yaml"), Path(target), given


def refuse_early(recipe: str, overrides: list[str]) -> None:
    """Refuse a recipe that is missing or wrong before torch and its like are imported, which takes seconds.

    Of several processes none does, as the pipeline has an error said by one of them.
    """
    from flexlora.recipe import load

    if processes.count() == 1:
        load(recipe, overrides)


def engine_of(overrides: list[str]) -> Any:
    """The engine that overrides of `engine.KEY` describe, where there is no recipe.

    Raises:
        UsageError: they set something else, or contradict each other.
    """
    from flexlora.recipe import Engine, checked, merged, parse_override

    values: dict[str, Any] = {}
    for override in overrides:
        values = merged(values, parse_override(override))
    if values.keys() - {"engine"}:
        raise UsageError("--set: not to be given here (with --prompt there is no recipe), but for --set engine.KEY.")
    return checked(Engine, values.get("engine", {}), "engine.")


def is_run(target: str) -> bool:
    """Whether a run's directory is named."""
    return (Path(target) / "recipe.yaml").is_file()


def refuse_given(where: str, options: dict[str, Any]) -> None:
    """Refuse options that mean nothing here, rather than pass over them."""
    if given := [name for name, value in options.items() if value is not None]:
        raise UsageError(f"{', '.join(given)}: not to be given here ({where}).")


def print_json(value: Any) -> None:
    """One line on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
