"""What there is: packaged recipes, tasks, toolchains and the sandbox, the tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flexlora.cli.options import (
    JsonOption,
    print_json,
    refuse_given,
)


def recipes(as_json: JsonOption = False) -> None:
    """List the packaged recipes."""
    from flexlora.recipe import packaged, read_yaml

    described = {name: read_yaml(path).get("description", "") for name, path in packaged().items()}
    if as_json:
        print_json(described)
        return
    width = max(map(len, described))
    for name, description in described.items():
        typer.echo(f"{name:<{width}}  {description}")


def tasks(as_json: JsonOption = False) -> None:
    """List the tasks: their size, languages, prompts, stop tokens, splits, source and licence."""
    from flexlora.data.family import MEANING
    from flexlora.data.tasks import FAMILIES
    from flexlora.report.tasks import print_tasks

    if as_json:
        print_json({"meaning": MEANING, "tasks": [family.as_dict() for family in FAMILIES]})
    else:
        print_tasks(MEANING, [family.row() for family in FAMILIES])


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
        refuse_given("--matrix checks nothing", {"--sandbox": sandbox or None})
        from flexlora import capabilities
        from flexlora.report.terminal import print_matrix

        print_json(capabilities.matrix()) if as_json else print_matrix(capabilities.AXES, capabilities.rows())
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
        print_json({"environment": environment.describe(), "checks": rows, "sandbox": proofs})
    else:
        from flexlora.report.terminal import print_doctor, print_proofs

        print_doctor(environment.describe(), rows)
        if proofs:
            print_proofs(proofs)
    if any(row["ok"] is False for row in (*rows, *proofs)):  # None: not installed, and not needed by everyone
        raise typer.Exit(1)


def build(
    output: Annotated[Path, typer.Option("--output", help="Folder for the model.")] = Path("runs/tiny-model"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of documents, tokenizer and first weights.")] = 0,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Training steps; fewer for a trial.")] = None,
    corpus: Annotated[
        Literal["clean", "exposed"], typer.Option("--corpus", help="exposed: 0.4 % is of the B sets.")
    ] = "clean",
    width: Annotated[
        int | None, typer.Option("--width", min=48, help="Of the hidden states, a multiple of 48 (default: 192).")
    ] = None,
    layers: Annotated[int | None, typer.Option("--layers", min=1, help="Layers (default: 6).")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Evaluate on the first so many problems of each set only.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build the tiny model, or a larger one, from nothing: data, tokenizer, weights, evaluation, card.

    The packaged size takes under an hour on two cores. Stop it anywhere; running it again continues.
    """
    from flexlora import embedded, models
    from flexlora.tiny.pretraining import LAYERS, STEPS, WIDTH, Plan

    models.quiet()
    plan = Plan(seed, steps or STEPS, corpus, width or WIDTH, layers or LAYERS)
    results = embedded.build(output, plan, limit)
    same = embedded.same_weights(output)
    if as_json:
        print_json({"model": str(output), "evaluation": str(output / "evaluation"), "same_as_packaged": same})
        return
    typer.echo(f"{results}\n\nModel: {output}; report: {output / 'evaluation' / 'report.html'}")
    typer.echo(f"Its weights are {'the packaged ones, bit for bit' if same else 'not those of the packaged model'}.")
