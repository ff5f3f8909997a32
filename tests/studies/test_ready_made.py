"""The ready-made studies: every arm at every grid point is a valid recipe, and what they compare is there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from flexlora.data.mixture import load_examples
from flexlora.recipe import Recipe, find, from_dict, merged, packaged, parse_override, read_yaml
from flexlora.studies.schema import Study
from flexlora.tiny.pretraining import WIDTH

ROOT = Path(str(resources.files("flexlora") / "recipes" / "studies"))
STUDIES = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in sorted(ROOT.rglob("*.yaml"))}
CELL = "cell:"


def study(name: str) -> Study:
    return Study.model_validate(read_yaml(STUDIES[name]))


def base_of(one: Study) -> dict[str, Any]:
    recipe = one.recipe if isinstance(one.recipe, dict) else read_yaml(find(one.recipe))
    return merged(recipe, one.set)


def configurations(one: Study) -> Iterator[tuple[str, str, Recipe]]:
    """(name, arm, recipe of that arm alone) of every arm at every grid point."""
    base = base_of(one)
    for arm, overrides in (one.arms or base["arms"]).items():
        own = {key: value for key, value in one.grid.items() if not has(overrides, key)}
        for values in itertools.product(*own.values()):
            point = dict(zip(own, values, strict=True))
            recipe = {**base, "arms": {}}
            for key, value in point.items():
                recipe = merged(recipe, nested(key, value))
            said = [f"{key.rpartition('.')[2]}={value}" for key, value in point.items()]
            yield " ".join([arm, *said]), arm, from_dict({**recipe, "arms": {arm: overrides}}).arm(arm)


def has(overrides: dict[str, Any], key: str) -> bool:
    found: Any = overrides
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return True


def nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def test_they_are_all_there_for_code_llama_and_for_the_tiny_model() -> None:
    for_any_model = {"paper-table2", "paper-table3", "paper-rounds", "controls"}
    assert for_any_model | {f"tiny/{name}" for name in for_any_model} <= STUDIES.keys()
    assert {"evidence", "evidence-larger", "evidence-small", "evidence-tradeoff"} <= STUDIES.keys()
    others = dict.fromkeys(for_any_model, "codellama/CodeLlama-7b-hf") | {"evidence-larger": "runs/larger-model"}
    for name in STUDIES:
        found, model = study(name), base_of(study(name))["model"]
        assert model == others.get(name, "tiny"), name
        assert found.description, name
        assert not found.paper or found.paper.model == model, name


def test_the_larger_study_asks_what_evidence_asks() -> None:
    one, larger = study("evidence"), study("evidence-larger")
    assert larger.arms == {name: one.arms[name] for name in one.analysis.confirmatory}
    assert larger.analysis == one.analysis
    assert larger.seeds == one.seeds
    theirs, ours = base_of(one), base_of(larger)
    assert ours["optimizer"].pop("learning_rate") / theirs["optimizer"].pop("learning_rate") == WIDTH / 384
    for key in ("data", "lora", "optimizer", "penalty", "tasks"):
        assert ours[key] == theirs[key], key


def test_studies_are_no_recipes() -> None:
    assert not [name for name in packaged() if name.startswith("studies")]


@pytest.mark.parametrize("name", STUDIES)
def test_every_configuration_is_a_valid_recipe(name: str) -> None:
    one = study(name)
    found = {config: recipe for config, _, recipe in configurations(one)}
    arms = one.arms or base_of(one)["arms"]
    assert set(one.seeds_of) <= set(arms)
    for recipe in found.values():
        before = recipe.lora.init_adapter
        if before and before.startswith(CELL):  # another cell with the same adapter, which starts from nothing
            other = next(other for config, arm, other in configurations(one) if arm == before.removeprefix(CELL))
            assert other.lora == recipe.lora.model_copy(update={"init_adapter": None})
        else:
            assert before is None
    tasks = {task.name for recipe in found.values() for task in recipe.tasks}
    variants = {variant for recipe in found.values() for variant in recipe.variants}
    analysis, known = one.analysis, {*found, *arms}
    assert {*analysis.against, *analysis.confirmatory} <= known
    if analysis.primary:
        assert {analysis.primary.config, analysis.primary.against} <= found.keys()
        assert set(analysis.primary.tasks) <= tasks
        assert analysis.primary.variant in variants
    if analysis.tradeoff:
        assert {*analysis.tradeoff.gain, *analysis.tradeoff.retention} <= tasks
    for figure in one.paper.figures if one.paper else ():
        assert figure.config in {*found, "base"}, figure.config
        assert figure.measure in {*tasks, "validation_loss", "train_minutes", "peak_memory_mb"}
        assert figure.variant in variants
        assert figure.note
    for recipe in found.values():
        if recipe.model == "tiny":
            assert load_examples(recipe.data, None, recipe.seed)[0]


def test_the_evidence_is_what_the_issue_asks_for() -> None:
    one = study("evidence")
    found = {config: recipe for config, _, recipe in configurations(one)}
    for arm in ("none", "factors", "permuted", "uniform"):
        assert arm in one.analysis.confirmatory
        assert len(one.seeds_of.get(arm, one.seeds)) >= 8
    assert all(len(one.seeds_of.get(arm, one.seeds)) >= 3 for arm in found)
    assert one.analysis.primary is not None
    assert (one.analysis.primary.config, one.analysis.primary.against) == ("factors", "permuted")
    # They differ in nothing but what is said of the penalty.
    factors, permuted = found["factors"], found["permuted"]
    penalty = permuted.penalty.model_copy(update={"control": "none"})
    assert permuted.model_copy(update={"penalty": penalty}) == factors
    assert permuted.penalty.control == "permuted"
    for task in factors.tasks:
        assert task.limit is None or task.limit >= 200


def test_table_3_has_the_paper_s_rows_and_the_whole_grid() -> None:
    names = [config for config, _, _ in configurations(study("paper-table3"))]
    assert len(names) == 12
    assert "none targets=paper" in names
    paper = study("paper-table3").paper
    assert paper is not None
    rows = {figure.config: figure.value for figure in paper.figures}
    assert rows == {
        "factors lam=0.02 targets=mlp": 42.1,
        "factors lam=0.01 targets=all": 38.4,
        "factors lam=0.001 targets=paper": 35.4,
        "base": 34.2,
    }


def test_round_2_is_round_1_s_adapter_and_its_own_recipe_s_settings() -> None:
    own = read_yaml(find("paper/round2-optimizers"))
    for arm, alone in own["arms"].items():
        wanted = from_dict({**own, "arms": {arm: alone}}).arm(arm)
        found = next(r for _, name, r in configurations(study("paper-rounds")) if name == f"round2-{arm}")
        for section in ("data", "validation", "penalty", "precision"):
            assert getattr(found, section) == getattr(wanted, section), section
        for section in ("optimizer", "train"):
            assert getattr(found, section).model_dump() == {
                **getattr(wanted, section).model_dump(),
                **({"learning_rate": wanted.optimizer.peak_learning_rate} if section == "optimizer" else {}),
            }
    for arm, recipe in (
        ("round1", "round1-mbpp"),
        ("round4", "round4-fourier-merged"),
        ("round5", "round5-fourier-mlp"),
    ):
        alone = from_dict(read_yaml(find(f"paper/{recipe}")))
        found = next(r for _, name, r in configurations(study("paper-rounds")) if name == arm)
        for section in ("data", "penalty", "lora", "optimizer", "train", "precision", "sampling"):
            assert getattr(found, section) == getattr(alone, section), (arm, section)


def test_a_model_of_one_s_own_fits_every_study() -> None:
    override = parse_override("model=owner/other")
    for name in STUDIES:
        one = study(name)
        for _, _, recipe in configurations(one.model_copy(update={"set": merged(one.set, override)})):
            assert recipe.model == "owner/other"
