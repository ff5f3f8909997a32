"""Speeds of a run, measured by a small one: `python -m flexlora.studies.probe RECIPE.yaml` prints them as JSON.

A few optimizer steps on the batches of a real training, then one batch of completions a language by the adapter that
comes of them, and their programs. Nothing of it is kept. An adapter of a few steps may write longer or shorter
completions than a trained one.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from flexlora.recipe import Recipe, dumped, from_dict, read_yaml

STEPS = 6
UNTIMED = 2
"""First steps, in which kernels are chosen and memory is first asked for."""


def small(recipe: Recipe) -> Recipe:
    """A recipe of one arm, cut to what is measured: its first variant, one batch of problems a language."""
    values = dumped(recipe)
    tasks: dict[str, Any] = {}
    for task in values["tasks"]:
        limit = min(task["limit"] or recipe.sampling.batch_size, recipe.sampling.batch_size)
        tasks.setdefault(task["name"].rsplit("/", 1)[-1], task | {"limit": limit})
    train = {"max_steps": STEPS, "logging_steps": 1, "eval_steps": 10**6, "save_steps": 10**6, "spectrum_steps": None}
    values["train"] |= train
    values["sampling"] |= {"n": 1, "k": [1], "preset": None}
    return from_dict(
        values
        | {"tasks": list(tasks.values()), "variants": recipe.variants[:1], "baselines": [], "likelihood": []}
        | {"selection": {}, "repair": {}}
    )


def measure(recipe: Recipe) -> dict[str, Any]:
    """What `estimate.Rates` is made of, but for the time of a process's start."""
    from flexlora import models, pipeline
    from flexlora.evaluated import with_problems
    from flexlora.files import read_appended
    from flexlora.folder import RunFolder
    from flexlora.generation import SampleFiles, generate_samples
    from flexlora.training.peak_memory import peak_gb, reset_peak
    from flexlora.variants import with_models

    models.quiet()
    (arm,) = recipe.arm_names()
    with tempfile.TemporaryDirectory(prefix="flexlora-probe-") as folder:
        run = RunFolder(recipe=recipe, path=Path(folder))
        source = recipe.source(recipe.model)
        models.load_model(source)  # from the disk; what is timed is from memory, as in a study's other runs
        began = time.monotonic()
        models.load_model(source)
        load_s = time.monotonic() - began
        models.free_memory()
        began = time.monotonic()
        pipeline.train(run, probe=False)
        whole_s = time.monotonic() - began
        steps = {line["step"]: line for line in read_appended(run.train(arm) / "log.jsonl") if "train_s" in line}
        train_s = max(line["train_s"] for line in steps.values())
        after = min(UNTIMED, len(steps) - 1)
        s_per_step = (train_s - steps[after]["train_s"]) / (max(steps) - after) if after else train_s

        generated_s, tokens, completions = 0.0, dict[str, int](), dict[str, int]()
        counted = reset_peak()

        def timed(model: Any, tokenizer: Any, item: Any, problems: list[Any]) -> None:
            nonlocal generated_s
            files = SampleFiles(run.path / item.path)
            began = time.monotonic()
            generate_samples(
                model, tokenizer, problems, recipe.sampling, recipe.seed, files.mine, label="probe", elsewhere=files.all
            )
            generated_s += time.monotonic() - began
            made, language = read_appended(files.all), problems[0].language
            tokens[language] = tokens.get(language, 0) + sum(sample["tokens"] for sample in made)
            completions[language] = completions.get(language, 0) + len(made)

        evaluations = list(with_problems(run))
        with_models(run, evaluations, timed)
        generate_gb = peak_gb() if counted else None
        programs, executed_s = {}, 0.0
        for item, problems in evaluations:
            began = time.monotonic()
            one = RunFolder(recipe=recipe.model_copy(update={"tasks": (item.task,)}), path=run.path)
            pipeline.execute(one, cache=False)
            programs[problems[0].language] = (time.monotonic() - began) / len(problems)
            executed_s += time.monotonic() - began
    return {
        "s_per_step": s_per_step,
        "s_per_validation": max(0.0, whole_s - load_s - train_s) if recipe.arm(arm).validation else 0.0,
        "tokens_per_s": sum(tokens.values()) / generated_s if generated_s else None,
        "tokens_per_completion": {language: tokens[language] / completions[language] for language in tokens},
        "s_per_program": programs,
        "train_gb": max((line.get("peak_memory_gb") or 0.0 for line in steps.values()), default=0.0) or None,
        "generate_gb": generate_gb,
        "device": _device(),
        "measured_s": train_s + max(0.0, whole_s - load_s - train_s) + generated_s + executed_s,
    }


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    print(json.dumps(measure(small(from_dict(read_yaml(Path(sys.argv[1])))))))
