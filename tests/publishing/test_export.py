"""`flexlora export`: what others load from the directory is what the run had, and the card says what the run found."""

import json
import re
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import flexlora
from adapters.updates import save_adapter
from flexlora import folder
from flexlora.adapters.source import find_base, open_adapter
from flexlora.cli import main
from flexlora.errors import FlexError, UsageError
from flexlora.evaluation.schema import read_summary
from flexlora.files import write_json
from flexlora.publishing import export as export_module
from flexlora.publishing.base import describe_base
from flexlora.publishing.portable import portable, told_apart
from flexlora.recipe import from_dict

CODE = re.compile(r"```python\n(.*?)```", re.S)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.arange(3, 23)[None]).logits


def test_the_adapter_loads_by_peft_and_is_the_runs(run: Path, small_model: Path, tmp_path: Path) -> None:
    done = flexlora.export(run, tmp_path / "out", arm="fourier")
    assert (done.path, done.arm, done.merged, done.evaluated, done.url) == (
        tmp_path / "out", "fourier", False, True, None,
    )  # fmt: skip
    bases = [AutoModelForCausalLM.from_pretrained(small_model) for _ in range(3)]
    exported = PeftModel.from_pretrained(bases[0], tmp_path / "out")
    own = PeftModel.from_pretrained(bases[1], run / "fourier" / "train" / "adapter")
    assert torch.equal(logits(exported), logits(own))
    assert not torch.allclose(logits(exported), logits(bases[2]))
    ours, theirs = (AutoTokenizer.from_pretrained(path) for path in (tmp_path / "out", small_model))
    assert ours("def f(x):")["input_ids"] == theirs("def f(x):")["input_ids"]
    assert PeftConfig.from_pretrained(tmp_path / "out").base_model_name_or_path is None  # nobody else has that folder


def test_the_merged_model_loads_by_transformers_and_its_card_has_the_audit(
    run: Path, small_model: Path, tmp_path: Path
) -> None:
    done = flexlora.export(run, tmp_path / "out", arm="fourier", merged=True, dtype="float32")
    assert (done.merged, done.evaluated, done.warning) == (True, False, None)
    own = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(small_model), run / "fourier/train/adapter")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.allclose(logits(loaded), logits(own), atol=1e-5)
    card = ModelCard.load(tmp_path / "out" / "README.md")
    audit = json.loads((tmp_path / "out" / "merge_audit.json").read_bytes())
    assert audit["dtype"] == "float32"
    assert f"| float32 | nearest | {100 * audit['rows'][0]['update']['relative_error']:.1g} |" in card.text
    assert "The merged model itself was not evaluated" in card.text
    assert (card.data.eval_results, card.data.library_name) == (None, "transformers")
    assert "evaluated by running" not in card.text
    (code,) = CODE.findall(card.text)
    printed = executed(code, tmp_path / "out")
    assert "def double(x):" in printed
    assert not leaks(tmp_path / "out", run, small_model)


def executed(code: str, place: Path, **names: str) -> str:
    """What a card's code prints, run in its folder."""
    for name, value in names.items():
        code = code.replace(f'"{name}"', repr(value))
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        exec(code.replace("max_new_tokens=64", "max_new_tokens=4"), {"print": said.append})
    return "".join(said)


def leaks(out: Path, run: Path, model: Path) -> list[tuple[str, str]]:
    """What the files tell of the machine."""
    secrets = [re.escape(str(place)) for place in (run.parent, model.parent, out.parent, f"{Path.home()}/")]
    secrets.append(rf"\b{re.escape(socket.gethostname())}\b")
    texts = {path.name: path.read_text() for path in out.iterdir() if path.suffix in (".md", ".json", ".yaml")}
    return [(name, secret) for name, text in texts.items() for secret in secrets if re.search(secret, text)]


def test_the_card_has_the_summarys_numbers(run: Path, small_model: Path, tmp_path: Path) -> None:
    flexlora.export(run, tmp_path / "out", arm="fourier", base="me/small")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    data, summary = card.data, read_summary(run)
    assert (data.base_model, data.base_model_relation, data.library_name) == ("me/small", "adapter", "peft")
    assert (data.license, data.pipeline_tag, data.model_name) == ("unknown", "text-generation", "pair/fourier")
    assert data.datasets == ["google-research-datasets/mbpp"]
    assert {"python", "java", "lora"} <= set(data.tags)
    scores = {one["task"]: one for one in summary["scores"] if (one["arm"], one["variant"]) == ("fourier", "adapter")}
    assert {one.dataset_config: one.metric_value for one in data.eval_results} == {
        task: score["pass_at_k"]["1"]["estimate"] for task, score in scores.items()
    }
    assert {one.dataset_type for one in data.eval_results} == {"openai/openai_humaneval", "nuprl/MultiPL-E"}
    for score in summary["scores"]:
        value = score["pass_at_k"]["1"]
        shown = f"{100 * value['estimate']:.1f} [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"
        assert (shown in card.text) or score["arm"] == "plain"
    assert "plain" not in card.text
    assert "evaluated by running" in card.text
    (one, _) = [c for c in summary["comparisons"] if c["arm"] == "fourier" and c["against"]["variant"] == "base"]
    assert f"p = {one['p_value']:.2g}" in card.text
    assert "licence of the base could not be read" in card.text
    assert (tmp_path / "out" / "spectrum.png").read_bytes().startswith(b"\x89PNG")
    assert not leaks(tmp_path / "out", run, small_model)
    assert from_dict(folder.read_yaml(tmp_path / "out" / "recipe.yaml")).penalty.lam == 0.02
    (code,) = CODE.findall(card.text)
    assert "def double(x):" in executed(code, tmp_path / "out", **{"me/small": str(small_model)})


def test_a_run_without_scores_is_exported_and_its_card_says_so(unscored: Path, tmp_path: Path) -> None:
    done = flexlora.export(unscored, tmp_path / "out", arm="plain")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert "**Not evaluated.**" in card.text
    assert (done.evaluated, card.data.eval_results) == (False, None)
    assert "not evaluated" in done.words()


def test_scores_of_another_adapter_are_refused(run: Path, small_model: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "changed")
    save_adapter(small_model, tmp_path / "changed" / "plain" / "train" / "adapter", spread=0.2)
    with pytest.raises(UsageError, match="scores of another adapter"):
        flexlora.export(tmp_path / "changed", tmp_path / "out", arm="plain")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({}, "has 2 arms; name one with --arm: plain, fourier"),
        ({"arm": "other"}, "the run has plain, fourier"),
        ({"arm": "plain", "base": "small"}, "give OWNER/NAME"),
        ({"arm": "plain", "output": "."}, "exists, and nothing is overwritten; choose another --output"),
    ],
)
def test_what_cannot_be_exported_is_refused(options: dict[str, str], part: str, run: Path, tmp_path: Path) -> None:
    output = tmp_path / options.pop("output", "out")
    with pytest.raises(UsageError, match=re.escape(part)):
        flexlora.export(run, output, **options)
    assert list(tmp_path.iterdir()) == []


def test_an_arm_that_is_not_trained_names_the_remedy(unscored: Path, tmp_path: Path) -> None:
    shutil.rmtree(unscored / "plain" / "train")
    with pytest.raises(UsageError, match=r"not trained yet; `flexlora train .*unscored`"):
        flexlora.export(unscored, tmp_path / "out", arm="plain")


def test_a_full_disk_leaves_nothing(unscored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export_module, "plot_spectra", full)
    with pytest.raises(FlexError, match="the disk is full"):
        flexlora.export(unscored, tmp_path / "out", arm="plain")
    assert [path.name for path in tmp_path.iterdir()] == ["unscored"]


def test_options_that_mean_nothing_are_refused_on_the_command_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for extra, part in ((["--dtype", "float32"], "--merged"), (["--private"], "--push")):
        monkeypatch.setattr(sys, "argv", ["flexlora", "export", str(run), "--output", str(tmp_path / "o"), *extra])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert f"it goes with {part}" in capsys.readouterr().err


def test_a_folder_called_tiny_is_not_the_packaged_model(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    recipe = from_dict({"model": str(tmp_path / "tiny"), "data": [{"dataset": "mbpp"}], "tasks": ["humaneval"]})
    found = describe_base(recipe, {"revision": None, "sha256": "x"})
    assert (found.name, found.adapter_name, found.licence) == ("tiny", None, {})


@pytest.mark.parametrize("model", ["me/small", "tiny"])
def test_an_adapter_names_its_base_so_that_others_find_it(model: str, run: Path, tmp_path: Path) -> None:
    recipe = from_dict({"model": model, "data": [{"dataset": "mbpp"}], "tasks": ["humaneval"]})
    found = describe_base(recipe, {"model": model, "revision": "0" * 40 if "/" in model else None, "sha256": None})
    export_module._copy_adapter(open_adapter(run / "plain" / "train" / "adapter"), found, tmp_path)
    config = PeftConfig.from_pretrained(tmp_path)
    assert (config.base_model_name_or_path, config.revision) == (model, found.revision)
    assert find_base(open_adapter(tmp_path), None).name == model
    assert found.licence == ({"license": "apache-2.0"} if model == "tiny" else {})


def test_a_base_in_the_hubs_cache_is_known_by_its_hub_id(tmp_path: Path) -> None:
    place = tmp_path / "models--me--small-1" / "snapshots" / ("a" * 40)
    place.mkdir(parents=True)
    (place / "README.md").write_text("---\nlicense: other\nlicense_name: llama2\nlicense_link: LICENSE\n---\n")
    recipe = from_dict({"model": str(place), "data": [{"dataset": "mbpp"}], "tasks": ["humaneval"]})
    found = describe_base(recipe, {"model": str(place), "revision": None, "sha256": "x"})
    assert (found.hub_id, found.revision, found.name) == ("me/small-1", "a" * 40, "me/small-1")
    assert found.licence == {"license": "other", "license_name": "llama2", "license_link": "LICENSE"}
    with pytest.raises(UsageError, match="the run's base is me/small-1"):
        describe_base(recipe, {"revision": None, "sha256": "x"}, "me/other")


def test_paths_are_cut_and_stop_tokens_are_not() -> None:
    value = {"model": "/home/me/llama", "stop_tokens": ["/*", "//"], "inner": [{"file": "~/a/b.jsonl"}, 1, "a/b"]}
    assert portable(value) == {
        "model": "llama", "stop_tokens": ["/*", "//"], "inner": [{"file": "b.jsonl"}, 1, "a/b"],
    }  # fmt: skip


def test_models_in_folders_of_one_name_are_told_apart() -> None:
    names = ["/data/first/model", "/data/second/model", "/data/third", "owner/model", "tiny"]
    found = told_apart([*names, *names])
    assert [found[name] for name in names] == ["first/model", "second/model", "third", "owner/model", "tiny"]


def test_json_says_what_was_made(
    unscored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["flexlora", "export", str(unscored), "--arm", "plain", "--output", str(out), "--json"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "path": str(out), "run": "pair", "arm": "plain", "merged": False, "evaluated": False, "url": None,
        "warning": None,
    }  # fmt: skip
    write_json(out / "provenance.json", {})
    assert not export_module._is_same(out, open_adapter(out), False, None)
