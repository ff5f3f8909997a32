"""The capability matrix: complete, in the words that refuse, and the same in the terminal, as JSON and in the docs."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from trl import SFTConfig

from flexlora import capabilities, models, pipeline, processes, recipe
from flexlora.capabilities import AXES, RULES, require, rule_of, settings
from flexlora.cli import main
from flexlora.errors import UsageError
from flexlora.training.engines import refuse_engines

PLAIN = {
    "optimizer": "adamw",
    "adapter": "lora",
    "device": "cpu",
    "precision": "float32",
    "quantisation": "none",
    "kernels": "eager",
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
    assert set(AXES["quantisation"]) == {"none", *get_args(recipe.Quantization), "other"}
    assert AXES["adapter"] == get_args(inspect.signature(recipe.Lora.kind.fget, eval_str=True).return_annotation)
    assert {"auto", *AXES["precision"]} == set(get_args(recipe.Precision))


def test_every_combination_has_its_rule_and_every_rule_a_combination() -> None:
    every = list(settings())
    assert len(every) == 2 * 3 * 2 * 3 * 3 * 3 * 7 * 3
    deciding = [rule_of(setting) for setting in every]
    assert all(rule in deciding for rule in RULES)
    for rule in RULES:
        assert all(value in AXES[axis] for axis, values in rule.where.items() for value in values)
        assert (rule.support in ("yes", "unverified")) == (not rule.instead)


ONE_PROCESS = ("recipes train with one process, with DDP", "start flexlora with torchrun")


@pytest.mark.parametrize(
    ("change", "refused_to", "words"),
    [
        ({}, (), ()),
        ({"optimizer": "sophia", "view": "delta", "precision": "bfloat16"}, (), ()),
        ({"precision": "float16"}, ("recipe", "python"), ("cpu with float16: float16 trains on a GPU only", "float32")),
        ({"quantisation": "nf4", "adapter": "dora", "optimizer": "sophia", "precision": "bfloat16"}, (), ()),
        ({"quantisation": "nf4", "parallelism": "FSDP2"}, ("recipe",), ("nf4 with FSDP2: packed weights",)),
        ({"kernels": "Liger"}, ("recipe", "python"), ("Liger with cpu: its kernels are Triton's",)),
        ({"kernels": "Liger", "device": "cuda"}, ("recipe",), ("TRL is about to remove use_liger_kernel",)),
        ({"kernels": "torch.compile"}, ("recipe",), ("torch.compile: it wants one length",)),
        ({"quantisation": "other"}, ("recipe",), ("such a base is not merged", "name the unquantised model")),
        ({"parallelism": "DDP"}, (), ()),
        ({"adapter": "rslora"}, (), ()),
        ({"adapter": "dora", "optimizer": "sophia", "parallelism": "DDP"}, (), ()),
        ({"adapter": "dora", "parallelism": "FSDP2"}, ("recipe",), ("dora with FSDP2: PEFT takes the lengths",)),
        ({"parallelism": "FSDP2", "optimizer": "sophia"}, (), ()),
        ({"parallelism": "context"}, ("recipe",), ONE_PROCESS),
        (
            {"parallelism": "tensor", "optimizer": "sophia"},
            ("recipe",),
            ("sophia with tensor: in a loop of your own", "train with one process"),
        ),
        (
            {"parallelism": "context", "optimizer": "sophia"},
            ("recipe", "python"),
            ("sophia with context: the estimate runs the model without labels", "use FSDP2 or DDP with whole texts"),
        ),
        ({"parallelism": "FSDP1"}, ("recipe", "python"), ("FSDP1: it flattens LoRA's factors", "use FSDP2")),
        ({"parallelism": "DeepSpeed"}, ("recipe", "python"), ("DeepSpeed: it steps inside `backward`", "use DDP")),
    ],
)
def test_what_is_refused_to_whom(change: dict[str, str], refused_to: tuple[str, ...], words: tuple[str, ...]) -> None:
    setting: Any = {**PLAIN, **change}
    if not refused_to:
        assert rule_of(setting).support == "yes"
    for by in ("recipe", "python"):
        if by not in refused_to:
            require(by, **setting)  # type: ignore[arg-type]
            continue
        with pytest.raises(UsageError) as caught:
            require(by, **setting)  # type: ignore[arg-type]
        for part in words:
            assert part in str(caught.value)


def test_what_is_not_known_yet_refuses_nothing() -> None:
    require("recipe", precision="float16")
    require("recipe", parallelism="one process")
    with pytest.raises(UsageError, match="cp_size is 2: recipes train with one process, with DDP"):
        require("recipe", "cp_size is 2", parallelism="context")


def test_what_no_test_has_run_is_said_to_be_so_and_let_through() -> None:
    setting = {**PLAIN, "device": "cuda", "precision": "float16"}
    assert rule_of(setting).support == "unverified"
    require("recipe", **setting)  # type: ignore[arg-type]


def test_a_quantised_base_is_refused_before_it_is_loaded(
    small_model: Path, benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skeleton = models.skeleton(recipe.ModelSource(name=str(small_model)))
    skeleton.config.quantization_config = {"quant_method": "gptq"}
    monkeypatch.setattr(models, "skeleton", lambda _: skeleton)
    values = {"model": str(small_model), "data_dir": str(benchmark), "data": [{"dataset": "mbpp"}]}
    with pytest.raises(UsageError, match=r"is quantised \(gptq\): .*name the unquantised model"):
        pipeline.start({**values, "tasks": ["humaneval"]}, tmp_path / "run", executes=False)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "train.sharding: fsdp2 spreads the model over several processes, and one was started"),
        (
            {"FSDP_OFFLOAD_PARAMS": "true"},
            "FSDP_OFFLOAD_PARAMS is set: recipes keep the parts of a model on",
        ),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "a recipe says it by train.gradient_checkpointing=true"),
        ({"FSDP_VERSION": "1"}, "FSDP1: it flattens LoRA's factors"),
    ],
)
def test_sharding_by_a_launcher_is_that_of_a_recipe_or_refused(
    environment: dict[str, str],
    words: str,
    small_model: Path,
    benchmark: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes._Group, "shards", False)  # what asking sets for good
    values = {"model": str(small_model), "data_dir": str(benchmark), "data": [{"dataset": "mbpp"}]}
    with pytest.raises(UsageError, match=words):
        pipeline.start({**values, "tasks": ["humaneval"]}, tmp_path / "run", executes=False)


def test_a_launcher_s_compiling_and_liger_on_a_processor_are_refused(
    small_model: Path, benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    arguments = SFTConfig(str(tmp_path / "out"), use_cpu=True, bf16=False, use_liger_kernel=True)
    with pytest.raises(UsageError, match="Liger with cpu: its kernels are Triton's"):
        refuse_engines(arguments)
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    values = {"model": str(small_model), "data_dir": str(benchmark), "data": [{"dataset": "mbpp"}]}
    with pytest.raises(UsageError, match="ACCELERATE_DYNAMO_BACKEND is set: "):
        pipeline.start({**values, "tasks": ["humaneval"]}, tmp_path / "run", executes=False)


def test_the_doctor_prints_it_and_the_docs_have_the_same_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "320")
    monkeypatch.setattr(sys, "argv", ["flexlora", "doctor", "--matrix"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    shown = " ".join(capsys.readouterr().out.split())
    assert "parallelism: one process, DDP, FSDP2, tensor, context, FSDP1, DeepSpeed" in shown
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
