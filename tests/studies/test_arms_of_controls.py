"""All arms of `tiny/controls` work together in one run, trained for a few steps."""

from __future__ import annotations

import itertools
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from flexlora import pipeline
from flexlora.files import read_appended
from flexlora.folder import RunFolder
from flexlora.recipe import find, from_dict, merged, read_yaml
from flexlora.studies.schema import Study

STUDY = Path(str(resources.files("flexlora") / "recipes" / "studies" / "tiny" / "controls.yaml"))
SMALL = {
    "arms": {},
    "train": {"max_steps": 3, "logging_steps": 1, "save_steps": 3, "eval_steps": 2, "spectrum_steps": None},
    "validation": [{"dataset": "tiny/B1/py", "split": "validation", "limit": 8}],
    "tasks": ["tiny/B1/py"],
}
LONGER_OR_SHORTER = ("early", "shorter")
"""Arms that are `none` but for their number of steps, which is the same for all here."""


@pytest.mark.thorough
def test_every_arm_trains_and_is_another_training(tmp_path: Path) -> None:
    study = Study.model_validate(read_yaml(STUDY))
    assert isinstance(study.recipe, str)
    values: dict[str, Any] = merged(merged(read_yaml(find(study.recipe)), study.set), SMALL)
    recipe = from_dict({**values, "arms": study.arms})
    run = RunFolder(recipe=recipe, path=tmp_path / "run")
    with pipeline.working(run):
        pipeline.train(run, probe=False)
    weights = {arm: load_file(run.adapter(arm) / "adapter_model.safetensors") for arm in recipe.arm_names()}
    assert len(weights) == 13
    last = read_appended(run.train("early") / "log.jsonl")[-1]
    assert (last["step"], last["stopped_early"]) == (3, False)
    others = [arm for arm in weights if arm not in LONGER_OR_SHORTER]
    same = [(a, b) for a, b in itertools.combinations(others, 2) if _equal(weights[a], weights[b])]
    assert same == []
    assert _equal(weights["shorter"], weights["none"])


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())
