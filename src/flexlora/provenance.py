"""Where a run's numbers come from: models, data, toolchains and versions, kept in `environment.json` while it runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Unpack

import torch

from flexlora import environment, execution, models, processes
from flexlora.adapters.initial import find_initial
from flexlora.data.mixture import load_examples
from flexlora.data.tasks import load_problems
from flexlora.data.texts import load_texts
from flexlora.decontamination import overlap_of
from flexlora.errors import UsageError
from flexlora.execution import Executor, How, Sandbox
from flexlora.execution.languages import toolchain
from flexlora.execution.worker import probe
from flexlora.files import write_json
from flexlora.folder import RunFolder
from flexlora.progress import say
from flexlora.recipe import Recipe


def provenance(run: RunFolder) -> dict[str, Any]:
    """Where every number of a run comes from: data, prompts, sampling, models, adapters, toolchains, versions."""
    environment = json.loads((run.path / "environment.json").read_bytes())
    inputs = environment.pop("inputs")
    started = inputs.get("init_adapters", {})
    options = run.recipe.likelihood.model_dump(mode="json", include={"conditional", "max_length"})
    texts = {texts.name: inputs["likelihood"][texts.name] for texts in run.recipe.likelihood.texts}
    arms = {
        arm: {
            "data": data,
            "init_adapter": started.get(arm),
            "adapter_sha256": _hash(run.adapter(arm) / "adapter_model.safetensors"),
        }
        for arm, data in inputs["training"].items()
    }
    return {
        "models": inputs["models"],
        "arms": arms,
        "tasks": inputs["tasks"],
        "sampling": run.recipe.sampling.model_dump(mode="json"),
        **_engine(run),
        **({"likelihood": {**options, "texts": texts}} if texts else {}),
        **{
            part: getattr(run.recipe, part).model_dump(mode="json")
            for part in ("prompting", "selection", "repair")
            if getattr(run.recipe, part) != type(getattr(run.recipe, part))()
        },
        "seed": run.recipe.seed,
        "overlap": overlap_of(run.recipe),
        "environment": environment,
    }


def _inputs(run: RunFolder) -> dict[str, Any]:
    """What the run is made from, each with its hash or revision."""
    recipe = run.recipe
    tasks, training, initial = {}, {}, {}
    for task in recipe.tasks:
        problems, origin = load_problems(task, recipe.data_dir, recipe.prompting.style)
        tasks[task.name] = {
            "data": origin.as_dict(),
            "problems": len(problems),
            "prompt_style": problems[0].prompt_style,
            "stop_tokens": sorted({stop for problem in problems for stop in problem.ends}),
            **({"comparison": "compat"} if task.compat else {}),
        }
    for arm in recipe.arm_names():
        of_arm = recipe.arm(arm)
        if of_arm.lora.init_adapter is not None:
            initial[arm] = find_initial(of_arm.lora.init_adapter).adapter.identity()
        training[arm] = [origin.as_dict() for origin in load_examples(of_arm.data, of_arm.data_dir, of_arm.seed)[1]]
    identities = [_identity(recipe, name) for name in (recipe.model, *recipe.baselines)]
    started = {"init_adapters": initial} if initial else {}
    texts = {source.name: load_texts(source, recipe.data_dir)[1].as_dict() for source in recipe.likelihood.texts}
    measured = {"likelihood": texts} if texts else {}
    return {"models": identities, "training": training, **started, "tasks": tasks, **measured}


def _identity(recipe: Recipe, name: str) -> dict[str, Any]:
    """Of a model that only a server has, nothing is known but its name."""
    unknown = {"model": name, "revision": None, "sha256": None}
    return models.identity(recipe.source(name)) if recipe.is_local(name) else unknown


def _known(before: Any, now: Any) -> Any:
    """Identities, with those that are known only now or were known only before: a model may come to be on a server."""
    if [one["model"] for one in before] != [one["model"] for one in now]:
        return now
    return [new if new["sha256"] or new["revision"] else old for old, new in zip(before, now, strict=True)]


def _contents(inputs: dict[str, Any]) -> dict[str, Any]:
    """The hashes of the adapters that arms start from, wherever those are."""
    return {arm: adapter["sha256"] for arm, adapter in inputs.get("init_adapters", {}).items()}


def record_environment(run: RunFolder, **how: Unpack[How]) -> None:
    """Write what the run works on and with to `environment.json`; other versions under way are added to it.

    Raises:
        UsageError: the run's models or data are no longer what it began with.
    """
    path, now, inputs = run.path / "environment.json", _environment(run, **how), _inputs(run)
    if not path.exists():
        write_json(path, {**now, "inputs": inputs})
        return
    first = json.loads(path.read_bytes())
    recorded_inputs, later = first.pop("inputs"), first.pop("continued_on", [])
    # Texts may come to a run later, and those that its recipe no longer names were measured all the same.
    texts = recorded_inputs.get("likelihood", {})
    if together := {**texts, **inputs.get("likelihood", {})}:
        inputs["likelihood"] = together
    inputs["models"] = _known(recorded_inputs["models"], inputs["models"])
    recorded_inputs["models"] = _known(inputs["models"], recorded_inputs["models"])
    if "init_adapters" in recorded_inputs and _contents(inputs) == _contents(recorded_inputs):
        inputs["init_adapters"] = recorded_inputs["init_adapters"]  # wherever they are now
    changed = [part for part in inputs if part != "likelihood" and inputs[part] != recorded_inputs.get(part)]
    changed += [f"texts {name!r}" for name in texts if together[name] != texts[name]]
    if changed:
        raise UsageError(
            f"{run.path}: its {' and '.join(changed)} changed since it began ({path} says what they were). Put them "
            "back to continue, or start anew with --overwrite or another --output."
        )
    if now != first and now not in later:
        say(f"this run began on other versions or another machine; both stand in {path}")
        later = [*later, now]
    elif inputs == recorded_inputs:
        return
    write_json(path, {**first, "inputs": inputs, **({"continued_on": later} if later else {})})


def _environment(run: RunFolder, **how: Unpack[How]) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    toolchains: dict[str, str | None]
    if how.get("executor") == Executor.RAY:
        toolchains = {"executor": "ray", **execution.require(languages_of(run.recipe), **how)}
    else:
        within = "none" if how.get("sandbox") == Sandbox.NONE else _version("sandbox")
        toolchains = {"sandbox": within, **{code: _version(code) for code in sorted(languages_of(run.recipe))}}
    several = {"processes": processes.count()} if processes.count() > 1 else {}
    return {**environment.describe(), "gpu": gpu, **several, **_engine(run), "toolchains": toolchains}


def _engine(run: RunFolder) -> dict[str, Any]:
    """The server that generates, where one does, and the names that it has for what is evaluated."""
    engine = run.recipe.engine
    if not engine.is_remote:
        return {}
    served = {
        item.path.rpartition("/")[0]: engine.served_name(item.arm, item.variant, item.model)
        for item in run.evaluations()
    }
    said = {"name": engine.name, "base_url": engine.base_url, "models": served}
    return {"engine": {**said, **({"parameters": engine.parameters} if engine.parameters else {})}}


def _version(tool: str) -> str | None:
    """Of the sandbox or of a language's toolchain; None where it is missing, as a machine may only train."""
    try:
        return probe() if tool == "sandbox" else toolchain(tool).version
    except UsageError:
        return None


def languages_of(recipe: Recipe) -> set[str]:
    """The languages that a recipe is evaluated in."""
    return {load_problems(task, recipe.data_dir)[0][0].language for task in recipe.tasks}


def _hash(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
