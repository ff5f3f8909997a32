"""Write the pages made from the code: recipe keys, commands, capability matrix, tasks. `make docs` runs this first."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from flexlora import capabilities, recipe
from flexlora.cli import app
from flexlora.data.family import MEANING
from flexlora.data.tasks import FAMILIES
from flexlora.studies import schema

REFERENCE = Path(__file__).parent / "reference"
SECTIONS: dict[str, type[recipe.Section]] = {
    "data": recipe.DataSource,
    "lora": recipe.Lora,
    "penalty": recipe.Penalty,
    "optimizer": recipe.Optimizer,
    "train": recipe.Train,
    "tasks": recipe.Task,
    "likelihood": recipe.Likelihood,
    "likelihood.texts": recipe.Texts,
    "sampling": recipe.Sampling,
    "engine": recipe.Engine,
    "prompting": recipe.Prompting,
    "selection": recipe.Selection,
    "repair": recipe.Repair,
    "tokenizer": recipe.Tokenizer,
    "execution": recipe.Execution,
}
STUDY_SECTIONS: dict[str, type[recipe.Section]] = {
    "analysis": schema.Analysis,
    "analysis.primary": schema.Primary,
    "analysis.tradeoff": schema.Tradeoff,
    "paper": schema.Paper,
    "paper.figures": schema.PaperFigure,
}


def recipe_page() -> str:
    """All keys of a recipe with type, default and meaning."""
    parts = [
        "# Recipe keys\n",
        "Generated from the code. A recipe is a YAML file; every key can be set on the command line with",
        "`--set key.subkey=value`. Unknown keys are refused. Keys that may change when a run is continued:",
        ", ".join(f"`{key}`" for key in recipe.FREE_KEYS)
        + "; "
        + ", ".join(f"`{key}`" for key in recipe.GROWING_KEYS)
        + " may be raised; `engine` may be another as long as "
        "nothing has been generated.\n",
        table(recipe.Recipe),
        "\nAn arm may override: " + ", ".join(f"`{key}`" for key in recipe.ARM_KEYS) + ".\n",
    ]
    for key, section in SECTIONS.items():
        parts += [f"\n## {key}\n", (section.__doc__ or "").strip().splitlines()[0] + "\n", table(section)]
    return "\n".join(parts) + "\n"


def study_page() -> str:
    """All keys of a study."""
    parts = [
        "# Study keys\n",
        "Generated from the code. What they mean together: [studies](../studies.md). `--set key=value` sets them.\n",
        table(schema.Study),
    ]
    for key, section in STUDY_SECTIONS.items():
        parts += [f"\n## {key}\n", (section.__doc__ or "").strip().splitlines()[0] + "\n", table(section)]
    return "\n".join(parts) + "\n"


def table(section: type[recipe.Section]) -> str:
    """The keys of one section."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in section.model_fields.items():
        rows.append(f"| `{name}` | {type_name(field.annotation)} | {default(field)} | {field.description or ''} |")
    return "\n".join(rows)


def type_name(annotation: Any) -> str:
    """A type in the words of a YAML file."""
    if annotation is type(None):
        return "null"
    if hasattr(annotation, "__metadata__"):
        return type_name(get_args(annotation)[0])
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(map(type_name, arguments))
    if origin is tuple:
        inner = dict.fromkeys(type_name(argument) for argument in arguments if argument is not Ellipsis)
        return "list of " + " and ".join(inner)
    if origin is dict or annotation is Any:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, recipe.Section):
        return "section"
    names = {str: "text", int: "integer", float: "number", bool: "true or false", Path: "path"}
    return names.get(annotation, str(annotation))


def default(field: FieldInfo) -> str:
    """A default as it would stand in YAML."""
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, recipe.Section):
        return "see below"
    if isinstance(value, tuple):
        return "`[" + ", ".join(map(str, value)) + "]`"
    return "`null`" if value is None else f"`{value}`" if value != "" else ""


def commands_page() -> str:
    """Every command with its help text."""
    root = typer.main.get_command(app)
    parts = ["# Commands\n", "Generated from the code: what `flexlora COMMAND --help` prints.\n"]
    parts.append("Exit codes: 0 done, 1 failed, 2 wrong usage or recipe, 130 interrupted.\n")
    for name, command in commands(root, "flexlora"):
        context = typer.Context(command, info_name=name, terminal_width=100)
        parts += [f"## {name}\n", "```text", command.get_help(context).strip(), "```\n"]
    return "\n".join(parts)


def capabilities_page() -> str:
    """The capability matrix."""
    parts = [
        "# What trains with what\n",
        "Generated from the code, which refuses by the same table before a model is loaded; `flexlora doctor --matrix`",
        "prints it, and with `--json` every combination. Python means the mixins for trainers and loops of your own.\n",
        "| axis | values |\n|---|---|",
        *(f"| {axis} | {', '.join(values)} |" for axis, values in capabilities.AXES.items()),
        "\nThe first line that fits decides.\n",
        "| setting | supported by | why, and what instead |\n|---|---|---|",
        *("| " + " | ".join(row) + " |" for row in capabilities.rows()),
    ]
    return "\n".join(parts) + "\n"


def cell(value: str) -> str:
    """Text in a table, as code where it is stop tokens."""
    value = value.replace("|", "\\|")
    return f"```` {value} ````" if value.startswith('"') else value


def tasks_page() -> str:
    """All tasks."""
    rows = [family.row() for family in FAMILIES]
    parts = [
        "# Tasks\n",
        "Generated from the code; `flexlora tasks` prints it, and with `--json` every task by its name. LANG is a",
        "language's code ([which](../execution.md)). Of several prompt styles or splits the first is the default. What",
        "the columns mean for a score: [Evaluation](../evaluation.md); tasks of your own:",
        "[Your own data and problems](../how-to/dataset.md).\n",
        "| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]),
        *("| " + " | ".join(map(cell, row.values())) + " |" for row in rows),
        "",
        *(f"- `{state}`: {words}." for state, words in MEANING.items()),
    ]
    return "\n".join(parts) + "\n"


def commands(group: Any, prefix: str) -> list[tuple[str, Any]]:
    """Commands of a group and of the groups in it, by their full names."""
    found = []
    for name, command in group.commands.items():
        full = f"{prefix} {name}"
        found += commands(command, full) if hasattr(command, "commands") else [(full, command)]
    return found


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    (REFERENCE / "recipe.md").write_text(recipe_page())
    (REFERENCE / "study.md").write_text(study_page())
    (REFERENCE / "commands.md").write_text(commands_page())
    (REFERENCE / "capabilities.md").write_text(capabilities_page())
    (REFERENCE / "tasks.md").write_text(tasks_page())
