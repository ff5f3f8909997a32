"""A run directory: the only state of a run, laid out the same for every recipe.

    RUN/recipe.yaml  environment.json  trainings.json  summary.json  report.html
    RUN/ARM/train/{adapter/,checkpoints/,log.jsonl,spectrum.jsonl}
    RUN/ARM/eval/VARIANT/TASK/{samples.jsonl,results.jsonl,likelihood.jsonl}
    RUN/base/TASK/...   RUN/baselines/NAME/TASK/...

"/" in a task's or a model's name is written as "--"; the folder of a file of tasks is its name and a hash of its path.
Running again with an equal recipe continues; a different recipe is refused, because its results would be mixed with the
old ones.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import yaml

from flexlora.errors import UsageError
from flexlora.files import write_whole
from flexlora.locks import held
from flexlora.recipe import Recipe, Task, Texts, differences, dumped, from_dict, read_yaml

LOCK = ".lock"
FILES = ("recipe.yaml", "environment.json", "trainings.json", "summary.json", "report.html")
OVERWRITING = ".overwriting"
"""Stands in a run directory while `begin` deletes what was there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One variant of one model on one task, or on texts that are measured, and the folder with its files."""

    arm: str | None
    """None for the base and the baselines."""
    variant: str
    """`base`, `adapter`, `adapter@0.5`, `merged` or `baseline`."""
    model: str
    task: Task | Texts
    path: str
    """Relative to the run directory."""

    def who(self) -> str:
        """What is evaluated, for messages."""
        return f"{self.arm}/{self.variant}" if self.arm else self.model if self.variant == "baseline" else self.variant

    def label(self) -> str:
        """For progress bars and messages."""
        return f"{self.who()} {self.task.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """A recipe and the directory of its run."""

    recipe: Recipe
    path: Path

    def train(self, arm: str) -> Path:
        """The training folder of an arm."""
        return self.path / arm / "train"

    def adapter(self, arm: str) -> Path:
        """The finished adapter of an arm; it exists once training is done."""
        return self.train(arm) / "adapter"

    def evaluations(self) -> list[Evaluation]:
        """Everything that the recipe evaluates: the base, the baselines, then every arm's variants."""
        return self._of_every_variant(self.recipe.tasks)

    def likelihoods(self) -> list[Evaluation]:
        """Everything that the recipe measures the likelihood of texts by, in the same order."""
        return self._of_every_variant(self.recipe.likelihood.texts)

    def _of_every_variant(self, tasks: Sequence[Task | Texts]) -> list[Evaluation]:
        recipe = self.recipe
        wanted: list[tuple[str | None, str, str, str]] = []
        if "base" in recipe.variants:
            wanted.append((None, "base", recipe.model, "base"))
        wanted += [(None, "baseline", model, f"baselines/{_flat(model)}") for model in recipe.baselines]
        wanted += [
            (arm, variant, recipe.model, f"{arm}/eval/{variant}")
            for arm in recipe.arm_names()
            for variant in recipe.variants
            if variant != "base"
        ]
        return [
            Evaluation(arm=arm, variant=variant, model=model, task=task, path=f"{folder}/{_of_task(task.name)}")
            for arm, variant, model, folder in wanted
            for task in tasks
        ]


def open_run(recipe: Recipe, path: Path, overwrite: bool = False) -> RunFolder:
    """The run of a recipe in a directory that is new, or holds a run of an equal recipe. Writes nothing.

    Args:
        overwrite: accept a directory with a run of another recipe; `begin` will delete it.

    Raises:
        UsageError: the directory holds a run of another recipe, or other files.
    """
    run = RunFolder(recipe=recipe, path=path)
    if (path / OVERWRITING).exists():
        return run  # killed while deleting, which `begin` will finish
    if _is_run(path):
        changed = {} if overwrite else differences(dumped(existing(path).recipe), dumped(recipe))
        if not any(path.rglob("samples*.jsonl")):
            # Nothing is generated yet, so what is trained may be evaluated by another engine.
            changed = {key: values for key, values in changed.items() if not key.startswith("engine.")}
        if changed and all(key.startswith("engine.") for key in changed):
            raise UsageError(
                f"{path}: its completions are by another engine ({existing(path).recipe.engine.name}), which is fixed "
                "then; let another generate in a run of its own: flexlora run RECIPE --output NEW."
            )
        if changed:
            listed = "\n".join(f"- {key}: {old!r} there, {new!r} now" for key, (old, new) in changed.items())
            raise UsageError(
                f"{path}: holds a run of a different recipe:\n{listed}\nUse another --output, or --overwrite to delete "
                "it and start anew."
            )
    elif path.exists() and (not path.is_dir() or any(not _is_ours(item) for item in path.iterdir())):
        raise UsageError(f"{path}: not empty, and not a run directory. Use another --output.")
    return run


def begin(run: RunFolder, overwrite: bool = False) -> None:
    """Make the directory this run's by writing the resolved recipe.

    Args:
        overwrite: delete what an earlier run left there, and nothing else.
    """
    mark = run.path / OVERWRITING
    if overwrite or mark.exists():
        mark.touch()
        for item in run.path.iterdir():
            if _is_of_a_run(item):
                shutil.rmtree(item) if item.is_dir() else item.unlink()
        mark.unlink()
    content = yaml.safe_dump(dumped(run.recipe), sort_keys=False, allow_unicode=True, width=100)
    write_whole(run.path / "recipe.yaml", content)


def existing(path: Path) -> RunFolder:
    """The run in a directory.

    Raises:
        UsageError: it is not a run directory.
    """
    if not _is_run(path) or (path / OVERWRITING).exists():
        raise UsageError(f"{path}: not a run directory. `flexlora run RECIPE` makes one.")
    return RunFolder(recipe=from_dict(read_yaml(path / "recipe.yaml")), path=path)


def _is_run(path: Path) -> bool:
    """A folder that merely holds somebody's recipe.yaml is none."""
    return (path / "recipe.yaml").is_file() and ((path / LOCK).exists() or (path / "environment.json").exists())


def _is_ours(item: Path) -> bool:
    """What a run that was killed at its very start may have left."""
    return item.name in (LOCK, ".recipe.yaml.partial")


def _is_of_a_run(item: Path) -> bool:
    """The files of a run, the folders of its base and baselines, and those of its arms."""
    if item.is_dir():
        return item.name in ("base", "baselines") or (item / "train").is_dir() or (item / "eval").is_dir()
    return item.name in (*FILES, *(f".{name}.partial" for name in FILES))


def locked(run: RunFolder) -> AbstractContextManager[None]:
    """Hold a run directory, so that two processes never write the same files; see `locks.held`."""
    return held(run.path / LOCK, "working in this run directory", run.path)


def _of_task(name: str) -> str:
    """The folder of a task; that of a file of tasks is short, and another for a file of that name elsewhere."""
    if not name.endswith(".jsonl"):
        return _flat(name)
    return f"{Path(name).stem[:80]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _flat(name: str) -> str:
    """A task's or model's name as the name of one folder."""
    return name.strip("/").replace("/", "--")
