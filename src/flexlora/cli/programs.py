"""Commands on programs and their verdicts: of a run, or anyone's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flexlora.cli.options import (
    ExecutorOption,
    JsonOption,
    SandboxOption,
    is_run,
    print_json,
    refuse_given,
)


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
    if is_run(target):
        of_samples: dict[str, Any] = {"--task": task, "--data-dir": data_dir, "--output": output}
        of_samples |= {"--mode": mode, "--no-cache": no_cache, "--compat": compat}
        refuse_given(f"{target} is a run", of_samples)
        from flexlora import folder, pipeline

        run_folder = folder.existing(Path(target))
        with pipeline.working(run_folder, sandbox=sandbox, executor=executor):
            pipeline.execute(run_folder, overwrite, workers=workers, sandbox=sandbox, executor=executor)
        print_json({"run": target}) if as_json else None
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
    print_json(summary) if as_json else typer.echo(sample_files.in_words(summary))


def score(
    target: Annotated[
        str, typer.Argument(metavar="RUN|RESULTS", help="The directory of a run, or verdicts in any of the formats.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Score a run's verdicts and compare its variants, which writes summary.json; or score a file of verdicts."""
    if not is_run(target):
        from flexlora.evaluation import sample_files

        scored = sample_files.score_file(Path(target))
        print_json(scored) if as_json else typer.echo(sample_files.in_words(scored))
        return
    from flexlora import folder, pipeline
    from flexlora.report.terminal import print_summary

    run_folder = folder.existing(Path(target))
    with folder.locked(run_folder):
        summary = pipeline.score(run_folder)
    print_json(summary) if as_json else print_summary(summary)
