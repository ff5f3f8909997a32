"""Completions from a server: what is asked, what is kept of the answers, and what becomes of failures."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from flexlora.data import Problem
from flexlora.errors import FlexError, UsageError
from flexlora.files import read_appended
from flexlora.generation import Server, refuse_unserved, request_samples, sample_seed
from flexlora.generation import server as server_module
from flexlora.generation.served import Asked, completions
from flexlora.recipe import Engine, Sampling
from standin_server import StandInServer, says

STOPS = ("\nclass", "\ndef", "\n#", "\n@", "\nprint")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "FIRST_PAUSE_S", 0.001)


def problems(count: int, stops: tuple[str, ...] = STOPS) -> list[Problem]:
    return [
        Problem(
            task="t", task_id=f"t/{i}", language="py", prompt=f"def f{i}():\n", prompt_style="verbatim",
            stop_tokens=stops, prefix=f"def f{i}():\n", suffix="",
        )
        for i in range(count)
    ]  # fmt: skip


def engine_of(server: StandInServer, **options: Any) -> Engine:
    return Engine(name="openai", base_url=server.url, **options)


def fill(
    path: Path, server: StandInServer, count: int, sampling: Sampling | None = None, **options: Any
) -> list[dict[str, Any]]:
    engine = engine_of(server, **options)
    stops = options.get("stops", STOPS)
    with Server(engine) as connected:
        request_samples(
            connected, engine, "m", problems(count, stops), sampling or Sampling(), 5, path, label="generate"
        )
    return read_appended(path)


def test_what_is_asked_and_what_is_kept(tmp_path: Path) -> None:
    sampling = Sampling(n=3, temperature=0.7, top_p=0.9, max_new_tokens=40)
    with StandInServer(says("    return 1\n#\ndef", "length")) as server:
        records = fill(tmp_path / "samples.jsonl", server, 2, sampling, parameters={"top_k": -1}, max_stops=2)
    assert {(r["task_id"], r["sample"]) for r in records} == {(f"t/{i}", s) for i in range(2) for s in range(3)}
    # Cut at the earliest of all stop tokens, also of those that were not sent.
    assert {(r["completion"], r["finish_reason"]) for r in records} == {("    return 1", "stop")}
    assert all(r["seed"] == sample_seed(5, "t", r["task_id"], r["sample"]) for r in records)
    assert {request["seed"] for request in server.requests} == {r["seed"] for r in records}
    asked = server.requests[0]
    assert asked == {
        "model": "m", "prompt": asked["prompt"], "seed": asked["seed"], "max_tokens": 40, "temperature": 0.7,
        "top_p": 0.9, "top_k": -1, "stop": ["\nclass", "\ndef"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "max_stops", "reason"),
    [
        (says("x", "length"), None, "length"),
        (says("x", "stop"), None, "stop"),  # EOS or a stop token: this server does not say
        (says("x", "stop"), 0, "eos"),
        (says("x", "stop", stop_reason=None), None, "eos"),  # vLLM
        (says("x", "stop", stop_reason="\ndef"), None, "stop"),
        (says("x", "stop", matched_stop=2), None, "eos"),  # SGLang: the id of EOS
        (says("x\ndef", "stop"), 0, "stop"),
    ],
)
def test_why_it_ended(rule: Any, max_stops: int | None, reason: str, tmp_path: Path) -> None:
    with StandInServer(rule) as server:
        (record,) = fill(tmp_path / "samples.jsonl", server, 1, max_stops=max_stops)
    assert (record["completion"], record["finish_reason"]) == ("x", reason)


def test_no_more_requests_at_once_than_allowed(tmp_path: Path) -> None:
    gate = threading.Event()
    with StandInServer(says("x"), gate=gate) as server:
        thread = threading.Thread(target=fill, args=(tmp_path / "samples.jsonl", server, 9), kwargs={"concurrency": 3})
        thread.start()
        while server.at_once < 3:
            time.sleep(0.001)
        gate.set()
        thread.join()
        assert server.most_at_once == 3
    assert len(read_appended(tmp_path / "samples.jsonl")) == 9


@pytest.mark.timeout(60)
def test_who_no_longer_wants_answers_does_not_wait_for_them() -> None:
    gate, first, second = threading.Event(), threading.Event(), threading.Event()

    def rule(request: dict[str, Any]) -> dict[str, Any]:
        if first.is_set():
            second.set()
            gate.wait()
        first.set()
        return {"text": "x", "finish_reason": "stop"}

    with StandInServer(rule) as server, Server(engine_of(server)) as connected:
        asked = [Asked(problem, 0, 0) for problem in problems(4)]
        made = completions(connected, "m", asked, Sampling(), at_once=1, max_stops=None)
        assert next(made).text == "x"
        second.wait()
        made.close()  # type: ignore[attr-defined]  # as Ctrl-C does
        gate.set()
    assert len(server.requests) == 2


def test_busy_failing_and_lost_servers_are_asked_again(tmp_path: Path) -> None:
    with StandInServer(says("x"), failures=[429, 500, 0, 503]) as server:
        records = fill(tmp_path / "samples.jsonl", server, 3, concurrency=2, retries=4)
    assert len(records) == len(server.requests) == 3


def test_a_broken_answer_is_no_completion(tmp_path: Path) -> None:
    with StandInServer(says("x", "abort")) as server, pytest.raises(FlexError, match="no whole completion"):
        fill(tmp_path / "samples.jsonl", server, 1, retries=1)
    assert len(server.requests) == 2
    assert not (tmp_path / "samples.jsonl").exists()


def test_what_a_server_refuses_is_not_asked_again(tmp_path: Path) -> None:
    with StandInServer(says("x"), failures=[400]) as server, pytest.raises(UsageError, match="told to answer 400"):
        fill(tmp_path / "samples.jsonl", server, 1)
    assert not server.requests


def test_a_server_that_dies_half_way_is_gone_on_with(tmp_path: Path) -> None:
    def rule(request: dict[str, Any]) -> dict[str, Any]:
        return {"text": f"{request['prompt']} {request['seed']}", "finish_reason": "length"}

    sampling, path = Sampling(n=4, temperature=1), tmp_path / "samples.jsonl"
    with StandInServer(rule) as server:
        whole = fill(tmp_path / "whole.jsonl", server, 5, sampling)
    with StandInServer(rule, dies_after=7) as server, pytest.raises(FlexError, match="run the same command again"):
        fill(path, server, 5, sampling, retries=1, concurrency=3)
    # Nothing that was answered is lost, and nothing is asked for twice.
    assert len(read_appended(path)) == 7
    with path.open("a") as file:
        file.write('{"task_id": "t/4", "sam')  # what a kill within a write leaves
    with StandInServer(rule) as server:
        found = fill(path, server, 5, sampling)
        assert len(server.requests) == 13
        fill(path, server, 5, sampling)
        assert len(server.requests) == 13
    key = json.dumps
    assert sorted(found, key=key) == sorted(whole, key=key)


def test_the_key_is_sent_and_said_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with StandInServer(says("x"), key="sk-right") as server:
        with pytest.raises(UsageError, match="MY_KEY is not set"):
            fill(tmp_path / "samples.jsonl", server, 1, api_key_env="MY_KEY")
        monkeypatch.setenv("MY_KEY", "sk-wrong")
        for ask in (lambda: fill(tmp_path / "s.jsonl", server, 1, api_key_env="MY_KEY"), lambda: _listed(server)):
            with pytest.raises(UsageError, match=r"wrong key, not Bearer \[key\]") as caught:
                ask()
            assert "sk-wrong" not in str(caught.value)
        monkeypatch.setenv("MY_KEY", "sk-right")
        assert len(fill(tmp_path / "samples.jsonl", server, 1, api_key_env="MY_KEY")) == 1
    assert "sk-right" not in (tmp_path / "samples.jsonl").read_text()


def _listed(server: StandInServer) -> None:
    with Server(engine_of(server, api_key_env="MY_KEY")) as connected:
        connected.listed()


def look_for(server: StandInServer, *names: str) -> None:
    with Server(engine_of(server)) as connected:
        refuse_unserved(connected, {f"variant {i}": name for i, name in enumerate(names)})


def test_models_that_are_not_served_are_named() -> None:
    with StandInServer(says("x"), [{"id": "code"}, {"id": "main", "parent": "code", "owned_by": "vllm"}]) as server:
        look_for(server, "code", "main")
        with pytest.raises(UsageError, match=r"does not serve 'other' \(variant 1\); it lists code, main"):
            look_for(server, "code", "other")


def test_a_server_that_lists_nothing_must_answer_in_the_models_name() -> None:
    with StandInServer(says("x"), None, names_revision=True) as server:  # transformers serve PATH
        look_for(server, "/models/code")
    with StandInServer(says("x"), None) as server, pytest.raises(UsageError, match="it lists nothing"):
        look_for(server, "/models/code")  # it answers to any name


def test_sglang_has_adapters_under_the_names_of_both() -> None:
    listed = [{"id": "code", "owned_by": "sglang"}, {"id": "main", "parent": "code", "owned_by": "sglang"}]
    with StandInServer(says("x"), listed) as server:
        look_for(server, "code", "code:main")
        with pytest.raises(UsageError, match="write code:main"):
            look_for(server, "main")


def test_an_address_where_nothing_listens_is_refused() -> None:
    with StandInServer(says("x")) as server:
        pass
    with pytest.raises(UsageError, match="does not answer"):
        look_for(server, "code")
