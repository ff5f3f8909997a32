"""A study's folder as finished runs leave it, without a model: cells, base, verdicts and logs of given answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flexlora.evaluation import Entry, score_run
from flexlora.files import append_jsonl, write_json, write_whole
from flexlora.folder import RunFolder, begin
from flexlora.recipe import Recipe, from_dict
from flexlora.studies.analysis import analyse_cells
from flexlora.studies.cells import Cell
from flexlora.studies.findings import Findings
from flexlora.studies.results import Results
from flexlora.studies.schema import Study

TASKS = {"tiny/A/py": "py", "tiny/A/java": "java"}
RECIPE: dict[str, Any] = {
    "model": "tiny",
    "data": [{"dataset": "tiny/B1/py"}],
    "tasks": [{"name": name, "limit": 60} for name in TASKS],
}
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "factors": ("factors", {}),
    "permuted": ("permuted", {}),
}
PLAN: dict[str, Any] = {
    "arms": {"none": {}, "factors": {}, "permuted": {}},
    "analysis": {
        "against": ["none"],
        "primary": {"config": "factors", "against": "permuted", "tasks": ["tiny/A/py", "tiny/A/java"]},
        "confirmatory": ["factors", "permuted"],
        "tradeoff": {"gain": ["tiny/A/py"], "retention": ["tiny/A/java"]},
    },
}
Counts = npt.NDArray[np.int64]
Draw = Callable[[str, str, str, int], Counts]
"""(configuration, variant, task, seed) -> how many samples of each problem pass."""


def study_of(**values: Any) -> Study:
    """A study over the recipe of these tests."""
    return Study.model_validate({"name": "fake", "recipe": RECIPE, **values})


def cells_for(
    configs: Mapping[str, tuple[str, dict[str, Any]]], seeds: Mapping[str, Sequence[int]] | int
) -> list[Cell]:
    """A cell for every configuration (name -> arm and point) and seed."""
    found = []
    for name, (arm, point) in configs.items():
        for seed in range(seeds) if isinstance(seeds, int) else seeds[name]:
            recipe = from_dict({**RECIPE, "variants": ["adapter"], "arms": {arm: {}}, "seed": seed})
            folder = f"{name.replace(' ', ',')},seed={seed}"
            found.append(Cell(name=folder, config=name, arm=arm, point=point, seed=seed, recipe=recipe, base="base"))
    return found


def base_recipe() -> Recipe:
    return from_dict({**RECIPE, "variants": ["base"], "arms": {}})


def write_cells(
    folder: Path, cells: Iterable[Cell], draw: Draw, variants: Sequence[str] = ("adapter",), samples: int = 1
) -> None:
    """The run directories of these cells, finished."""
    for cell in cells:
        run = folder / "cells" / cell.name
        write_run(run, cell.recipe, cell.config, cell.arm, variants, draw, samples)
        for step in (10, 20):
            append_jsonl(
                run / cell.arm / "train" / "log.jsonl",
                {"step": step, "loss": 1.0, "train_s": 6.0 * step, "peak_memory_gb": 1.5},
            )
        append_jsonl(run / cell.arm / "train" / "log.jsonl", {"step": 20, "eval_loss": 0.5 + cell.seed / 100})


def write_base(folder: Path, draw: Draw, name: str = "base", samples: int = 1) -> None:
    """The run directory of a base."""
    write_run(folder / "bases" / name, base_recipe(), name, None, ["base"], draw, samples)


def write_run(
    run: Path, recipe: Recipe, config: str, arm: str | None, variants: Sequence[str], draw: Draw, samples: int
) -> None:
    """One run directory with verdicts, summary and environment."""
    begin(RunFolder(recipe=recipe, path=run))
    write_json(run / "environment.json", {})
    entries = []
    for variant in variants:
        for task, language in TASKS.items():
            path = f"{arm}/eval/{variant}/{task.replace('/', '--')}" if arm else f"base/{task.replace('/', '--')}"
            counts = draw(config, variant, task, recipe.seed)
            keys = [(f"A/{problem}", sample) for problem in range(len(counts)) for sample in range(samples)]
            lines = [
                json.dumps(
                    {
                        "task_id": task_id,
                        "sample": sample,
                        "language": language,
                        "status": "OK" if passed else "Exception",
                        "passed": passed,
                    }
                )
                for task_id, sample in keys
                for passed in [bool(sample < counts[int(task_id.partition("/")[2])])]
            ]
            write_whole(run / path / "results.jsonl", "".join(f"{line}\n" for line in lines))
            entries.append(
                Entry(
                    arm=arm,
                    variant=variant,
                    model=recipe.model,
                    task=task,
                    language=language,
                    path=path,
                    expected=frozenset(keys),
                )
            )
    provenance = {
        "models": [{"model": recipe.model}],
        "arms": {arm: {"adapter_sha256": config}} if arm else {},
        "tasks": {task: {"data": {"revision": "1"}} for task in TASKS},
        "seed": recipe.seed,
        "environment": {"cores": 2},
    }
    write_json(run / "summary.json", score_run(run, entries, [1], name=recipe.name, provenance=provenance))
    (run / "report.html").touch()


def drawn(
    effects: Mapping[str, float], *, of_seed: float = 0.02, problems: int = 60, seed: int = 0, samples: int = 1
) -> Draw:
    """Answers from one distribution for all configurations, shifted by `effects` (configuration -> share)."""
    ease = {task: np.random.default_rng([seed, at]).uniform(0, 1, problems) for at, task in enumerate(TASKS)}

    def draw(config: str, variant: str, task: str, of: int) -> Counts:
        known = sorted({*effects, "base"})
        at = known.index(config) if config in known else len(known)
        generator = np.random.default_rng([seed, 7, at, len(variant), list(TASKS).index(task), of])
        shift = effects.get(config, 0.0) + of_seed * generator.normal()
        return generator.binomial(samples, np.clip(ease[task] + shift, 0.02, 0.98))

    return draw


def analysed(folder: Path, study: Study, cells: list[Cell]) -> tuple[Findings, Results]:
    """What the finished ones of these cells show, and their answers."""
    there = {path.parent.relative_to(folder).as_posix() for path in folder.glob("*/*/report.html")}
    return analyse_cells(study, folder, cells, {"base": base_recipe()}, there)


def made(folder: Path, effects: dict[str, float], seeds: int = 4, **how: Any) -> tuple[Findings, Results]:
    """A whole study by PLAN, of these shifts: arm -> share."""
    cells = cells_for(ARMS, seeds)
    draw = drawn({name: effects.get(name, 0.0) for name in ARMS}, **how)
    write_base(folder, draw)
    write_cells(folder, cells, draw)
    return analysed(folder, study_of(**PLAN), cells)


def rewritten(folder: Path, cell: str, change: Any) -> None:
    """A cell's summary with something else in it."""
    path = folder / "cells" / cell / "summary.json"
    summary = json.loads(path.read_bytes())
    change(summary)
    write_json(path, summary)
