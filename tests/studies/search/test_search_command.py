"""`flexlora search`: what it refuses, what it says before the start; and one killed and gone on with, as processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_recipe import own_texts, small_recipe

from flexlora.cli import main
from flexlora.recipe import load


@pytest.fixture(scope="module")
def recipe_file(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "small.yaml").write_text(yaml.safe_dump(small_recipe(small_model, folder)))
    space = {"space": {"lora.rank": [2, 4, 8]}, "likelihood": [own_texts(folder)]}
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    return folder / "small.yaml"


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["flexlora", "search", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def test_a_search_needs_to_know_when_to_stop(inside: Callable[..., Any], recipe_file: Path) -> None:
    code, _, said = inside(recipe_file)
    assert code == 2
    assert "--budget 2h" in said


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    inside: Callable[..., Any], recipe_file: Path, tmp_path: Path
) -> None:
    space = ("--space", recipe_file.parent / "space.yaml", "--output", tmp_path / "out")
    code, out, said = inside(recipe_file, *space, "--dry-run", "--json")
    assert code == 0, said
    assert json.loads(out)["gain"] == {"mbpp": 4}
    assert "lora.rank: 2, 4, 8" in said
    assert not (tmp_path / "out").exists()


def test_a_wrong_key_of_the_space_is_named(inside: Callable[..., Any], recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("spcae: {lora.rank: [2, 4]}\n")
    code, _, said = inside(recipe_file, "--trials", "1", "--space", tmp_path / "space.yaml")
    assert code == 2
    assert "spcae" in said


@pytest.mark.thorough
@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_and_ends_with_a_recipe(recipe_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = [sys.executable, "-m", "flexlora", "search", str(recipe_file), "--trials", "3", "--workers", "2"]
    command += ["--space", str(recipe_file.parent / "space.yaml"), "--output", str(output), "--json"]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not list(output.glob("trials/*/recipe.yaml")):
            assert process.poll() is None
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    states = [one["state"] for one in found["trials"]]
    assert states.count("finished") + states.count("stopped") == 3
    assert "lost" in states
    assert json.loads((output / "search.json").read_text()) == found
    best = load(output / "best.yaml")
    assert [task.name for task in best.tasks] == ["humaneval"]
    assert (output / "report.html").is_file()
