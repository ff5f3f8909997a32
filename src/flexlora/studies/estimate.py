"""How long a study takes: from its finished cells where there are some, else from speeds that a small run measures.

    cell = start + steps x s_per_step x size + validations x s_per_validation
           + sum over languages (completions x tokens_per_completion / tokens_per_s + programs x s_per_program)

`size` is the compute of a step against that of the configuration that was measured (Sophia's estimates, longer
examples). The study takes the sum of its runs over the number of workers, and at least as long as the longest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flexlora.errors import FlexError
from flexlora.progress import say
from flexlora.recipe import Recipe, dumped
from flexlora.studies.cells import cells_of
from flexlora.studies.checking import Checked, check_study
from flexlora.studies.events import Events
from flexlora.studies.folder import OVERWRITING, Run, open_study, runs_of
from flexlora.studies.processes import environment
from flexlora.studies.progress import duration, remaining
from flexlora.studies.schema import Executor, Study
from flexlora.studies.workers import local_workers, visible_gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Speeds of one machine with one model."""

    s_per_step: float
    tokens_per_s: float
    """Of all completions of a batch together."""
    tokens_per_completion: Mapping[str, float]
    """By language."""
    s_per_program: Mapping[str, float]
    """By language; over the programs that run at a time."""
    s_per_validation: float = 0.0
    start_s: float = 0.0
    """Of a process: imports, checks, loading the model."""
    petaflops_per_step: float = 0.0
    """Of the configuration that was measured; 0 takes every step to be alike."""
    train_gb: float | None = None
    generate_gb: float | None = None
    """Peak memory."""
    device: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one run does."""

    steps: int = 0
    validations: int = 0
    petaflops_per_step: float = 0.0
    completions: Mapping[str, int] = field(default_factory=dict)
    """By language, of all variants and samples; as many programs are run."""


def seconds_of(work: Work, rates: Rates) -> dict[str, float]:
    """The seconds of a run, part by part; a language that was not measured is taken for the slowest that was."""
    size = work.petaflops_per_step / rates.petaflops_per_step if rates.petaflops_per_step else 1.0

    def of(measured: Mapping[str, float], language: str) -> float:
        return measured.get(language, max(measured.values(), default=0.0))

    tokens = sum(count * of(rates.tokens_per_completion, language) for language, count in work.completions.items())
    return {
        "start": rates.start_s,
        "training": work.steps * rates.s_per_step * size,
        "validation": work.validations * rates.s_per_validation,
        "generation": tokens / rates.tokens_per_s if tokens else 0.0,
        "execution": sum(count * of(rates.s_per_program, language) for language, count in work.completions.items()),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What `flexlora study run --dry-run` prints."""

    study: str
    folder: str
    runs: list[dict[str, Any]]
    """`name, config, finished, steps, completions, seconds` of each; seconds None where they are not known."""
    workers: int
    where: str
    source: str
    """What the seconds are estimated from; empty where nothing was measured."""
    seconds: float | None
    """Until all is done; None where nothing was measured."""
    rates: dict[str, dict[str, Any]]
    """Model -> what was measured of it."""
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The same in words."""
        width = max(len(run["name"]) for run in self.runs)
        said = [f"study      {self.study}: {len(self.runs)} runs, {sum(run['finished'] for run in self.runs)} finished"]
        for run in self.runs:
            time_ = "finished" if run["finished"] else "" if run["seconds"] is None else duration(run["seconds"])
            work = f"{run['steps']} steps, " if run["steps"] else ""
            said.append(f"  {run['name']:<{width}}  {work}{run['completions']} completions  {time_}".rstrip())
        said.append(f"workers    {self.where}")
        for model, rates in self.rates.items():
            said.append(f"speeds     {model} on {rates['device']}: {_in_words(rates)}")
        if self.seconds is None:
            said.append("time       not estimated, as nothing was measured")
        else:
            said.append(f"time       about {duration(self.seconds)}, from {self.source}")
        return said + [f"note       {note}" for note in self.notes]


def _in_words(rates: Mapping[str, Any]) -> str:
    said = [f"{rates['start_s']:.3g} s to start", f"{rates['s_per_step']:.3g} s a step"]
    said += [f"{rates['s_per_validation']:.3g} s a validation"] * bool(rates["s_per_validation"])
    said.append(f"{rates['tokens_per_s']:.0f} tokens/s")
    for language, tokens in rates["tokens_per_completion"].items():
        said.append(f"{language} {tokens:.0f} tokens and {rates['s_per_program'][language]:.2g} s a program")
    memory = [rates[key] for key in ("train_gb", "generate_gb") if rates[key]]
    return ", ".join(said) + (f"; at most {max(memory):.1f} GB of memory" if memory else "")


def estimate_study(
    study: Study,
    folder: Path,
    workers: int | None = None,
    executor: Executor = "local",
    *,
    overwrite: bool = False,
    probe: bool = True,
    sandbox: str = "bubblewrap",
) -> Estimate:
    """Check a study as `run_study` does, and estimate how long what is missing of it takes. Writes nothing.

    Args:
        probe: measure speeds by a small run of each model, where no cell is finished.

    Raises:
        UsageError: anything is wrong or missing.
        FlexError: the small run failed.
    """
    open_study(study, folder, overwrite)
    overwrite = overwrite or (folder / OVERWRITING).exists()
    checked = check_study(study, sandbox)
    runs = runs_of(study, folder)
    finished = {run.name: not overwrite and run.is_finished() for run in runs}
    work = {run.name: _work_of(run, checked) for run in runs}
    waiting = [run.name for run in runs if not finished[run.name]]
    count, threads, where = _workers(executor, workers, checked, sandbox, folder, len(waiting))
    known = {} if overwrite else Events(folder).seconds()
    configs = {run.name: run.config for run in runs}
    rates: dict[str, Rates] = {}
    if of_cells := [name for name in known if configs.get(name, "base") != "base"]:
        source = f"{len(of_cells)} finished cells"
        expected: dict[str, float | None] = {name: remaining(known, configs, [name], {}, 1) for name in configs}
        seconds = remaining(known, configs, waiting, {}, count)
    elif probe and waiting:
        rates = _probed(study, checked, threads)
        source = "the speeds above, measured by a few steps, completions and programs"
        expected = {run.name: sum(seconds_of(work[run.name], rates[run.recipe.model]).values()) for run in runs}
        each = [expected[name] or 0.0 for name in waiting]
        seconds = max([sum(each) / max(1, min(count, len(each))), *each], default=0.0)
    else:
        source, seconds, expected = "", None, dict.fromkeys(configs)
    return Estimate(
        study=study.name,
        folder=str(folder),
        runs=[
            {
                "name": run.name,
                "config": run.config,
                "finished": finished[run.name],
                "steps": work[run.name].steps,
                "completions": sum(work[run.name].completions.values()),
                "seconds": expected[run.name],
            }
            for run in runs
        ],
        workers=count,
        where=where,
        source=source,
        seconds=seconds,
        rates={model: asdict(found) for model, found in rates.items()},
        notes=_notes(runs, count, rates, executor),
    )


def _workers(
    executor: Executor, wanted: int | None, checked: Checked, sandbox: str, folder: Path, runs: int
) -> tuple[int, int, str]:
    """Runs at a time, threads of each, and who runs them."""
    if executor == "local":
        local = local_workers(wanted, checked.parameters, sandbox, runs)
        return local.count, local.threads, local.words()
    from flexlora.studies.ray_workers import RayWorkers

    cluster = RayWorkers(wanted, sandbox, folder)
    try:
        return cluster.count, cluster.threads, cluster.words()
    finally:
        cluster.close()


def _work_of(run: Run, checked: Checked) -> Work:
    """What a run does, as preflight has counted it."""
    config = (
        run.config
        if run.config in checked.plans
        else next(config for config, plan in checked.plans.items() if plan["model"] == run.recipe.model)
    )
    plan = checked.plans[config]
    variants = len(run.recipe.variants) + len(run.recipe.baselines)
    completions: dict[str, int] = {}
    every = sum(plan["tasks"].values()) * run.recipe.sampling.n
    per_variant = plan["completions"] / every if every else 0
    for language, programs in plan["programs"].items():
        completions[language] = round(programs / per_variant) * variants if per_variant else 0
    if config != run.config:
        return Work(completions=completions)
    arm, train = checked.arms[config], run.recipe.arm(next(iter(run.recipe.arms))).train
    steps = arm["optimizer_steps"]
    return Work(
        steps=steps,
        validations=-(-steps // train.eval_steps) if arm["validation_examples"] else 0,
        petaflops_per_step=arm["petaflops"] / steps,
        completions=completions,
    )


def _probed(study: Study, checked: Checked, threads: int) -> dict[str, Rates]:
    """Model -> its speeds, each measured with the first configuration of it."""
    found: dict[str, Rates] = {}
    for cell in cells_of(study):
        if cell.recipe.model not in found:
            say(f"measuring speeds with {cell.name}")
            arm = checked.arms[cell.config]
            found[cell.recipe.model] = probe_rates(cell.recipe, arm["petaflops"] / arm["optimizer_steps"], threads)
    return found


def probe_rates(recipe: Recipe, petaflops_per_step: float = 0.0, threads: int = 1) -> Rates:
    """Measure a recipe's speeds by a small run, in a process of its own.

    Args:
        recipe: of a cell.
        petaflops_per_step: what it computes in a step.
        threads: of torch, and programs at a time, as a run of the study is given (`processes.order`).

    Raises:
        FlexError: it failed; its last words.
    """
    if recipe.execution.workers is None:
        execution = recipe.execution.model_copy(update={"workers": threads})
        recipe = recipe.model_copy(update={"execution": execution})
    with tempfile.TemporaryDirectory(prefix="flexlora-study-") as folder:
        file = Path(folder) / "recipe.yaml"
        file.write_text(yaml.safe_dump(dumped(recipe), sort_keys=False, allow_unicode=True), encoding="utf-8")
        gpu = next(iter(visible_gpus()), None)
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "flexlora.studies.probe", str(file)],
            capture_output=True,
            text=True,
            env={**os.environ, **environment(threads=threads, gpu=gpu)},
            check=False,
        )
        wall_s = time.monotonic() - began
    if done.returncode:
        raise FlexError(f"speeds could not be measured; --no-probe does without.\n{done.stderr.strip()[-1500:]}")
    measured = json.loads(done.stdout.splitlines()[-1])
    start_s = wall_s - measured.pop("measured_s")
    return Rates(**measured, start_s=max(0.0, start_s), petaflops_per_step=petaflops_per_step)


def _notes(runs: list[Run], count: int, rates: Mapping[str, Rates], executor: Executor) -> list[str]:
    """What the estimate leaves out, or takes to be so."""
    notes = []
    if rates:
        notes.append("completions of a trained adapter may be longer or shorter than those that were measured")
        if count > 1 and any(found.device == "cpu" for found in rates.values()):
            notes.append(
                "measured alone with a run's threads; runs side by side share the machine's memory and are slower"
            )
        if executor == "ray":
            notes.append("the speeds are those of this machine; the cluster's nodes may have others")
        if any(run.recipe.likelihood.texts for run in runs):
            notes.append("likelihoods are not in the estimate")
        if any(run.recipe.selection.methods or run.recipe.repair.rounds for run in runs):
            notes.append("selection and repair are not in the estimate")
        if any(run.recipe.baselines for run in runs):
            notes.append("baselines are taken to be as fast as the model")
    return notes
