"""What models do in a run besides training: complete the problems, and measure the likelihood of held-out texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flexlora import models, processes, serving
from flexlora.adapters import load_adapter
from flexlora.data import Problem, Text
from flexlora.errors import UsageError
from flexlora.evaluated import program_of, with_problems, with_texts
from flexlora.evaluation.likelihood import LikelihoodEntry, score_likelihoods
from flexlora.evaluation.schema import Likelihoods
from flexlora.execution import How
from flexlora.files import read_appended
from flexlora.folder import Evaluation, RunFolder
from flexlora.generation import complete, generate_samples
from flexlora.jobs import jobs_of, missing_jobs, shared_fitting, shared_jobs
from flexlora.likelihood import likelihood_files, measure_texts
from flexlora.overlap import Overlap
from flexlora.recipe import Engine, ModelSource, Sampling
from flexlora.variants import with_models


def generate(run: RunFolder, executing: How | None = None) -> None:
    """Write the missing completions of everything that the recipe evaluates; several processes share the problems.

    Args:
        executing: how programs are run, as in `execute`: those of finished completions are run meanwhile already,
            where the recipe's `execution.overlap` has it; None runs none.

    Raises:
        UsageError: an arm's adapter has not been trained, or the server lacks a model.
        FlexError: out of GPU memory, or the server no longer answers; what is finished is kept.
    """
    # Places are told to the other processes, and no problems, whose tests may be gigabytes.
    places = processes.once(lambda: [item.path for item, _ in _pending(run)])
    pending = [(item, problems) for item, problems in with_problems(run) if item.path in places]
    with Overlap(program_of, _overlapping(run, executing)) as overlap:
        generates = serving.generate if run.recipe.engine.is_remote else _generate
        generates(run, pending, overlap)


def _overlapping(run: RunFolder, executing: How | None) -> How | None:
    """How programs are run while completions are generated; None where they are not."""
    wanted = run.recipe.execution.overlap
    if wanted == "auto":
        wanted = run.recipe.engine.is_remote or models.device().type == "cuda"
    if executing is None or not wanted or processes.count() > 1:
        return None
    return {**executing, "workers": executing.get("workers") or run.recipe.execution.workers}


def _generate(run: RunFolder, pending: Sequence[tuple[Evaluation, list[Problem]]], overlap: Overlap) -> None:
    def complete_all(model: Any, tokenizer: Any, item: Evaluation, problems: list[Problem]) -> None:
        for job in shared_jobs(run, item, problems):
            if job.is_of_benchmark:
                overlap.follow(job.files.folder, problems)
            generate_samples(
                model,
                tokenizer,
                processes.mine(shared_fitting(job, model, tokenizer)),
                job.sampling,
                run.recipe.seed,
                job.files.mine,
                label=f"generate {job.label}",
                elsewhere=job.files.all,
            )
            processes.wait()
            processes.once(job.files.take_in)

    with_models(run, pending, complete_all)


def _pending(run: RunFolder) -> list[tuple[Evaluation, list[Problem]]]:
    """What lacks samples, once those are taken in that the processes of a killed run left."""
    evaluations = list(with_problems(run))
    for item, problems in evaluations:
        for job in jobs_of(run, item, problems):
            job.files.take_in()
    pending = [(item, problems) for item, problems in evaluations if missing_jobs(run, item, problems)]
    _refuse_untrained(run, [item for item, _ in pending])
    return pending


def likelihood(run: RunFolder) -> Likelihoods | None:
    """Measure the held-out texts that the recipe names by everything it evaluates; several processes share the texts.

    Returns:
        Their scores, as `summary.json` will hold them; None where there are no texts.

    Raises:
        UsageError: an arm's adapter has not been trained.
        FlexError: out of GPU memory, or a model's output is not a number.
    """

    def measure(model: Any, tokenizer: Any, item: Evaluation, texts: list[Text]) -> None:
        files = likelihood_files(run.path / item.path)
        measure_texts(
            model,
            tokenizer,
            processes.mine(texts),
            run.recipe.likelihood,
            files.mine,
            label=f"likelihood {item.label()}",
            elsewhere=files.all,
        )
        processes.wait()
        processes.once(files.take_in)

    with_models(run, processes.once(lambda: _pending_likelihoods(run)), measure)
    return processes.once(lambda: likelihood_scores(run))


def _pending_likelihoods(run: RunFolder) -> list[tuple[Evaluation, list[Text]]]:
    """What lacks likelihoods, once those are taken in that the processes of a killed run left."""
    pending = []
    for item, texts in with_texts(run):
        files = likelihood_files(run.path / item.path)
        files.take_in()
        if {text.task_id for text in texts} - {record["task_id"] for record in read_appended(files.all)}:
            pending.append((item, texts))
    _refuse_untrained(run, [item for item, _ in pending])
    return pending


def likelihood_scores(run: RunFolder) -> Likelihoods | None:
    """The likelihoods of a run, as `summary.json` holds them; None where no texts are measured."""
    entries = [
        LikelihoodEntry(
            arm=item.arm,
            variant=item.variant,
            model=item.model,
            task=item.task.name,
            language=texts[0].language,
            path=item.path,
            expected=frozenset(text.task_id for text in texts),
        )
        for item, texts in with_texts(run)
    ]
    return score_likelihoods(run.path, entries, seed=run.recipe.seed) if entries else None


def _refuse_untrained(run: RunFolder, pending: Sequence[Evaluation]) -> None:
    for item in pending:
        if item.arm is not None and not run.adapter(item.arm).is_dir():
            raise UsageError(f"{run.adapter(item.arm)}: not trained yet; `flexlora train {run.path}` does that.")


def answer(
    model: str, prompt: str, adapter: Path | None = None, max_new_tokens: int = 256, engine: Engine | None = None
) -> str:
    """The greedy completion of one prompt, by a model with or without an adapter.

    Args:
        engine: a server, which has the model under this name; None loads it here.
    """
    sampling = Sampling(max_new_tokens=max_new_tokens)
    if engine is not None and engine.is_remote:
        return serving.answer(engine, model, prompt, sampling)
    models.quiet()
    source = ModelSource(name=model)
    tokenizer = models.load_tokenizer(source)
    loaded = models.load_model(source)
    if adapter is not None:
        if not (adapter / "adapter_config.json").is_file():
            raise UsageError(f"{adapter}: not an adapter (no adapter_config.json); a run has it in ARM/train/adapter.")
        loaded = load_adapter(loaded, adapter)
    return complete(loaded, tokenizer, prompt, sampling, seed=0)[0]
