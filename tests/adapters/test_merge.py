"""`flexlora merge` from adapter to verified model, and every refusal."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from updates import save_adapter

from flexlora import models
from flexlora.adapters import saving, source
from flexlora.adapters.lora import load_adapter
from flexlora.adapters.merge import merge_adapter
from flexlora.adapters.prompts import ANSWER, LONGEST, SAMPLE, encode, greedy_answer, logits_of, read_prompts
from flexlora.adapters.rounding import ROUNDINGS
from flexlora.cli import main
from flexlora.errors import FlexError, UsageError
from flexlora.recipe import ModelSource
from small_models import make_model
from standin_hub import COMMIT, StandInHub

UP = "model.layers.0.mlp.up_proj"


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    path.write_text("def double(x):\n    return\n\nwhile True:\n\nfor i in range(10):\n")
    return path


@pytest.fixture(scope="module")
def adapter(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On the small Llama, which is stored in float32."""
    return save_adapter(small_model, tmp_path_factory.mktemp("adapters") / "llama")


@pytest.fixture(scope="module")
def small_update(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter whose update bfloat16 loses, on a base that is stored in bfloat16."""
    folder = tmp_path_factory.mktemp("small")
    AutoModelForCausalLM.from_pretrained(small_model).bfloat16().save_pretrained(folder / "base")
    AutoTokenizer.from_pretrained(small_model).save_pretrained(folder / "base")
    saved = save_adapter(folder / "base", folder / "adapter")
    weights = load_file(saved / source.WEIGHTS)
    save_file({k: v * 0.003 if "lora_B" in k else v for k, v in weights.items()}, saved / source.WEIGHTS)
    return saved


def ids_of(base: Path, text: str = "def double(x):") -> list[int]:
    return models.encode_prompt(AutoTokenizer.from_pretrained(base), text)


def copied(adapter: Path, folder: Path, **changes: Any) -> Path:
    """A copy of an adapter with a changed configuration."""
    shutil.copytree(adapter, folder)
    config = json.loads((folder / source.CONFIG).read_bytes())
    (folder / source.CONFIG).write_text(json.dumps(config | changes))
    return folder


def test_in_float32_the_saved_model_is_the_unmerged_one(
    adapter: Path, small_model: Path, prompts: Path, tmp_path: Path
) -> None:
    audit = merge_adapter(adapter, tmp_path / "merged", prompts=prompts)
    assert (audit.dtype, audit.stored_dtype, audit.warning) == ("float32", "float32", None)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert loaded.dtype is torch.float32
    unmerged = load_adapter(AutoModelForCausalLM.from_pretrained(small_model), adapter).eval()
    ids = ids_of(small_model)
    with torch.no_grad():
        apart, base = logits_of(unmerged, ids), logits_of(AutoModelForCausalLM.from_pretrained(small_model), ids)
        together = logits_of(loaded, ids)
    assert torch.allclose(together, apart, atol=1e-5)
    assert (together - base).abs().max() > 1e-3
    assert AutoTokenizer.from_pretrained(tmp_path / "merged")("def")["input_ids"] == ids_of(small_model, "def")
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]
    assert json.loads((tmp_path / "merged" / "merge_audit.json").read_bytes()) == json.loads(
        json.dumps(audit.as_dict())
    )


@pytest.mark.parametrize("rounding", ["nearest", "calibrated"])
def test_every_weight_is_rounded_once_and_the_rest_of_the_model_is_the_bases(
    rounding: Any, adapter: Path, small_model: Path, prompts: Path, tmp_path: Path
) -> None:
    merge_adapter(adapter, tmp_path / "out", dtype="bfloat16", rounding=rounding, prompts=prompts)
    saved, base = load_file(tmp_path / "out" / "model.safetensors"), load_file(small_model / "model.safetensors")
    factors = load_file(adapter / source.WEIGHTS)
    assert saved.keys() == base.keys()
    for name, value in saved.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{module}.lora_A.weight" not in factors:
            assert torch.equal(value, base[name].bfloat16())
            continue
        exact = (
            base[name].double()
            + 3 * factors[f"{module}.lora_B.weight"].double() @ factors[f"{module}.lora_A.weight"].double()
        )
        near = (value == exact.bfloat16()).double().mean()
        step = exact.abs().clamp(min=1e-9).log2().floor().exp2() / 128
        assert ((value.double() - exact).abs() <= step).all()
        assert near == 1 if rounding == "nearest" else 0.5 < near < 1


def test_the_audit_is_of_what_was_saved(small_update: Path, prompts: Path, tmp_path: Path) -> None:
    audit = merge_adapter(small_update, tmp_path / "out", dtype="bfloat16", prompts=prompts, measured=ROUNDINGS)
    assert audit.stored_dtype == "bfloat16"
    base = load_file(small_update.parent / "base" / "model.safetensors")
    saved, factors = load_file(tmp_path / "out" / "model.safetensors"), load_file(small_update / source.WEIGHTS)
    b, a = (factors[f"base_model.model.{UP}.lora_{x}.weight"].double() for x in "BA")
    delta = 3 * b @ a
    held = saved[f"{UP}.weight"].double() - base[f"{UP}.weight"].double()
    found = audit.chosen.modules[f"{UP}.weight"]
    assert found.relative_error == pytest.approx(float((held - delta).norm() / delta.norm()), rel=1e-6)
    assert found.unchanged == pytest.approx(float((held == 0).double().mean()))
    assert found.relative_error > 0.3  # an update that bfloat16 loses
    assert audit.row("float32").update.relative_error < 1e-3
    assert audit.row("bfloat16", "shaped").update.read_error < 0.5 * found.read_error  # type: ignore[operator]
    assert audit.warning is not None
    assert "--dtype float32" in audit.warning


def test_the_logits_in_the_audit_are_those_of_the_models_side_by_side(small_update: Path, prompts: Path) -> None:
    audit = merge_adapter(small_update, prompts=prompts)
    folder = small_update.parent / "base"
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    merged = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    factors = load_file(small_update / source.WEIGHTS)
    for name, value in merged.named_parameters():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{module}.lora_A.weight" in factors:
            delta = 3 * factors[f"{module}.lora_B.weight"] @ factors[f"{module}.lora_A.weight"]
            value.data = (value.data + delta).bfloat16().float()
    unmerged = load_adapter(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), small_update).eval()
    squares: dict[str, list[torch.Tensor]] = {"base": [], "merged": []}
    with torch.no_grad():
        for text in read_prompts(prompts)[::2]:  # the others are for calibration
            tokens = greedy_answer(unmerged, ids_of(folder, text))
            reference = logits_of(unmerged, tokens)
            for name, model in (("base", base), ("merged", merged)):
                squares[name].append((logits_of(model, tokens) - reference).square().flatten())
    rms = {name: float(torch.cat(values).mean().sqrt()) for name, values in squares.items()}
    assert audit.chosen.disagreement is not None
    assert audit.chosen.disagreement.logit_rms == pytest.approx(rms["merged"], rel=1e-3)
    assert audit.adapter_effect.logit_rms == pytest.approx(rms["base"], rel=1e-3)


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("gpt2", {"target_modules": ["c_fc", "wte"], "fan_in_fan_out": True}),  # tied embeddings
        (
            "qwen2",
            {"target_modules": ["q_proj"], "lora_bias": True, "use_rslora": True, "modules_to_save": ["lm_head"]},
        ),
        ("starcoder2", {"target_modules": ["c_proj"], "use_dora": True}),
    ],
)
def test_all_kinds_of_layers_answer_as_unmerged(
    family: str, config: dict[str, Any], models_dir: Path, prompts: Path, tmp_path: Path
) -> None:
    base = make_model(models_dir / family, family)
    adapter = save_adapter(base, tmp_path / "adapter", **config)
    audit = merge_adapter(adapter, tmp_path / "out", rounding="calibrated", dtype="bfloat16", prompts=prompts)
    exact = audit.row("float32").disagreement
    assert exact is not None
    assert exact.logit_rms < 1e-4 * audit.adapter_effect.logit_rms
    assert bool(audit.notes) == (family == "gpt2")
    unmerged = load_adapter(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    ids = ids_of(base)
    with torch.no_grad():
        error = logits_of(AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32), ids)
        error -= logits_of(unmerged, ids)
    assert error.square().mean().sqrt() < 0.3 * audit.adapter_effect.logit_rms


def test_a_dtype_too_small_is_shown_in_the_audit_and_never_saved(
    small_model: Path, prompts: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(small_model, base)
    weights = load_file(base / "model.safetensors")
    weights[f"{UP}.weight"][0, 0] = 1e6
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    adapter = save_adapter(small_model, tmp_path / "adapter")
    audit = merge_adapter(adapter, model=str(base), dtype="float16", prompts=prompts, measured=ROUNDINGS)
    assert audit.row("float16").disagreement is None
    assert audit.row("float16").update.overflow == 1
    assert audit.row("bfloat16").disagreement is not None
    assert "float16 cannot hold 1 of" in str(audit.warning)
    assert audit.row("float16", "shaped").update.overflow == audit.row("float16", "stochastic").update.overflow == 1
    json.dumps(audit.as_dict(), allow_nan=False)
    with pytest.raises(FlexError, match="too large for float16"):
        merge_adapter(adapter, tmp_path / "out", model=str(base), dtype="float16", prompts=prompts)
    assert not (tmp_path / "out").exists()


def diverged(adapter: Path) -> Path:
    factors = load_file(adapter / source.WEIGHTS)
    next(iter(factors.values()))[0, 0] = torch.nan
    save_file(factors, adapter / source.WEIGHTS, metadata={"format": "pt"})
    return adapter


CALIBRATED = {"rounding": "calibrated", "dtype": "bfloat16"}


def one_prompt(folder: Path) -> Path:
    (folder / "one.txt").write_text("def double(x):\n")
    return folder / "one.txt"


def no_weights(*_: Any) -> None:
    raise AssertionError("weights were loaded")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda a, t: {"adapter": t / "none"}, "no such folder"),
        (lambda a, t: {"adapter": t}, "no adapter_config.json"),
        (lambda a, t: {"adapter": a.parent}, "There is "),
        (lambda a, t: {"adapter": copied(a, t / "x", peft_type="IA3")}, "of type 'IA3'"),
        (lambda a, t: {"adapter": copied(a, t / "x", bias="all")}, "bias = 'all'"),
        (
            lambda a, t: {"adapter": copied(a, t / "x", init_lora_weights="pissa_niter_4")},
            "has changed the base itself",
        ),
        (lambda a, t: {"adapter": copied(a, t / "x", layer_replication=[[0, 2]])}, "layer_replication = [[0, 2]]"),
        (lambda a, t: {"adapter": copied(a, t / "x", alora_invocation_tokens=[1])}, "alora_invocation_tokens = [1]"),
        (lambda a, t: {"adapter": diverged(copied(a, t / "x"))}, "holds values that are not finite"),
        (lambda a, t: {"adapter": copied(a, t / "x", base_model_name_or_path=None)}, "--model"),
        (lambda a, t: {"adapter": copied(a, t / "x", base_model_name_or_path="/gone")}, "--model names another"),
        (lambda a, t: {"adapter": copied(a, t / "x", r=2)}, "does not fit"),
        (lambda a, t: {"adapter": copied(a, t / "x", target_modules=["c_fc"])}, "does not fit"),
        (lambda a, t: {"adapter": copied(a, t / "x", target_modules=["up_proj", "q_proj"])}, "does not fit"),
        (lambda a, t: {"output": t}, "nothing is overwritten"),
        (lambda a, t: {"output": t / "merge.txt" / "x"}, "cannot be made"),
        (lambda a, t: {"dtype": "int8"}, "--dtype int8"),
        (lambda a, t: {"rounding": "stochastic"}, "--rounding stochastic"),
        (lambda a, t: {"warn_above": -1.0}, "--warn-above"),
        (lambda a, t: {"prompts": t / "none.txt"}, "cannot be read"),
        (lambda a, t: {"prompts": t / "merge.txt"}, "holds no prompts"),
        (lambda a, t: {"prompts": one_prompt(t), **CALIBRATED}, "1 of 1 prompts can be used"),
    ],
)
def test_what_cannot_be_merged_is_refused_before_weights_are_loaded(
    change: Callable[[Path, Path], dict[str, Any]],
    part: str,
    adapter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(models, "load_model", no_weights)
    (tmp_path / "merge.txt").write_text("\n\n")
    given: dict[str, Any] = {"adapter": adapter, "output": tmp_path / "out"} | change(adapter, tmp_path)
    with pytest.raises(UsageError) as caught:
        merge_adapter(given.pop("adapter"), **given)
    assert part in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_other_bases_are_refused(adapter: Path, models_dir: Path, small_model: Path, tmp_path: Path) -> None:
    quantised = tmp_path / "quantised"
    shutil.copytree(small_model, quantised)
    config = json.loads((quantised / "config.json").read_bytes())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 32}
    (quantised / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"is quantised \(gptq\)"):
        merge_adapter(adapter, model=str(quantised))
    doubled = tmp_path / "doubled"
    shutil.copytree(small_model, doubled)
    weights = load_file(doubled / "model.safetensors")
    save_file({k: v.double() for k, v in weights.items()}, doubled / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match="dtype F64"):
        merge_adapter(adapter, model=str(doubled))
    with pytest.raises(UsageError, match="does not fit"):
        merge_adapter(adapter, model=str(make_model(models_dir / "gpt2", "gpt2")))
    with pytest.raises(UsageError, match="has code of its own"):
        merge_adapter(adapter, model=ModelSource(name=str(small_model), trust_remote_code=True))


def test_too_little_memory_or_disk_is_refused_with_the_numbers(
    adapter: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "load_model", no_weights)
    monkeypatch.setattr(source, "_free_memory", lambda: ("memory", 1 << 10))
    with pytest.raises(UsageError, match=r"needs about 0\.0 GiB of memory .* 0\.0 GiB are free"):
        merge_adapter(adapter, prompts=prompts)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UsageError, match="GiB of disk"):
        merge_adapter(adapter, tmp_path / "out", prompts=prompts)


def test_adapter_and_base_are_found_on_the_hub(adapter: Path, small_model: Path, prompts: Path, tmp_path: Path) -> None:
    shutil.copytree(small_model, tmp_path / "models" / "me" / "base")
    copied(adapter, tmp_path / "models" / "me" / "adapter", base_model_name_or_path="me/base", revision=None)
    code = f"""
from pathlib import Path
from flexlora.adapters.merge import merge_adapter
from flexlora.errors import UsageError
audit = merge_adapter("me/adapter", Path({str(tmp_path / "out")!r}), prompts=Path({str(prompts)!r}))
print(audit.base["revision"], audit.stored_dtype)
try:
    merge_adapter("me/nothing")
except UsageError as error:
    print(error)
"""
    with StandInHub(tmp_path) as hub:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        done = subprocess.run([sys.executable, "-c", code], env=kept | own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, missing = done.stdout.splitlines()
    assert found == f"{COMMIT} float32"
    assert "'me/nothing': no such folder here, and from the hub it cannot be loaded" in missing
    assert (
        load_file(tmp_path / "out" / "model.safetensors").keys() == load_file(small_model / "model.safetensors").keys()
    )


def test_a_failed_interrupted_or_wrong_save_leaves_nothing(
    adapter: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    def full(*_: Any) -> None:  # as safetensors says it
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    def full_later(*_: Any) -> None:  # as our own files say it
        raise FlexError("full") from OSError(28, os.strerror(28))

    def damaged(path: Path, value: Any) -> None:
        weights = load_file(path.parent / "model.safetensors")
        weights[f"{UP}.weight"][0, 0] += 1e-3
        save_file(weights, path.parent / "model.safetensors", metadata={"format": "pt"})

    (tmp_path / ".out.99999999.partial").mkdir()  # of a process that is no more
    (tmp_path / ".out.99999999.partial" / "left").touch()
    for broken, error, part in (
        (interrupted, KeyboardInterrupt, ""),
        (full, FlexError, "the disk is full. Nothing was kept"),
        (full_later, FlexError, "the disk is full. Nothing was kept"),
        (damaged, FlexError, f"1 weights differ, e.g. {UP}.weight"),
    ):
        monkeypatch.setattr(saving, "write_json", broken)
        with pytest.raises(error, match=part):
            merge_adapter(adapter, tmp_path / "out", prompts=prompts)
        assert list(tmp_path.iterdir()) == []


def test_an_output_that_appears_meanwhile_is_left_alone(
    adapter: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "_verify", lambda *_: (tmp_path / "out").write_text("mine"))
    with pytest.raises(UsageError, match="exists now"):
        merge_adapter(adapter, tmp_path / "out", prompts=prompts)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out", "mine")]


def test_answers_are_greedy_whatever_penalty_the_model_s_settings_name(small_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(small_model).eval()
    ids = ids_of(small_model, "def double(x):")
    with torch.no_grad():
        expected = greedy_answer(model, ids)
        plain = model.generate(torch.tensor([ids]), max_new_tokens=ANSWER, do_sample=False, pad_token_id=0)[0].tolist()
        model.generation_config.repetition_penalty = 5.0
        model.generation_config.no_repeat_ngram_size = 1
        assert greedy_answer(model, ids) == expected == plain


def test_a_small_weight_that_is_lost_is_warned_of_beside_a_large_one_that_is_kept(
    small_model: Path, prompts: Path, tmp_path: Path
) -> None:
    config: dict[str, Any] = {"modules_to_save": ["lm_head"], "target_modules": ["up_proj"]}
    adapter = save_adapter(small_model, tmp_path / "adapter", **config)
    factors = load_file(adapter / source.WEIGHTS)
    for name, values in factors.items():
        factors[name] = values * 1e-3 if ".lora_A." in name else values + 1.0 if "lm_head" in name else values
    save_file(factors, adapter / source.WEIGHTS, metadata={"format": "pt"})
    audit = merge_adapter(adapter, dtype="bfloat16", prompts=prompts)
    assert audit.chosen.update.relative_error < 0.05
    assert f"2 of 3 by more than 5 %, {UP}" in str(audit.warning).replace("layers.1", "layers.0")


def test_prompts_come_from_json_lines_text_or_the_sample(tmp_path: Path, small_model: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "a\\n\\nb"}\n{"prompt": ""}\n')
    assert read_prompts(tmp_path / "p.jsonl") == ["a\n\nb"]
    (tmp_path / "q.jsonl").write_text('{"prompt": "a"}\n{"other": 1}\n')
    with pytest.raises(UsageError, match=r"q\.jsonl, line 2: there is no text"):
        read_prompts(tmp_path / "q.jsonl")
    (tmp_path / "p.txt").write_text("\na\nb\n\n\nc")
    assert read_prompts(tmp_path / "p.txt") == ["a\nb", "c"]
    sample = read_prompts(None)
    assert len(sample) == len(SAMPLE.read_text().splitlines()) == 16
    tokenizer = AutoTokenizer.from_pretrained(small_model)
    assert [len(ids) for ids in encode(tokenizer, ["x " * 5000], None)] == [LONGEST]
    assert [len(ids) for ids in encode(tokenizer, ["x " * 5000], 100)] == [84]
    assert encode(tokenizer, ["x " * 5000], 12) == []


def test_the_command_prints_the_audit_and_warns(
    small_update: Path,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*arguments: str | Path) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["flexlora", "merge", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return str(ended.value.code or 0) + shown.out, shown.err

    out, err = run(small_update, "--audit-only", "--prompts", prompts)
    assert out.startswith("0")
    assert "In float32 it errs" in out
    assert "warning: in bfloat16 (nearest)" in err
    out, err = run(small_update, "--output", tmp_path / "out", "--prompts", prompts, "--json", "--warn-above", "9")
    assert "warning" not in err
    assert json.loads(out[1:])["output"] == str(tmp_path / "out")
    assert (tmp_path / "out" / "config.json").is_file()
    out, err = run(small_update, "--output", tmp_path / "out", "--prompts", prompts)
    assert out == "2"
    assert "nothing is overwritten" in err
    out, err = run(small_update)
    assert out == "2"
    assert "--audit-only" in err
