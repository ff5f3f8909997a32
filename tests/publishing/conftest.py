"""A scored run whose adapters and verdicts are made up, and a hub to push to."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from adapters.updates import save_adapter
from flexlora import folder, pipeline
from flexlora.evaluated import with_problems
from flexlora.files import append_jsonl
from flexlora.publishing import base
from flexlora.recipe import from_dict
from publishing.writable_hub import TOKEN, WritableHub
from small_benchmark import write_benchmark


@pytest.fixture(scope="session")
def run(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two arms that is scored, its adapters and verdicts made up."""
    root = tmp_path_factory.mktemp("exports")
    own = root / "own-tasks.jsonl"
    problem = {"prompt": "x =", "tests": "assert x == 1\n", "stop_tokens": ["\n"], "language": "py"}
    own.write_text("".join(json.dumps({**problem, "task_id": f"one/{i}"}) + "\n" for i in range(3)))
    recipe = from_dict(
        {
            "name": "pair",
            "model": str(small_model),
            "precision": "float32",
            "data_dir": str(write_benchmark(root / "secret-data")),
            "data": [{"dataset": "mbpp"}],
            "arms": {"plain": {}, "fourier": {"penalty": {"lam": 0.02}}},
            "tasks": ["humaneval", "multipl-e/humaneval/java", str(own)],
            "lora": {"targets": ["up_proj"], "rank": 4, "alpha": 12},
        }
    )
    made = folder.open_run(recipe, root / "run")
    with pipeline.working(made):
        for arm in recipe.arm_names():
            save_adapter(small_model, made.adapter(arm), spread=0.1)
    for number, (item, problems) in enumerate(with_problems(made)):
        for i, problem in enumerate(problems):
            verdict = {"task_id": problem.task_id, "sample": 0, "language": problem.language}
            passed = (i + number) % 3 == 0
            verdict |= {"status": "OK" if passed else "Exception", "passed": passed}
            append_jsonl(made.path / item.path / "results.jsonl", verdict)
    pipeline.score(made)
    return made.path


@pytest.fixture
def unscored(run: Path, tmp_path: Path) -> Path:
    """A copy of the run without scores."""
    shutil.copytree(run, tmp_path / "unscored", ignore=shutil.ignore_patterns("summary.json"))
    return tmp_path / "unscored"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    with WritableHub(tmp_path / "hub") as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield served


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A licence is looked for on the hub; these tests have none."""
    monkeypatch.setattr(base, "_hub_card_data", lambda *_: None)
