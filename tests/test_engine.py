"""Runs whose completions come from a server: a stand-in, and a real `transformers serve` with the embedded model."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

import flexlora
from flexlora import folder, pipeline
from flexlora.cli import main
from flexlora.errors import FlexError, UsageError
from flexlora.files import read_appended
from flexlora.generation import server as server_module
from flexlora.recipe import dumped, from_dict
from flexlora.tiny import TINY_MODEL
from standin_server import StandInServer, says

MODELS = [{"id": "base-as-served"}, {"id": "main"}]
MAY_DIFFER = ("wall_s", "cpu_s", "cached")


def rule(request: dict[str, Any]) -> dict[str, Any]:
    """A third of the programs pass, and the adapter's are others than the base's."""
    right = (request.get("seed", 0) + (request["model"] == "main")) % 3 == 0
    return {"text": f"    return {'2 * x' if right else request['seed']}\n", "finish_reason": "stop"}


@pytest.fixture
def values(benchmark: Path) -> dict[str, Any]:
    return {
        "name": "served",
        "model": "nowhere/to-be-found",
        "data_dir": str(benchmark),
        "tasks": ["humaneval"],
        "variants": ["base"],
        "sampling": {"n": 3, "temperature": 0.7, "max_new_tokens": 12, "k": [1, 2]},
    }


def engine(server: StandInServer, **options: Any) -> dict[str, Any]:
    return {"name": "openai", "base_url": server.url, "models": {"base": "base-as-served"}, **options}


def contents(run: Path) -> dict[str, Any]:
    """Samples and results as they must be equal: without times, sorted."""
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*.jsonl")):
        records = [{k: v for k, v in r.items() if k not in MAY_DIFFER} for r in read_appended(path)]
        found[str(path.relative_to(run))] = sorted(records, key=lambda r: json.dumps(r, sort_keys=True))
    return found


def test_a_model_that_only_the_server_has_is_evaluated(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    with StandInServer(rule, MODELS, key="sk-secret") as server:
        values["engine"] = engine(server, api_key_env="MY_KEY", parameters={"top_k": -1})
        _, plan = pipeline.start(values, tmp_path / "run")
        assert f"{server.url}: base as base-as-served" in "\n".join(plan.lines())
        run = flexlora.run(values, tmp_path / "run")
    summary = json.loads((run.path / "summary.json").read_text())
    passed = sum(record["passed"] for record in read_appended(run.path / "base/humaneval/results.jsonl"))
    assert 0 < passed < 12
    assert summary["scores"][0]["pass_at_k"]["1"]["estimate"] == pytest.approx(passed / 12)
    assert summary["provenance"]["engine"] == {
        "name": "openai",
        "base_url": server.url,
        "models": {"base": "base-as-served"},
        "parameters": {"top_k": -1},
    }
    assert json.loads((run.path / "environment.json").read_text())["engine"]["base_url"] == server.url
    for path in run.path.rglob("*"):
        assert not path.is_file() or b"sk-secret" not in path.read_bytes()
    # Finished, it needs no server any more.
    assert flexlora.evaluate(run.path)["scores"] == summary["scores"]


def test_a_trained_run_is_evaluated_by_a_server_from_the_command_line(
    values: dict[str, Any], small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values |= {"model": str(small_model), "data": [{"dataset": "mbpp"}], "variants": ["base", "adapter"]}
    values |= {"train": {"max_steps": 1, "logging_steps": 1, "save_steps": 1, "max_length": 96, "spectrum_steps": None}}
    run = flexlora.train(values, tmp_path / "run")
    with StandInServer(rule, MODELS) as server:
        command = ["flexlora", "evaluate", str(run.path), "--engine", "openai", "--base-url", server.url, "--json"]
        for options, code in ([], 2), (["--set", "engine.models.base=base-as-served"], 0):
            monkeypatch.setattr(sys, "argv", [*command, *options])
            with pytest.raises(SystemExit) as ended:
                main()
            assert (ended.value.code or 0) == code
        asked = [request["model"] for request in server.requests if "seed" in request]
        assert {name: asked.count(name) for name in asked} == {"base-as-served": 12, "main": 12}
    base = read_appended(run.path / "base/humaneval/samples.jsonl")
    adapter = read_appended(run.path / "main/eval/adapter/humaneval/samples.jsonl")
    assert {r["seed"] for r in base} == {r["seed"] for r in adapter}
    assert {r["completion"] for r in base} != {r["completion"] for r in adapter}
    server_is_gone = ["flexlora", "evaluate", str(run.path)]
    monkeypatch.setattr(sys, "argv", server_is_gone)  # and is not needed, as nothing is to be generated
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    # What a server generated is not gone on with by another engine.
    with pytest.raises(UsageError, match=r"its completions are by another engine \(openai\)"):
        folder.open_run(from_dict(values), run.path)


def test_a_server_that_does_not_sample_is_remarked_upon(
    values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for rule_, remarked in (says("    return 1"), True), (rule, False):
        with StandInServer(rule_, MODELS) as server:
            run, _ = pipeline.start(values | {"engine": engine(server)}, tmp_path / str(remarked), executes=False)
            with pipeline.working(run):
                pipeline.generate(run)
        assert ("all samples of each problem are the same text" in capsys.readouterr().err) == remarked


def test_a_server_that_dies_under_way_is_gone_on_with(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "FIRST_PAUSE_S", 0.001)
    with StandInServer(rule, MODELS) as server:
        whole = flexlora.run(values | {"engine": engine(server)}, tmp_path / "whole")
    values["execution"] = {"overlap": False}  # and that makes no difference
    with StandInServer(rule, MODELS, dies_after=5) as server:
        with pytest.raises(FlexError, match="run the same command again"):
            flexlora.run(values | {"engine": engine(server, retries=1)}, tmp_path / "run")
        assert len(server.requests) == 5
    with StandInServer(rule, MODELS) as server:  # at another address
        run = flexlora.run(values | {"engine": engine(server)}, tmp_path / "run")
        assert len(server.requests) == 7
    assert contents(run.path) == contents(whole.path)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_killed_while_execution_overlaps_generation_ends_the_same(values: dict[str, Any], tmp_path: Path) -> None:
    gate, name = threading.Event(), tmp_path / "recipe.yaml"
    held_back = {"more": 6}

    def slowly(request: dict[str, Any]) -> dict[str, Any]:
        held_back["more"] -= 1
        if held_back["more"] < 0:
            gate.wait()
        return rule(request)

    with StandInServer(rule, MODELS) as server:
        whole = flexlora.run(values | {"engine": engine(server)}, tmp_path / "whole")
    with StandInServer(slowly, MODELS) as server:
        name.write_text(json.dumps(values | {"engine": engine(server, concurrency=1)}))
        command = [sys.executable, "-m", "flexlora", "run", str(name), "--output", str(tmp_path / "run")]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        results = tmp_path / "run/base/humaneval/results.jsonl"
        # The server holds back the seventh completion, and the programs of six have their verdicts by then.
        while process.poll() is None and len(read_appended(results)) < 6:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(read_appended(results)) == len(read_appended(results.with_name("samples.jsonl"))) == 6
        gate.set()
        asked = len(server.requests)
        run = flexlora.run(json.loads(name.read_text()), tmp_path / "run")
        assert len(server.requests) - asked == 6
    assert contents(run.path) == contents(whole.path)


def test_two_hundred_samples_of_a_problem_are_gone_on_with_and_added_to(
    values: dict[str, Any], small_model: Path, tmp_path: Path
) -> None:
    values |= {"model": str(small_model), "tasks": [{"name": "humaneval", "limit": 2}]}
    values["sampling"] = {"preset": "pass@1", "n": 6, "max_new_tokens": 3, "batch_size": 64}
    pipeline_run, _ = pipeline.start(values, tmp_path / "run", executes=False)
    with pipeline.working(pipeline_run):
        pipeline.generate(pipeline_run)
    samples = tmp_path / "run/base/humaneval/samples.jsonl"
    first = read_appended(samples)
    values["sampling"] |= {"n": 200, "k": [1, 10, 100]}
    run = flexlora.run(values, tmp_path / "run")
    records = read_appended(samples)
    assert records[:12] == first
    assert len({(r["task_id"], r["sample"]) for r in records}) == len(records) == 400
    assert len({r["seed"] for r in records}) == 400
    score = json.loads((run.path / "summary.json").read_text())["scores"][0]
    assert (score["samples_per_problem"], set(score["pass_at_k"])) == (200, {"1", "10", "100"})
    assert len({r["completion"] for r in records}) > 20
    with pytest.raises(UsageError, match=r"sampling\.n: 200 there, 199 now"):
        folder.open_run(from_dict(dumped(run.recipe) | {"sampling": values["sampling"] | {"n": 199}}), run.path)

    # Half of the lines lost, in another order than they were drawn in: the same are drawn again.
    samples.write_text("".join(json.dumps(record) + "\n" for record in records[::2]))
    with pipeline.working(run):
        pipeline.generate(run)
    key = json.dumps
    assert sorted(read_appended(samples), key=key) == sorted(records, key=key)


@pytest.fixture
def transformers_serve(tmp_path: Path) -> Iterator[str]:
    """A real server with the embedded model, on loopback."""
    for package in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(package, reason="transformers serve needs transformers[serving], which is not installed")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(TINY_MODEL)]
    environment = os.environ | {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    log = (tmp_path / "serve.log").open("wb")
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=log, env=environment
    )
    try:
        while True:
            assert process.poll() is None, (tmp_path / "serve.log").read_text()
            try:
                httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False)
                break
            except httpx2.TransportError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()
        log.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_transformers_serve_writes_what_the_transformers_engine_writes(transformers_serve: str, tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "name": "tiny",
        "model": "tiny",
        "variants": ["base"],
        "tasks": [{"name": f"tiny/A/{language}", "limit": 5} for language in ("py", "js")],
        "sampling": {"max_new_tokens": 150},
    }
    here = flexlora.run(values, tmp_path / "here")
    served = {"name": "openai", "base_url": transformers_serve, "models": {"base": str(TINY_MODEL)}, "concurrency": 3}
    there = flexlora.run(values | {"engine": served}, tmp_path / "there")
    for task in ("tiny--A--py", "tiny--A--js"):
        texts = [
            {r["task_id"]: r["completion"] for r in read_appended(run.path / "base" / task / "samples.jsonl")}
            for run in (here, there)
        ]
        assert texts[0] == texts[1]
        assert all(texts[0].values())
    scores = [json.loads((run.path / "summary.json").read_text())["scores"] for run in (here, there)]
    assert scores[0] == scores[1]
    with pytest.raises(UsageError, match="does not serve 'other'"):
        pipeline.start(values | {"engine": served | {"models": {"base": "other"}}}, tmp_path / "other")
    asked = from_dict(values | {"engine": served}).engine
    assert pipeline.answer(str(TINY_MODEL), "def ", None, 8, asked) == pipeline.answer("tiny", "def ", None, 8)
