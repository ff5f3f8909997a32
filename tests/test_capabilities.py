"""The capability matrix: complete, in the words that refuse, and the same in the terminal, as JSON and in the docs."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from flexlora import capabilities, models, pipeline, recipe
from flexlora.capabilities import AXES, RULES, require, rule_of, settings
from flexlora.cli import main
from flexlora.errors import UsageError

PLAIN = {
    "optimizer": "adamw",
    "device": "cpu",
    "precision": "float32",
    "quantisation": "none",
    "parallelism": "one process",
    "view": "factors",
}


def test_the_axes_have_the_values_of_a_recipe() -> None:
    values = {
        "optimizer": recipe.Optimizer.model_fields["name"].annotation,
        "view": recipe.Penalty.model_fields["view"].annotation,
    }
    for axis, annotation in values.items():
        assert AXES[axis] == get_args(annotation)
    assert {"auto", *AXES["precision"]} == set(get_args(recipe.Precision))


def test_every_combination_has_its_rule_and_every_rule_a_combination() -> None:
    every = list(settings())
    assert len(every) == 2 * 2 * 3 * 2 * 6 * 3
    deciding = [rule_of(setting) for setting in every]
    assert all(rule in deciding for rule in RULES)
    for rule in RULES:
        assert all(value in AXES[axis] for axis, values in rule.where.items() for value in values)
        assert (rule.support == "yes") == (not rule.instead)


@pytest.mark.parametrize(
    ("change", "by_recipe", "by_python"),
    [
        ({}, True, True),
        ({"optimizer": "sophia", "view": "delta", "precision": "bfloat16"}, True, True),
        ({"precision": "float16"}, False, False),
        ({"precision": "float16", "device": "cuda"}, True, True),
        ({"quantisation": "quantised"}, False, True),
        ({"parallelism": "DDP"}, False, True),
        ({"parallelism": "tensor", "optimizer": "sophia"}, False, True),
        ({"parallelism": "FSDP1"}, False, False),
        ({"parallelism": "DeepSpeed"}, False, False),
    ],
)
def test_what_is_refused_to_whom(change: dict[str, str], by_recipe: bool, by_python: bool) -> None:
    for by, allowed in (("recipe", by_recipe), ("python", by_python)):
        setting: Any = {**PLAIN, **change}
        if allowed:
            require(by, **setting)  # type: ignore[arg-type]
        else:
            rule = rule_of(setting)
            with pytest.raises(UsageError) as caught:
                require(by, **setting)  # type: ignore[arg-type]
            assert rule.why in str(caught.value)
            assert rule.instead in str(caught.value)


def test_what_is_not_known_yet_refuses_nothing() -> None:
    require("recipe", precision="float16")
    require("recipe", parallelism="one process")
    with pytest.raises(UsageError, match="WORLD_SIZE is 2: recipes train with one process"):
        require("recipe", "WORLD_SIZE is 2", parallelism="DDP")


def test_a_quantised_base_is_refused_before_it_is_loaded(
    small_model: Path, benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skeleton = models.skeleton(recipe.ModelSource(name=str(small_model)))
    skeleton.config.quantization_config = {"quant_method": "gptq"}
    monkeypatch.setattr(models, "skeleton", lambda _: skeleton)
    values = {"model": str(small_model), "data_dir": str(benchmark), "data": [{"dataset": "mbpp"}]}
    with pytest.raises(UsageError, match=r"is quantised \(gptq\): .*name the unquantised model"):
        pipeline.start({**values, "tasks": ["humaneval"]}, tmp_path / "run", executes=False)


def test_several_processes_are_refused_in_the_table_s_words(
    small_model: Path, benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    values = {"model": str(small_model), "data_dir": str(benchmark), "data": [{"dataset": "mbpp"}]}
    with pytest.raises(UsageError, match="WORLD_SIZE is 2: recipes train with one process"):
        pipeline.start({**values, "tasks": ["humaneval"]}, tmp_path / "run", executes=False)


def test_the_doctor_prints_it_and_the_docs_have_the_same_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["flexlora", "doctor", "--matrix"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    shown = " ".join(capsys.readouterr().out.split())
    assert "parallelism: one process, DDP, FSDP2, tensor, FSDP1, DeepSpeed" in shown
    monkeypatch.setattr(sys, "argv", ["flexlora", "doctor", "--matrix", "--json"])
    with pytest.raises(SystemExit):
        main()
    found = json.loads(capsys.readouterr().out)
    assert len(found["combinations"]) == len(list(settings()))
    page = _generator().capabilities_page()
    for row in capabilities.rows():
        assert "| " + " | ".join(row) + " |" in page
        assert row[0] in shown
        assert "|" not in "".join(row)


def _generator() -> Any:
    path = Path(__file__).parent.parent / "docs" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate_docs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
