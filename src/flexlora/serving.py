"""Runs whose completions come from a server: which of its models they need, and the samples that it makes.

What the server has loaded under a name, in which precision and from which adapter, it alone knows; provenance records
the names, the address and what every request says.
"""

from __future__ import annotations

from collections.abc import Sequence

from flexlora import processes
from flexlora.data import Problem
from flexlora.files import read_appended
from flexlora.folder import Evaluation, RunFolder
from flexlora.generation import SampleFiles, Server, refuse_unserved, request_samples
from flexlora.generation.served import complete
from flexlora.jobs import missing_jobs, shared_jobs
from flexlora.overlap import Overlap
from flexlora.progress import say
from flexlora.recipe import Engine, Recipe, Sampling


def check_pending(run: RunFolder, tasks: Sequence[Sequence[Problem]]) -> None:
    """Look for the models of what lacks samples; arms that are yet to be trained cannot be served yet.

    Raises:
        UsageError: the server does not answer, or lacks one.
    """
    pending = [
        item
        for item in run.evaluations()
        if (item.arm is None or run.adapter(item.arm).is_dir())
        and any(missing_jobs(run, item, task) for task in tasks if task[0].task == item.task.name)
    ]
    if pending:
        _check(run.recipe, pending)


def generate(run: RunFolder, pending: Sequence[tuple[Evaluation, list[Problem]]], overlap: Overlap) -> None:
    """Write the missing completions of these evaluations.

    Raises:
        UsageError: the server lacks a model, or refuses a request.
        FlexError: it no longer answers; what is finished is kept.
    """
    if not pending:
        return
    recipe = run.recipe
    processes.once(lambda: _check(recipe, [item for item, _ in pending]))
    with Server(recipe.engine) as server:
        for item, problems in pending:
            name = recipe.engine.served_name(item.arm, item.variant, item.model)
            assert name is not None
            for job in shared_jobs(run, item, problems):
                if job.is_of_benchmark:
                    overlap.follow(job.files.folder, problems)
                request_samples(
                    server,
                    recipe.engine,
                    name,
                    processes.mine(job.problems),
                    job.sampling,
                    recipe.seed,
                    job.files.mine,
                    label=f"generate {job.label}",
                    elsewhere=job.files.all,
                )
                processes.wait()
                processes.once(job.files.take_in)
                if job.sampling.n > 1 and processes.is_first():
                    _remark_if_all_alike(job.files, job.label)


def answer(engine: Engine, model: str, prompt: str, sampling: Sampling) -> str:
    """The completion of one prompt by a model of the server."""
    with Server(engine) as server:
        return complete(server, model, prompt, sampling)


def in_words(run: RunFolder) -> str | None:
    """The server and what it calls the models; None where none generates."""
    if not run.recipe.engine.is_remote:
        return None
    served = ", ".join(f"{who} as {name}" for who, name in _names(run.recipe, run.evaluations()).items())
    return f"{run.recipe.engine.base_url}: {served}"


def _remark_if_all_alike(samples: SampleFiles, label: str) -> None:
    """Say so where a server gave the same text for every sample, as one does that does not look at the temperature."""
    texts: dict[str, set[str]] = {}
    for record in read_appended(samples.all):
        texts.setdefault(record["task_id"], set()).add(record["completion"])
    if all(len(of_problem) == 1 for of_problem in texts.values()):
        say(
            f"{label}: all samples of each problem are the same text. Does the server sample at all? `transformers "
            "serve` does only where the model's generation_config.json has do_sample: true."
        )


def _check(recipe: Recipe, evaluations: Sequence[Evaluation]) -> None:
    with Server(recipe.engine) as server:
        refuse_unserved(server, _names(recipe, evaluations))


def _names(recipe: Recipe, evaluations: Sequence[Evaluation]) -> dict[str, str]:
    """What is evaluated -> its name on the server."""
    named = {item.who(): recipe.engine.served_name(item.arm, item.variant, item.model) for item in evaluations}
    return {who: name for who, name in named.items() if name is not None}
