"""The main job on a few records with a small random model: whole, continued, killed, refused."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import flexlora
from flexlora import folder, models, pipeline, preflight
from flexlora.errors import FlexError, UsageError
from flexlora.execution.languages import ToolchainMissing
from flexlora.files import read_appended
from flexlora.recipe import ModelSource, Recipe, dumped, from_dict
from flexlora.training.log import MEASURED
from small_apps import NO_TESTS, PLAIN, SUM, write_apps

MAY_DIFFER = ("wall_s", "cpu_s", "cached", *MEASURED)


@pytest.fixture
def values(benchmark: Path, small_model: Path) -> dict[str, Any]:
    return {
        "name": "small",
        "model": str(small_model),
        "data_dir": str(benchmark),
        "data": [{"dataset": "mbpp"}],
        "validation": [{"dataset": "mbpp", "split": "validation"}],
        "tasks": ["humaneval", "multipl-e/humaneval/java", {"name": "mbpp", "prompt_style": "three-shot"}],
        "variants": ["base", "adapter", "merged"],
        "optimizer": {"learning_rate": 0.01},
        "train": {"epochs": 2, "max_length": 96, "logging_steps": 2, "save_steps": 4, "eval_steps": 4},
        "sampling": {"n": 2, "temperature": 0.7, "max_new_tokens": 12, "k": [1, 2], "batch_size": 4},
        "penalty": {"lam": 0.1},
        "arms": {"plain": {"penalty": {"lam": 0.0}}, "fourier": {}},
    }


@pytest.fixture
def recipe(values: dict[str, Any]) -> Recipe:
    return from_dict(values)


def contents(run: Path) -> dict[str, Any]:
    """A run's files as they must be equal: records sorted by key, without times."""
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*.jsonl")):
        records = [{k: v for k, v in r.items() if k not in MAY_DIFFER} for r in read_appended(path)]
        found[str(path.relative_to(run))] = sorted(records, key=lambda r: json.dumps(r, sort_keys=True))
    for path in sorted(run.rglob("adapter/*.safetensors")):
        found[str(path.relative_to(run))] = {name: value.tolist() for name, value in load_file(path).items()}
    found["summary.json"] = json.loads((run / "summary.json").read_text())
    return found


def start(values: dict[str, Any], output: Path) -> subprocess.Popen[bytes]:
    recipe_file = output.with_suffix(".yaml")
    recipe_file.write_text(json.dumps(values))
    command = [sys.executable, "-m", "flexlora", "run", str(recipe_file), "--output", str(output)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_run_makes_every_file_and_running_again_changes_none(recipe: Recipe, tmp_path: Path) -> None:
    run = flexlora.run(recipe, tmp_path / "run")
    for path in ("recipe.yaml", "environment.json", "trainings.json", "summary.json", "report.html"):
        assert (run.path / path).stat().st_size
    trainings = json.loads((run.path / "trainings.json").read_text())["trainings"]
    assert [one["arm"] for one in trainings] == ["plain", "fourier"]
    assert all(one["validation"] and one["train_s"] > 0 for one in trainings)
    names = ("humaneval", "multipl-e--humaneval--java", "mbpp")
    folders = ["base", *(f"{a}/eval/{v}" for a in ("plain", "fourier") for v in ("adapter", "merged"))]
    for name in names:
        for where in folders:
            samples = read_appended(run.path / where / name / "samples.jsonl")
            results = read_appended(run.path / where / name / "results.jsonl")
            keys = {(r["task_id"], r["sample"]) for r in samples}
            assert keys == {(r["task_id"], r["sample"]) for r in results}
            assert len(keys) == len(samples) == len(results) == {"humaneval": 8, "mbpp": 12}.get(name, 6)
            assert set(samples[0]) == {
                "task_id",
                "sample",
                "completion",
                "prompt_style",
                "finish_reason",
                "seed",
                "logprob",
                "tokens",
            }
    for arm in ("plain", "fourier"):
        assert {"adapter_config.json", "adapter_model.safetensors"} <= {p.name for p in run.adapter(arm).iterdir()}
        assert read_appended(run.train(arm) / "log.jsonl")[0]["penalty"] == 0 or arm == "fourier"
    summary = json.loads((run.path / "summary.json").read_text())
    assert len(summary["scores"]) == 15
    assert {score["variant"] for score in summary["scores"]} == {"base", "adapter", "merged"}
    assert all(set(score["pass_at_k"]) == {"1", "2"} for score in summary["scores"])
    provenance = summary["provenance"]
    assert provenance["overlap"][0]["arms"] == ["plain", "fourier"]
    assert provenance["tasks"]["mbpp"]["prompt_style"] == "three-shot"
    assert provenance["tasks"]["multipl-e/humaneval/java"]["stop_tokens"] == ["\n    }\n"]
    assert len(provenance["arms"]["plain"]["adapter_sha256"]) == 64
    assert provenance["arms"]["plain"]["adapter_sha256"] != provenance["arms"]["fourier"]["adapter_sha256"]
    assert {"py", "java", "sandbox"} <= provenance["environment"]["toolchains"].keys()

    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file() and p.name != "report.html"}
    flexlora.run(recipe, tmp_path / "run")
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file() and p.name != "report.html"} == before

    # The whole again from its stages, through the same functions that the commands call.
    other = flexlora.train(recipe, tmp_path / "other")
    flexlora.evaluate(other.path)
    assert contents(other.path) == contents(run.path)
    assert not flexlora.compare(run.path, other.path).comparisons[0]["gained"]


def test_programs_with_tests_go_through_a_whole_run_and_what_is_left_out_is_said(
    small_model: Path, tmp_path: Path
) -> None:
    recipe = from_dict(
        {
            "name": "apps",
            "model": str(small_model),
            "data_dir": str(write_apps(tmp_path / "data", train=[], test=[SUM, PLAIN, NO_TESTS])),
            "tasks": [{"name": "apps", "compat": True}],
            "variants": ["base"],
            "sampling": {"max_new_tokens": 8},
        }
    )
    note = "1 of 3 apps problems left out: no tests (APPS/test/0002)"
    run, plan = pipeline.start(recipe, tmp_path / "run")
    assert plan.notes == [note]
    assert f"note       {note}" in plan.lines()
    for _ in range(2):  # the second time nothing is left to be done, and nothing counts as changed
        flexlora.run(recipe, run.path)
    results = read_appended(run.path / "base" / "apps" / "results.jsonl")
    assert {(r["task_id"], r["tests"]["total"]) for r in results} == {("APPS/test/0000", 3), ("APPS/test/0001", 3)}
    summary = json.loads((run.path / "summary.json").read_text())
    (score,) = summary["scores"]
    assert (score["problems"], list(score["parts"])) == (2, ["introductory", "competition"])
    assert score["tests_passed"].keys() == {"estimate", "low", "high"}
    task = summary["provenance"]["tasks"]["apps"]
    assert (task["comparison"], task["prompt_style"], task["data"]["notes"]) == ("compat", "original", [note])


@pytest.mark.thorough
@pytest.mark.slow
def test_a_run_killed_in_generation_and_in_execution_ends_the_same(values: dict[str, Any], tmp_path: Path) -> None:
    values |= {"arms": {}, "variants": ["base", "adapter"], "tasks": ["humaneval", "multipl-e/humaneval/java"]}
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert start(values, undisturbed).wait() == 0
    _kill_once_it_has_lines(values, killed, killed / "main/eval/adapter/multipl-e--humaneval--java/samples.jsonl")
    torn = killed / "main/eval/adapter/multipl-e--humaneval--java/samples.jsonl"
    with torn.open("a") as file:
        file.write('{"task_id": "HumanEval_')  # what a kill within a write leaves
    _kill_once_it_has_lines(values, killed, killed / "base/multipl-e--humaneval--java/results.jsonl")
    assert start(values, killed).wait() == 0
    expected, found = contents(undisturbed), contents(killed)
    assert expected.pop("summary.json")["scores"] == found.pop("summary.json")["scores"]
    assert expected == found


def _kill_once_it_has_lines(values: dict[str, Any], output: Path, file: Path) -> None:
    process = start(values, output)
    while process.poll() is None and not (file.exists() and file.read_bytes().count(b"\n")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (output / "report.html").exists(), "the run finished before it was killed"


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_exits_with_130(values: dict[str, Any], tmp_path: Path) -> None:
    process = start(values, tmp_path / "run")
    samples = tmp_path / "run/base/humaneval/samples.jsonl"
    while process.poll() is None and not samples.exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130
    assert b"what was finished is kept" in stderr
    assert b"Traceback" not in stderr
    assert read_appended(samples)


def test_another_recipe_is_refused_unless_overwritten(recipe: Recipe, tmp_path: Path) -> None:
    run = folder.open_run(recipe, tmp_path / "run")
    with folder.locked(run):
        folder.begin(run)
    (run.path / "summary.json").write_text("{}")
    other = from_dict({**dumped(recipe), "seed": 7, "lora": {"rank": 4}})
    with pytest.raises(UsageError) as caught:
        folder.open_run(other, run.path)
    assert "seed: 0 there, 7 now" in str(caught.value)
    assert "lora.rank: 8 there, 4 now" in str(caught.value)
    free = from_dict({**dumped(recipe), "sampling": {**dumped(recipe)["sampling"], "batch_size": 1}})
    folder.open_run(free, run.path)
    accepted = folder.open_run(other, run.path, overwrite=True)
    with folder.locked(accepted):
        folder.begin(accepted, overwrite=True)
    assert not (run.path / "summary.json").exists()
    assert folder.existing(run.path).recipe == other


def test_overwriting_that_was_killed_is_finished(recipe: Recipe, tmp_path: Path) -> None:
    run = folder.open_run(recipe, tmp_path / "run")
    with folder.locked(run):
        folder.begin(run)
    (run.path / "main" / "train").mkdir(parents=True)
    (run.path / "recipe.yaml").unlink()
    (run.path / folder.OVERWRITING).touch()
    with pytest.raises(UsageError, match="not a run directory"):
        folder.existing(run.path)
    again = folder.open_run(recipe, run.path)
    with folder.locked(again):
        folder.begin(again)
    assert sorted(path.name for path in run.path.iterdir()) == [folder.LOCK, "recipe.yaml"]


def test_overwriting_deletes_a_run_and_nothing_else(recipe: Recipe, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "thesis").mkdir(parents=True)
    (project / "recipe.yaml").write_text("mine: true")
    with pytest.raises(UsageError, match="not a run directory"):
        folder.open_run(recipe, project, overwrite=True)
    with pytest.raises(UsageError, match="not a run directory"):
        folder.existing(project)
    run = folder.open_run(recipe, tmp_path / "run")
    with folder.locked(run):
        folder.begin(run)
        (run.path / "notes").mkdir()
        (run.path / "plain" / "eval").mkdir(parents=True)
        folder.begin(run, overwrite=True)
    assert {path.name for path in run.path.iterdir()} == {folder.LOCK, "recipe.yaml", "notes"}


def test_a_run_killed_while_its_recipe_was_written_starts_anew(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.yaml.partial").write_text("model: ")
    run = folder.open_run(recipe, tmp_path / "run")
    with folder.locked(run):
        folder.begin(run)
    assert folder.existing(run.path).recipe == recipe


@pytest.mark.thorough
def test_arms_may_have_any_name_that_a_folder_may(values: dict[str, Any], tmp_path: Path) -> None:
    values |= {"arms": {"lam0.1": {}, "train": {"penalty": {"lam": 0.0}}}, "tasks": [{"name": "humaneval", "limit": 1}]}
    values |= {"validation": [], "train": {"max_steps": 1, "max_length": 96}, "variants": ["adapter"]}
    run = flexlora.run(values, tmp_path / "run")
    scores = json.loads((run.path / "summary.json").read_text())["scores"]
    assert [score["arm"] for score in scores] == ["lam0.1", "train"]


def test_data_that_changed_since_the_run_began_are_refused(recipe: Recipe, benchmark: Path, tmp_path: Path) -> None:
    run = folder.open_run(recipe, tmp_path / "run")
    with pipeline.working(run):
        pass
    file = benchmark / "humaneval.jsonl"
    file.write_text(file.read_text().replace("Double x", "Double it"))
    with pytest.raises(UsageError, match="tasks changed since it began"), pipeline.working(run):
        pass


def test_a_run_continued_elsewhere_says_so(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = folder.open_run(recipe, tmp_path / "run")
    described = {"flexlora": "1"}
    monkeypatch.setattr("flexlora.environment.describe", lambda: dict(described))
    for version in ("1", "1", "2", "2", "1"):
        described["flexlora"] = version
        with pipeline.working(run):
            pass
    recorded = json.loads((run.path / "environment.json").read_text())
    assert recorded["flexlora"] == "1"
    assert [later["flexlora"] for later in recorded["continued_on"]] == ["2"]


def test_foreign_folders_and_a_second_process_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="not a run directory"):
            folder.open_run(recipe, tmp_path / "notes", overwrite)
    run = folder.open_run(recipe, tmp_path / "run")
    with folder.locked(run), pytest.raises(UsageError, match="another process"), folder.locked(run):
        pass
    with pytest.raises(UsageError, match="not a run directory"):
        folder.existing(tmp_path / "nothing")


def test_the_plan_says_what_a_run_will_do_and_nothing_is_written(recipe: Recipe, tmp_path: Path) -> None:
    run, plan = pipeline.start(recipe, tmp_path / "run")
    assert not run.path.exists()
    assert plan.tasks == {"humaneval": 4, "multipl-e/humaneval/java": 3, "mbpp": 6}
    assert plan.programs == {"py": 5 * 2 * 10, "java": 5 * 2 * 3}
    assert plan.completions == 130
    assert [(one["arms"], [task["task"] for task in one["tasks"]]) for one in plan.overlap] == [
        (["plain", "fourier"], ["humaneval", "multipl-e/humaneval/java", "mbpp"])
    ]
    plain, fourier = plan.arms
    assert (plain.arm, plain.examples, plain.optimizer_steps) == ("plain", 24, 12)
    assert plain.trainable_parameters == fourier.trainable_parameters == 2 * 8 * 3 * (32 + 64)
    assert plain.targets == {"gate_proj": 2, "up_proj": 2, "down_proj": 2}
    assert plan.example["supervised"] == "def add_601(x):\n    return x + 601\n</s>"
    assert plan.example["masked"].startswith('"""\nWrite a function')
    said = "\n".join(plan.lines())
    for part in ("4,608 trainable", "[supervised] def add_601(x):", "12 optimizer steps", "130 completions"):
        assert part in said
    assert "overlap    " in said


def test_a_missing_toolchain_is_an_error_that_says_how_to_leave_its_tasks_out(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(code: str) -> None:
        if code == "java":
            raise ToolchainMissing("javac is missing")

    def refused(languages: set[str], **_: Any) -> None:
        assert languages == {"py", "java"}
        raise UsageError("Programs cannot be run here.")

    monkeypatch.setattr("flexlora.preflight.toolchain", missing)
    monkeypatch.setattr("flexlora.execution.require", refused)
    with pytest.raises(UsageError, match=r"cannot be run here\.\nOr evaluate without: '!\*/java' in `tasks`"):
        pipeline.start(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_preflight_reports_all_problems_at_once(values: dict[str, Any], tmp_path: Path) -> None:
    broken = from_dict(
        values
        | {
            "tasks": ["humaneval", "multipl-e/humaneval/cobol", "mbpp"],
            "data": [{"dataset": "mbpp", "split": "all"}],
            "baselines": [str(tmp_path / "no-model")],
            "arms": {"a": {"lora": {"targets": ["q_proj", "nowhere"]}}, "b": {"data": [{"dataset": "unheard"}]}},
        }
    )
    with pytest.raises(UsageError) as caught:
        preflight.check(folder.RunFolder(recipe=broken, path=tmp_path))
    message = str(caught.value)
    for part in ("multipl-e/humaneval/cobol", "no-model", "unknown dataset 'unheard'", "in the training data"):
        assert part in message


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"lora": {"targets": ["q_proj", "nowhere"]}}, "'nowhere' matches no module"),
        ({"penalty": {"lam": 0.1, "modules": ["nowhere"]}}, "penalty: modules: 'nowhere' matches no LoRA layer"),
        ({"penalty": {"lam": 0.1, "schedule": "linear", "warmup_steps": 9999}}, "penalty.warmup_steps: 9999 steps"),
        ({"penalty": {"lam": 3, "coupling": "decoupled"}}, "penalty: lam 3.0 with gain 1.0 diverges"),
        ({"precision": "float16"}, "float16 trains on a GPU only"),
        ({"tokenizer": {"eos_token": "<nope>"}}, "'<nope>' is not in the vocabulary"),
        ({"train": {"max_length": 8}}, "train.max_length: at 8 tokens"),
        ({"data_dir": "/nowhere"}, "/nowhere"),
        ({"train": {"report_to": "nonsense"}}, "knows no tracker 'nonsense'"),
        ({"train": {"report_to": "neptune"}}, "neptune is not installed"),
        ({"tasks": [{"name": "mbpp", "split": "prompt", "prompt_style": "three-shot"}]}, "stand in the three-shot"),
        ({"data": [{"dataset": "mbpp", "prompt_column": "text"}]}, "mbpp has no prompt_column (found 'text')"),
        ({"data": [{"dataset": "tiny/A/py/more"}]}, "no language 'py/more'"),
        ({"baselines": ["x/y", "x--y"]}, "would share the folder baselines/x--y"),
    ],
)
def test_preflight_names_value_and_remedy(
    change: dict[str, Any], part: str, values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # no hub is asked again and again in vain
    with pytest.raises(UsageError) as caught:
        pipeline.start(values | change, tmp_path / "run")
    assert part in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_models_and_tokenizers_that_cannot_work_are_refused(values: dict[str, Any], tmp_path: Path) -> None:
    from small_models import make_model

    make_model(tmp_path / "no-weights", "llama")
    (tmp_path / "no-weights" / "model.safetensors").unlink()
    make_model(tmp_path / "no-eos", "llama", eos=False)
    make_model(tmp_path / "short", "llama", context=16)
    make_model(tmp_path / "narrow", "llama", context=48)
    weights = make_model(tmp_path / "cut", "llama") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (make_model(tmp_path / "shards", "llama") / "model.safetensors.index.json").write_text(json.dumps(index))
    for name, part in (
        ("no-weights", "no weights"),
        ("no-eos", "has no EOS token"),
        ("short", "context of"),
        ("narrow", "an example of .* tokens"),
        ("cut", "model.safetensors is damaged"),
        ("shards", "1 of 1 weight files are missing"),
        ("nothing", "no such folder"),
    ):
        with pytest.raises(UsageError, match=part):
            pipeline.start(values | {"model": str(tmp_path / name)}, tmp_path / "run")
    make_model(tmp_path / "no-pad", "llama", pad=False)
    pipeline.start(values | {"model": str(tmp_path / "no-pad")}, tmp_path / "run")


def test_stages_say_which_stage_is_missing(recipe: Recipe, tmp_path: Path) -> None:
    run = folder.open_run(recipe, tmp_path / "run")
    with pipeline.working(run):
        with pytest.raises(FlexError, match="8 completions are missing"):
            pipeline.execute(run)
        with pytest.raises(FlexError):
            pipeline.score(run)
        assert not (run.path / "summary.json").exists()
        with pytest.raises(UsageError, match="not trained yet"):
            pipeline.generate(run)


def test_weights_that_are_not_in_the_files_are_refused_rather_than_random(tmp_path: Path) -> None:
    from small_models import make_model

    weights = make_model(tmp_path / "model", "llama") / "model.safetensors"
    save_file({name: value for name, value in load_file(weights).items() if "mlp" not in name}, weights)
    with pytest.raises(UsageError, match=r"6 of its weights are not in its files.*mlp"):
        models.load_model(ModelSource(name=str(tmp_path / "model")))


def test_a_machine_that_only_trains_needs_no_sandbox(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> str:
        raise UsageError("no sandbox here")

    for place in ("flexlora.provenance.probe", "flexlora.execution.requirements.probe"):
        monkeypatch.setattr(place, missing)
    with pytest.raises(UsageError, match="no sandbox here"):
        pipeline.start(recipe, tmp_path / "run")
    run, _ = pipeline.start(recipe, tmp_path / "run", executes=False)
    with pipeline.working(run):
        pass
    assert json.loads((run.path / "environment.json").read_text())["toolchains"]["sandbox"] is None
