"""Commands on finished adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flexlora.cli.options import JsonOption, RunArgument, print_json, refuse_given
from flexlora.errors import UsageError


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
        print_json({label: one.as_dict() for label, one in spectra.items()})
    else:
        print_spectra(spectra, layers=layers)


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
    print_json(audit.as_dict()) if as_json else print_merge(audit.as_dict())
    if audit.warning:
        say(f"warning: {audit.warning}")


def export(
    run: RunArgument,
    output: Annotated[Path, typer.Option("--output", help="The new directory.")],
    arm: Annotated[str | None, typer.Option("--arm", help="Of which arm; needed where the run has several.")] = None,
    merged: Annotated[bool, typer.Option("--merged", help="The base with the adapter merged into it.")] = False,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option("--dtype", help="With --merged: of the saved weights (default: the base's own)."),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="OWNER/NAME", help="Hub id of a base that was a local folder.")
    ] = None,
    push: Annotated[
        str | None, typer.Option("--push", metavar="OWNER/NAME", help="Push it to this repository of the hub.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="With --push: make a new repository a private one.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write an arm's adapter, or the merged model, as a Hugging Face directory with a model card; push it on request.

    With --push, a directory that holds this export already is pushed, its card written anew.
    """
    if not merged:
        refuse_given("it goes with --merged", {"--dtype": dtype})
    if push is None:
        refuse_given("it goes with --push", {"--private": private or None})
    from flexlora.progress import say
    from flexlora.publishing import export_run

    done = export_run(run, output, arm=arm, merged=merged, dtype=dtype, base=base, push_to=push, private=private)
    print_json(done.as_dict()) if as_json else typer.echo(done.words())
    if done.warning:
        say(f"warning: {done.warning}")
