"""FLeX: fine-tune one LoRA adapter on one programming language, and prove what happened to the others.

    import flexlora

    done = flexlora.run("mbpp-java", overrides=["model=PATH"])      # the main job, all stages
    flexlora.train("mbpp-java", overrides=["model=PATH"])           # training alone
    flexlora.evaluate(done.path)                                    # likelihoods, generate, execute and score
    flexlora.compare("runs/a", "runs/b")                            # two runs, paired on their problems
    flexlora.export(done.path, "export")                            # the adapter with a model card, for others

Heavy libraries are imported when a function needs them, not with the package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexlora.version import __version__

if TYPE_CHECKING:
    from flexlora.evaluation.runs import RunComparison
    from flexlora.evaluation.schema import Summary
    from flexlora.folder import RunFolder
    from flexlora.publishing import Exported
    from flexlora.recipe import Recipe

__all__ = ["__version__", "compare", "evaluate", "export", "run", "train"]


def run(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    output: str | Path | None = None,
    overrides: Iterable[str] = (),
    overwrite: bool = False,
) -> RunFolder:
    """The main job: train, measure likelihoods, generate, execute, score, report; continues a run that was stopped.

    Args:
        recipe: a recipe, its values, the path of a file, or the name of a packaged recipe.
        output: the run directory; by default `runs/NAME`.
        overrides: `dotted.key=value` strings, for a recipe from a file.
        overwrite: delete what an earlier run left in the directory.

    Raises:
        flexlora.errors.UsageError: before the start, for anything wrong or missing.
        flexlora.errors.FlexError: under way; what is finished is kept.
    """
    from flexlora.pipeline import run_recipe

    return run_recipe(recipe, output, overrides, overwrite)


def train(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    output: str | Path | None = None,
    overrides: Iterable[str] = (),
    overwrite: bool = False,
) -> RunFolder:
    """Train the adapters of a recipe; arguments and errors as for `run`."""
    from flexlora import pipeline

    folder, _ = pipeline.start(recipe, output, overrides, overwrite, executes=False, generates=False)
    with pipeline.working(folder, overwrite):
        pipeline.train(folder)
    return folder


def evaluate(run: str | Path) -> Summary:
    """Evaluate a run whose adapters are trained: likelihoods, completions, verdicts; returns what `summary.json` holds.

    Several processes measure and generate, and wait for the first to do the rest.
    """
    from flexlora import pipeline, processes
    from flexlora.folder import existing

    processes.join()
    folder = existing(Path(run))
    with pipeline.working(folder):
        pipeline.likelihood(folder)
        pipeline.generate(folder, {})
        processes.once(lambda: pipeline.execute(folder))
        pipeline.repair(folder)
        return processes.once(lambda: pipeline.score(folder))


def compare(run_a: str | Path, run_b: str | Path) -> RunComparison:
    """Compare the scores of two runs, paired on their problems (B minus A)."""
    from flexlora.evaluation.runs import compare_runs

    return compare_runs(Path(run_a), Path(run_b))


def export(
    run: str | Path,
    output: str | Path,
    *,
    arm: str | None = None,
    merged: bool = False,
    dtype: str | None = None,
    base: str | None = None,
    push_to: str | None = None,
    private: bool = False,
) -> Exported:
    """Write an arm's adapter, or the model merged from it, as a Hugging Face directory with a model card.

    Args:
        run: the run's directory.
        output: the new directory.
        arm: which; may be left out where the run has one.
        merged: merge the adapter into its base, with an audit.
        dtype: of the merged weights; None is the base's own.
        base: hub id of a base that was a local folder.
        push_to: OWNER/NAME, to push it to the hub; `output` may then hold this export already.
        private: make the repository a private one, if it is new.

    Raises:
        flexlora.errors.UsageError: before the start, for anything wrong or missing.
        flexlora.errors.FlexError: the merge, the disk or the push failed.
    """
    from flexlora.publishing import export_run

    return export_run(
        Path(run), Path(output), arm=arm, merged=merged, dtype=dtype, base=base, push_to=push_to, private=private
    )
